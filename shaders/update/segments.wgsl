// What the kernels of updates share. Parameters lie one after another in one buffer, and so do their gradients:
// a segment says where one of them is. Its gradient is the sum of its partial gradients, in order.

struct Segment {
    group: u32,         // first workgroup; it and those after it do BLOCK elements each
    p: u32,             // first element among the parameters
    len: u32,
    g: u32,             // first element of the first partial gradient
    partials: u32,
    lr_scale: f32,
    weight_decay: f32,
}

/// Elements per workgroup, whose segment is found once for all of them.
const BLOCK = {{ block }}u;

struct Params {
    count: u32,   // segments
    scaled: u32,  // 1 where the learning rate is followed by what gradients are multiplied by, 0 for no update
{% for constant in constants %}
    {{ constant }}: f32,
{% endfor %}
    // Two vectors per segment: (group, p, len, g) and (partials, lr_scale, weight_decay, 0).
    table: array<vec4<u32>, {{ 2 * segments }}>,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gradients: array<f32>;  // [all partial gradients]

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
    let rest = params.table[2u * first + 1u];
    return Segment(
        place.x, place.y, place.z, place.w, rest.x, bitcast<f32>(rest.y), bitcast<f32>(rest.z),
    );
}

fn gradient(s: Segment, i: u32) -> f32 {
    var total = 0.0;
    for (var part = 0u; part < s.partials; part++) {
        total += gradients[s.g + part * s.len + i];
    }
    return total;
}
