// Global average pooling: y = Σ x / (H·W) over the pixels of a channel.

struct Params {
    count: u32,   // elements of y (forward), of dx (grad_input), or of the blocks' sums
    pixels: u32,  // H·W
    c: u32,
    images: u32,  // per block of the partials
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<Stored>;      // [N, H, W, C]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;   // [N, 1, 1, C]

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let o = flat_element(group, groups, local);
    if (o >= params.count) {
        return;
    }
    let first = (o / params.c) * params.pixels * params.c + o % params.c;
    var total = 0.0;
    for (var i = 0u; i < params.pixels; i++) {
        total += f32(x[first + i * params.c]);
    }
    y[o] = total / f32(params.pixels);
}

// dx = dy / (H·W).
@group(0) @binding(1) var<storage, read> dy: array<f32>;         // [N, 1, 1, C]
@group(0) @binding(2) var<storage, read_write> dx: array<Stored>;  // [N, H, W, C]

@compute @workgroup_size(256)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i >= params.count) {
        return;
    }
    let n = i / (params.c * params.pixels);
    dx[i] = to_stored(dy[n * params.c + i % params.c] / f32(params.pixels));
}

// The same where ReLU's mask kept the pixel, else 0, with Σ dx and Σ dx·x̂ over blocks of images,
// x̂ = (pre − mean)·rstd. One invocation per block and channel; the mask is pre·scale + shift > 0 or out > 0.
@group(0) @binding(2) var<storage, read> pre: array<Stored>;  // [N, H, W, C]
@group(0) @binding(3) var<storage, read> norm: array<f32>;   // [4, C]: scale, shift, mean, rstd

@group(0) @binding(4) var<storage, read_write> dx_by_activation: array<Stored>;      // [N, H, W, C]
@group(0) @binding(5) var<storage, read_write> partials_by_activation: array<f32>;   // [blocks, 2, C]

@compute @workgroup_size(256)
fn grad_masked_by_activation(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = flat_element(group, groups, local);
    if (e >= params.count) {
        return;
    }
    let c = params.c;
    let ch = e % c;
    let block = e / c;
    var sum = 0.0;
    var products = 0.0;
    for (var n = block * params.images; n < min((block + 1u) * params.images, params.n); n++) {
        let d = dy[n * c + ch] / f32(params.pixels);
        for (var pixel = 0u; pixel < params.pixels; pixel++) {
            let i = (n * params.pixels + pixel) * c + ch;
            let kept = select(0.0, d, f32(pre[i]) * norm[ch] + norm[c + ch] > 0.0);
            dx_by_activation[i] = to_stored(kept);
            sum += kept;
            products += kept * ((f32(pre[i]) - norm[2u * c + ch]) * norm[3u * c + ch]);
        }
    }
    partials_by_activation[2u * block * c + ch] = sum;
    partials_by_activation[(2u * block + 1u) * c + ch] = products;
}

@group(0) @binding(4) var<storage, read> out: array<Stored>;                     // [N, H, W, C]
@group(0) @binding(5) var<storage, read_write> dx_by_output: array<Stored>;      // [N, H, W, C]
@group(0) @binding(6) var<storage, read_write> partials_by_output: array<f32>;   // [blocks, 2, C]

@compute @workgroup_size(256)
fn grad_masked_by_output(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = flat_element(group, groups, local);
    if (e >= params.count) {
        return;
    }
    let c = params.c;
    let ch = e % c;
    let block = e / c;
    var sum = 0.0;
    var products = 0.0;
    for (var n = block * params.images; n < min((block + 1u) * params.images, params.n); n++) {
        let d = dy[n * c + ch] / f32(params.pixels);
        for (var pixel = 0u; pixel < params.pixels; pixel++) {
            let i = (n * params.pixels + pixel) * c + ch;
            let kept = select(0.0, d, f32(out[i]) > 0.0);
            dx_by_output[i] = to_stored(kept);
            sum += kept;
            products += kept * ((f32(pre[i]) - norm[2u * c + ch]) * norm[3u * c + ch]);
        }
    }
    partials_by_output[2u * block * c + ch] = sum;
    partials_by_output[(2u * block + 1u) * c + ch] = products;
}
