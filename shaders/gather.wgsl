// The batch from the data set on the device. An image goes from s x s to size x size by a separable
// filter in 22-bit fixed point, rounded to a grey level after each axis, and is scaled to 0..1:
//   wide[h, o] = (sum over k of image[h, first(o) + k] * tap(o, k) + 2^21) >> 22
//   x[p, o]    = ((sum over k of wide[first(p) + k, o] * tap(p, k) + 2^21) >> 22) / 255
// and then perhaps normalised by the mean and the deviation of its channel, (x - mean) / deviation.
// An index beyond the data set takes its last entry, so that nothing is read out of bounds. Where the images are
// only some of the data set, a shard, the examples whose index is not among them are left to other dispatches.

const HALF: u32 = 1u << 21u;

struct ImageParams {
    count: u32, // elements of x
    m: u32,     // images bound
    first: u32, // index of the first of them
    total: u32, // images in the data set
    s: u32,     // their height and width
    size: u32,  // height and width of the result
    c: u32,     // channels
    t: u32,     // words per row of taps
    mean: vec4<f32>,      // of each channel
    deviation: vec4<f32>, // of each channel; zeros where nothing is normalised
}

@group(0) @binding(0) var<uniform> params: ImageParams;
@group(0) @binding(1) var<storage, read> images: array<u32>;       // [M, S, S, C], four u8 per word
@group(0) @binding(2) var<storage, read> image_indices: array<u32>; // [N]
@group(0) @binding(3) var<storage, read> taps: array<u32>;         // [SIZE, T]: first, number, taps
@group(0) @binding(4) var<storage, read_write> x: array<Stored>;   // [N, SIZE, SIZE, C]

// Of `forward_augmented`.
@group(0) @binding(4) var<storage, read> mirrored: array<u32>;     // [N], 0 or not
@group(0) @binding(5) var<storage, read_write> augmented: array<Stored>; // [N, SIZE, SIZE, C]

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

/// A row, a column and a channel of the result's example `n`.
struct Place {
    n: u32,
    h: u32,
    w: u32,
    channel: u32,
}

fn place(i: u32) -> Place {
    let channel = i % params.c;
    let w = i / params.c % params.size;
    let h = i / (params.c * params.size) % params.size;
    return Place(i / (params.c * params.size * params.size), h, w, channel);
}

/// The number among the bound images of the one that example `n` takes; `params.m` or more where it is not bound.
fn bound_image(n: u32) -> u32 {
    // Below the first it wraps around to a large number.
    return min(image_indices[n], params.total - 1u) - params.first;
}

/// The value at `at` from this bound image.
fn pixel(image: u32, at: Place) -> f32 {
    let pitch = params.s * params.c;
    let base = at.h * params.t;
    let first = (image * params.s + taps[base]) * pitch + at.channel;
    var sum = HALF;
    for (var k = 0u; k < taps[base + 1u]; k++) {
        sum += wide(first + k * pitch, at.w) * taps[base + 2u + k];
    }
    let value = f32(sum >> 22u) / 255.0;
    if (params.deviation.x > 0.0) {
        return (value - params.mean[at.channel]) / params.deviation[at.channel];
    }
    return value;
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
    let at = place(i);
    let image = bound_image(at.n);
    if (image < params.m) {
        x[i] = to_stored(pixel(image, at));
    }
}

@compute @workgroup_size(256)
fn forward_augmented(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i >= params.count) {
        return;
    }
    var at = place(i);
    let image = bound_image(at.n);
    if (mirrored[at.n] != 0u) {
        at.w = params.size - 1u - at.w;
    }
    if (image < params.m) {
        augmented[i] = to_stored(pixel(image, at));
    }
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
