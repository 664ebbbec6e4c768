// Stochastic gradient descent, in place:
//   d = g + weight_decay * p;  m = momentum * m + d
//   p = p - lr * (nesterov ? d + momentum * m : m);  without momentum p = p - lr * d

struct Params {
    count: u32, // elements
    momentum: f32,
    nesterov: u32, // 0 or 1
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;        // [count]
@group(0) @binding(2) var<storage, read> lr: array<f32>;       // [1]
@group(0) @binding(3) var<storage, read_write> p: array<f32>;  // [count]
@group(0) @binding(4) var<storage, read_write> m: array<f32>;  // [count], only with momentum

@compute @workgroup_size(256)
fn step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        p[i] -= lr[0] * (g[i] + params.weight_decay * p[i]);
    }
}

@compute @workgroup_size(256)
fn step_momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        let d = g[i] + params.weight_decay * p[i];
        let velocity = params.momentum * m[i] + d;
        m[i] = velocity;
        p[i] -= lr[0] * select(velocity, d + params.momentum * velocity, params.nesterov == 1u);
    }
}
