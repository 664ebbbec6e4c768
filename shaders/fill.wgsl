// A tensor of one repeated value: y = value.

struct Params {
    count: u32, // elements
    value: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;  // [N, H, W, C]

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        y[i] = params.value;
    }
}

// y = value · scaling[0].
@group(0) @binding(1) var<storage, read> scaling: array<f32>;         // [2]
@group(0) @binding(2) var<storage, read_write> y_scaled: array<f32>;  // [N, H, W, C]

@compute @workgroup_size(256)
fn scaled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        y_scaled[i] = params.value * scaling[0];
    }
}
