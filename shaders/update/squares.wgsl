// squares[block] = the sum of the squares of the block's gradients, each the sum of its partial gradients.

@group(0) @binding(2) var<storage, read_write> squares: array<f32>;  // [blocks]

var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = flat_group(group, groups);
    let s = segment_of(number);
    let first = (number - s.group) * BLOCK;
    var own = 0.0;
    for (var i = first + local; i < min(first + BLOCK, s.len); i += 256u) {
        let g = gradient(s, i);
        own += g * g;
    }
    sums[local] = own;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            sums[local] += sums[local + half];
        }
    }
    // A dispatch that was folded into two dimensions may have blocks to spare.
    if (local == 0u && first < s.len) {
        squares[number] = sums[0];
    }
}
