// The batch from the data set on the device. An image goes from s x s to size x size by a separable
// filter in 22-bit fixed point, rounded to a grey level after each axis, and is scaled to 0..1:
//   wide[h, o] = (sum over k of image[h, first(o) + k] * tap(o, k) + 2^21) >> 22
//   x[p, o]    = ((sum over k of wide[first(p) + k, o] * tap(p, k) + 2^21) >> 22) / 255
// An index beyond the data set takes its last entry, so that nothing is read out of bounds.

const HALF: u32 = 1u << 21u;

struct ImageParams {
    count: u32, // elements of x
    m: u32,     // images in the data set
    s: u32,     // their height and width
    size: u32,  // height and width of the result
    c: u32,     // channels
    t: u32,     // words per row of taps
}

@group(0) @binding(0) var<uniform> params: ImageParams;
@group(0) @binding(1) var<storage, read> images: array<u32>;       // [M, S, S, C], four u8 per word
@group(0) @binding(2) var<storage, read> image_indices: array<u32>; // [N]
@group(0) @binding(3) var<storage, read> taps: array<u32>;         // [SIZE, T]: first, number, taps
@group(0) @binding(4) var<storage, read_write> x: array<Stored>;   // [N, SIZE, SIZE, C]

/// The grey level at a flat position of the data set.
fn grey(i: u32) -> u32 {
    return (images[i / 4u] >> (8u * (i % 4u))) & 255u;
}

/// Element `o` of a row that starts at the flat position `row`, filtered along the row.
fn wide(row: u32, o: u32) -> u32 {
    let base = o * params.t;
    let first = row + taps[base] * params.c;
    var sum = HALF;
    for (var k = 0u; k < taps[base + 1u]; k++) {
        sum += grey(first + k * params.c) * taps[base + 2u + k];
    }
    return sum >> 22u;
}

@compute @workgroup_size(256)
fn forward_images(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i >= params.count) {
        return;
    }
    let channel = i % params.c;
    let w = i / params.c % params.size;
    let h = i / (params.c * params.size) % params.size;
    let n = i / (params.c * params.size * params.size);

    let pitch = params.s * params.c;
    let image = min(image_indices[n], params.m - 1u) * params.s * pitch + channel;
    let base = h * params.t;
    let first = image + taps[base] * pitch;
    var sum = HALF;
    for (var k = 0u; k < taps[base + 1u]; k++) {
        sum += wide(first + k * pitch, w) * taps[base + 2u + k];
    }
    x[i] = to_stored(f32(sum >> 22u) / 255.0);
}

struct LabelParams {
    count: u32, // labels to gather
    m: u32,     // labels in the data set
}

@group(0) @binding(0) var<uniform> label_params: LabelParams;
@group(0) @binding(1) var<storage, read> labels: array<u32>;        // [M]
@group(0) @binding(2) var<storage, read> label_indices: array<u32>; // [N]
@group(0) @binding(3) var<storage, read_write> y: array<u32>;       // [N]

@compute @workgroup_size(256)
fn forward_labels(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i < label_params.count) {
        y[i] = labels[min(label_indices[i], label_params.m - 1u)];
    }
}
