// Stochastic gradient descent, in place:
//   d = g + weight_decay * p;  m = momentum * m + d
//   p = p - lr * (nesterov ? d + momentum * m : m);  without momentum p = p - lr * d

struct Params {
    count: u32, // elements
    momentum: f32,
    flags: u32, // 1: Nesterov; 2: lr is followed by what g is multiplied by, 0 for no update
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;        // [count]
@group(0) @binding(2) var<storage, read> lr: array<f32>;       // [1] or [2]
@group(0) @binding(3) var<storage, read_write> p: array<f32>;  // [count]
@group(0) @binding(4) var<storage, read_write> m: array<f32>;  // [count], only with momentum

/// What the gradients are multiplied by.
fn unscale() -> f32 {
    if ((params.flags & 2u) == 0u) {
        return 1.0;
    }
    return lr[1];
}

@compute @workgroup_size(256)
fn step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    let factor = unscale();
    if (i < params.count && factor != 0.0) {
        p[i] -= lr[0] * (g[i] * factor + params.weight_decay * p[i]);
    }
}

@compute @workgroup_size(256)
fn step_momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    let factor = unscale();
    if (i < params.count && factor != 0.0) {
        let d = g[i] * factor + params.weight_decay * p[i];
        let velocity = params.momentum * m[i] + d;
        m[i] = velocity;
        p[i] -= lr[0] * select(velocity, d + params.momentum * velocity, (params.flags & 1u) == 1u);
    }
}
