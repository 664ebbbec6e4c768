// Second stage of a reduction: y[i] = sum over p of partials[p, i], p from first to last.

struct Params {
    count: u32,    // elements of y
    partials: u32, // rows to add
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partials: array<f32>;  // [P, count]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;   // [count]

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < params.count) {
        var total = 0.0;
        for (var p = 0u; p < params.partials; p++) {
            total += partials[p * params.count + i];
        }
        y[i] = total;
    }
}
