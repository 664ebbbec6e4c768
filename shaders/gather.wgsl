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

// Of `forward_augmented`: for each image mirrored or not, rows and columns by which it is moved, cosine and sine of its
// turn in units of 2^-16, and first | end << 16 of the rows and columns of two rectangles that are erased.
@group(0) @binding(4) var<storage, read> changes: array<u32>;      // [N, 9]
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

/// The level at `at` of this bound image.
fn level(image: u32, at: Place) -> u32 {
    let pitch = params.s * params.c;
    let base = at.h * params.t;
    let first = (image * params.s + taps[base]) * pitch + at.channel;
    var sum = HALF;
    for (var k = 0u; k < taps[base + 1u]; k++) {
        sum += wide(first + k * pitch, at.w) * taps[base + 2u + k];
    }
    return sum >> 22u;
}

/// What the network is given for a level of a channel.
fn value(level: u32, channel: u32) -> f32 {
    let value = f32(level) / 255.0;
    if (params.deviation.x > 0.0) {
        return (value - params.mean[channel]) / params.deviation[channel];
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
        x[i] = to_stored(value(level(image, at), at.channel));
    }
}

/// Whether the rectangle in these two words of an image's change has the place.
fn erased(first_word: u32, at: Place) -> bool {
    let rows = changes[first_word];
    let columns = changes[first_word + 1u];
    return at.h >= (rows & 0xffffu) && at.h < (rows >> 16u)
        && at.w >= (columns & 0xffffu) && at.w < (columns >> 16u);
}

/// The level at a row and a column that may lie outside the image, where it is black.
fn level_or_black(image: u32, at: Place, h: i32, w: i32) -> i32 {
    let size = i32(params.size);
    if (h < 0 || h >= size || w < 0 || w >= size) {
        return 0;
    }
    return i32(level(image, Place(at.n, u32(h), u32(w), at.channel)));
}

/// The same at a place in units of 2^-17, between four pixels.
fn level_between(image: u32, at: Place, h: i32, w: i32) -> i32 {
    let top = h >> 17u;
    let left = w >> 17u;
    let down = (h >> 9u) & 255;
    let right = (w >> 9u) & 255;
    let above = (256 - right) * level_or_black(image, at, top, left)
        + right * level_or_black(image, at, top, left + 1);
    let below = (256 - right) * level_or_black(image, at, top + 1, left)
        + right * level_or_black(image, at, top + 1, left + 1);
    return ((256 - down) * above + down * below + (1 << 15u)) >> 16u;
}

/// The level at `at` of the changed image, which is not erased there.
fn changed_level(image: u32, at: Place) -> u32 {
    let first = at.n * 9u;
    let size = i32(params.size);
    let w = select(i32(at.w), size - 1 - i32(at.w), changes[first] != 0u)
        - bitcast<i32>(changes[first + 2u]);
    let h = i32(at.h) - bitcast<i32>(changes[first + 1u]);
    let cosine = bitcast<i32>(changes[first + 3u]);
    let sine = bitcast<i32>(changes[first + 4u]);
    if ((sine == 0 && cosine > 0) || h < 0 || h >= size || w < 0 || w >= size) {
        return u32(level_or_black(image, at, h, w));
    }
    // Twice the distance from the centre, so that it is whole; then twice the place that is looked at.
    let dh = 2 * h - (size - 1);
    let dw = 2 * w - (size - 1);
    let middle = (size - 1) << 16u;
    return u32(level_between(
        image, at, cosine * dh - sine * dw + middle, sine * dh + cosine * dw + middle,
    ));
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
    let at = place(i);
    let image = bound_image(at.n);
    if (image >= params.m) {
        return;
    }
    if (erased(at.n * 9u + 5u, at) || erased(at.n * 9u + 7u, at)) {
        augmented[i] = to_stored(0.0);
    } else {
        augmented[i] = to_stored(value(changed_level(image, at), at.channel));
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
