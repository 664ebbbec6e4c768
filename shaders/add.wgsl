// Sum of two tensors: y = a + b.

struct Params {
    count: u32, // elements
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<Stored>;     // [N, H, W, C]
@group(0) @binding(2) var<storage, read> b: array<Stored>;     // [N, H, W, C]
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;  // [N, H, W, C]

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        y[i] = to_stored(f32(a[i]) + f32(b[i]));
    }
}
