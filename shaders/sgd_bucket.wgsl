// Stochastic gradient descent of many parameters that lie in one buffer, in place; the gradient of each
// is the sum of its partial gradients, in order:
//   d = sum of partials + weight_decay * p;  m = momentum * m + d
//   p = p - lr * (nesterov ? d + momentum * m : m);  without momentum p = p - lr * d

struct Segment {
    group: u32,     // first workgroup; it and those after it do BLOCK elements each
    p: u32,         // first element in p and m
    len: u32,
    g: u32,         // first element of the first partial gradient
    partials: u32,
}

/// Elements per workgroup, whose segment is found once for all of them.
const BLOCK = 1024u;

struct Params {
    count: u32, // segments
    momentum: f32,
    flags: u32, // 1: Nesterov; 2: lr is followed by what g is multiplied by, 0 for no update
    weight_decay: f32,
    // Two vectors per segment: (group, p, len, g) and (partials, 0, 0, 0).
    table: array<vec4<u32>, 1022>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> g: array<f32>;        // [all partial gradients]
@group(0) @binding(2) var<storage, read> lr: array<f32>;       // [1] or [2]
@group(0) @binding(3) var<storage, read_write> p: array<f32>;  // [all parameters]
@group(0) @binding(4) var<storage, read_write> m: array<f32>;  // [all parameters], only with momentum

/// What the gradients are multiplied by.
fn unscale() -> f32 {
    if ((params.flags & 2u) == 0u) {
        return 1.0;
    }
    return lr[1];
}

/// The last segment that begins at this workgroup or before, by halving.
fn segment_of(group: u32) -> Segment {
    var first = 0u;
    var end = params.count;
    while (end - first > 1u) {
        let middle = (first + end) / 2u;
        if (params.table[2u * middle].x <= group) {
            first = middle;
        } else {
            end = middle;
        }
    }
    let place = params.table[2u * first];
    return Segment(place.x, place.y, place.z, place.w, params.table[2u * first + 1u].x);
}

fn gradient(s: Segment, i: u32) -> f32 {
    var total = 0.0;
    for (var part = 0u; part < s.partials; part++) {
        total += g[s.g + part * s.len + i];
    }
    return total;
}

@compute @workgroup_size(256)
fn step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = segment_of(flat_group(group, groups));
    let first = (flat_group(group, groups) - s.group) * BLOCK;
    let factor = unscale();
    if (factor == 0.0) {
        return;
    }
    for (var i = first + local; i < min(first + BLOCK, s.len); i += 256u) {
        let at = s.p + i;
        p[at] -= lr[0] * (gradient(s, i) * factor + params.weight_decay * p[at]);
    }
}

@compute @workgroup_size(256)
fn step_momentum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = segment_of(flat_group(group, groups));
    let first = (flat_group(group, groups) - s.group) * BLOCK;
    let factor = unscale();
    if (factor == 0.0) {
        return;
    }
    for (var i = first + local; i < min(first + BLOCK, s.len); i += 256u) {
        let at = s.p + i;
        let d = gradient(s, i) * factor + params.weight_decay * p[at];
        let velocity = params.momentum * m[at] + d;
        m[at] = velocity;
        p[at] -= lr[0] * select(velocity, d + params.momentum * velocity, (params.flags & 1u) == 1u);
    }
}

// flags[block] = 1 if a partial gradient of the block's elements is infinite or not a number, else 0.
@group(0) @binding(2) var<storage, read_write> overflowed: array<u32>;  // [blocks]

var<workgroup> seen: array<u32, 256>;

@compute @workgroup_size(256)
fn check(
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
            let bits = bitcast<u32>(g[s.g + part * s.len + i]);
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
        overflowed[number] = own;
    }
}
