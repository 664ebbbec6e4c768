// Dynamic loss scaling: whether any gradient overflowed, and what becomes of the scale.

struct Params {
    count: u32,     // flags
    patience: f32,  // steps without an overflow after which the scale is doubled
    least: f32,     // bounds of the scale
    most: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> flags: array<u32>;       // [count]
@group(0) @binding(2) var<storage, read_write> any_out: array<u32>;  // [1]

var<workgroup> seen: array<u32, 256>;

/// 1 if a flag is set; to be called by all invocations of the only workgroup.
fn any_of_flags(local: u32) -> u32 {
    var own = 0u;
    for (var i = local; i < params.count; i += 256u) {
        own |= flags[i];
    }
    seen[local] = own;
    workgroupBarrier();
    var all = 0u;
    for (var i = 0u; i < 256u; i++) {
        all |= seen[i];
    }
    return min(all, 1u);
}

@compute @workgroup_size(256)
fn any_flag(@builtin(local_invocation_index) local: u32) {
    let found = any_of_flags(local);
    if (local == 0u) {
        any_out[0] = found;
    }
}

@group(0) @binding(2) var<storage, read> before: array<u32>;              // [1]
@group(0) @binding(3) var<storage, read_write> any_or_before: array<u32>; // [1]

@compute @workgroup_size(256)
fn any_flag_or_before(@builtin(local_invocation_index) local: u32) {
    let found = any_of_flags(local);
    if (local == 0u) {
        any_or_before[0] = found | min(before[0], 1u);
    }
}

@group(0) @binding(1) var<storage, read> lr: array<f32>;             // [1]
@group(0) @binding(2) var<storage, read> overflow: array<u32>;       // [1]
@group(0) @binding(3) var<storage, read_write> step: array<f32>;     // [2]: lr, 1/scale or 0
@group(0) @binding(4) var<storage, read_write> scaling: array<f32>;  // [2]: scale, steps since it changed

@compute @workgroup_size(1)
fn rescale() {
    let scale = scaling[0];
    let clean = scaling[1] + 1.0;
    step[0] = lr[0];
    if (overflow[0] != 0u) {
        step[1] = 0.0;
        scaling[0] = max(0.5 * scale, params.least);
        scaling[1] = 0.0;
        return;
    }
    // The inverse of a power of two, exact where a device's division need not be.
    step[1] = bitcast<f32>(0x7f000000u - bitcast<u32>(scale));
    if (clean >= params.patience) {
        scaling[0] = min(2.0 * scale, params.most);
        scaling[1] = 0.0;
    } else {
        scaling[1] = clean;
    }
}
