// sum = sum + gradient, in place.

@group(0) @binding(2) var<storage, read_write> sum: array<f32>;  // [all parameters]

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = segment_of(flat_group(group, groups));
    let first = (flat_group(group, groups) - s.group) * BLOCK;
    for (var i = first + local; i < min(first + BLOCK, s.len); i += 256u) {
        sum[s.p + i] += gradient(s, i);
    }
}
