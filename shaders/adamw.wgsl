// AdamW, in place, with k = 1 - beta:
//   m = m + k1 * (g - m);  v = v + k2 * (g * g - v)
//   p = p * (1 - lr * weight_decay) - lr * (m / c1) / (sqrt(v / c2) + eps)
// and its correction c = c + k * (1 - c), which from 0 becomes 1 - beta^t without cancellation.

struct Params {
    count: u32, // elements
    k1: f32,
    k2: f32,
    eps: f32,
    weight_decay: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;           // [count]
@group(0) @binding(2) var<storage, read> lr: array<f32>;          // [1]
@group(0) @binding(3) var<storage, read> correction: array<f32>;  // [2]: c1, c2
@group(0) @binding(4) var<storage, read_write> p: array<f32>;     // [count]
@group(0) @binding(5) var<storage, read_write> m: array<f32>;     // [count]
@group(0) @binding(6) var<storage, read_write> v: array<f32>;     // [count]

@compute @workgroup_size(256)
fn step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i >= params.count) {
        return;
    }
    let mean = m[i] + params.k1 * (g[i] - m[i]);
    let square = v[i] + params.k2 * (g[i] * g[i] - v[i]);
    m[i] = mean;
    v[i] = square;
    let decay = 1.0 - lr[0] * params.weight_decay;
    let size = lr[0] / correction[0];
    p[i] = decay * p[i] - size * mean / (sqrt(square) / sqrt(correction[1]) + params.eps);
}

@group(0) @binding(1) var<storage, read_write> c: array<f32>;  // [2], what the step reads as correction

@compute @workgroup_size(1)
fn correction_step() {
    c[0] += params.k1 * (1.0 - c[0]);
    c[1] += params.k2 * (1.0 - c[1]);
}
