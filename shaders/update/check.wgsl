// flags[block] = 1 if a partial gradient of the block's elements is infinite or not a number, else 0.

@group(0) @binding(2) var<storage, read_write> flags: array<u32>;  // [blocks]

var<workgroup> seen: array<u32, 256>;

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = flat_group(group, groups);
    let s = segment_of(number);
    let first = (number - s.group) * BLOCK;
    var own = 0u;
    for (var i = first + local; i < min(first + BLOCK, s.len); i += 256u) {
        for (var part = 0u; part < s.partials; part++) {
            // From the bits, since compilers may assume that floats are finite.
            let bits = bitcast<u32>(gradients[s.g + part * s.len + i]);
            own |= select(0u, 1u, (bits & 0x7f800000u) == 0x7f800000u);
        }
    }
    seen[local] = own;
    workgroupBarrier();
    // A dispatch that was folded into two dimensions may have blocks to spare.
    if (local == 0u && first < s.len) {
        for (var other = 1u; other < 256u; other++) {
            own |= seen[other];
        }
        flags[number] = own;
    }
}
