// Max-pooling: y = max of x over each window, and which pixel of the plane it was.
// Padding never wins; of equal values the first in row-major order does; a NaN beats all
// before it, earlier NaNs too.

struct Params {
    count: u32,   // elements of y (forward) or dx (grad_input)
    h: u32,
    w: u32,
    c: u32,
    h_out: u32,
    w_out: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
}

@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> x: array<Stored>;           // [N, H, W, C]
@group(0) @binding(2) var<storage, read_write> y: array<Stored>;     // [N, H_out, W_out, C]
@group(0) @binding(3) var<storage, read_write> winner: array<u32>;   // [N, H_out, W_out, C]

/// From the bits, since compilers may assume that no float is a NaN.
fn is_nan(value: f32) -> bool {
    return (bitcast<u32>(value) & 0x7fffffffu) > 0x7f800000u;
}

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
    let ch = o % params.c;
    let q = (o / params.c) % params.w_out;
    let p = (o / (params.c * params.w_out)) % params.h_out;
    let n = o / (params.c * params.w_out * params.h_out);

    var found = false;
    var best = 0.0;
    var index = 0u;
    for (var r = 0u; r < params.kernel; r++) {
        // Left of the image the difference wraps around to a large number.
        let i = p * params.stride + r - params.pad;
        if (i >= params.h) {
            continue;
        }
        for (var s = 0u; s < params.kernel; s++) {
            let j = q * params.stride + s - params.pad;
            if (j >= params.w) {
                continue;
            }
            let pixel = i * params.w + j;
            let value = f32(x[(n * params.h * params.w + pixel) * params.c + ch]);
            if (!found || value > best || is_nan(value)) {
                best = value;
                index = pixel;
                found = true;
            }
        }
    }
    y[o] = to_stored(best);
    winner[o] = index;
}

// dx = Σ dy over the windows that this pixel won.
@group(0) @binding(1) var<storage, read> indices: array<u32>;    // [N, H_out, W_out, C]
@group(0) @binding(2) var<storage, read> dy: array<Stored>;      // [N, H_out, W_out, C]
@group(0) @binding(3) var<storage, read_write> dx: array<Stored>;  // [N, H, W, C]

/// The first window along an axis that contains position i.
fn first_window(i: u32) -> u32 {
    let end = i + params.pad + 1u;
    return (max(end, params.kernel) - params.kernel + params.stride - 1u) / params.stride;
}

@compute @workgroup_size(256)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let e = flat_element(group, groups, local);
    if (e >= params.count) {
        return;
    }
    let ch = e % params.c;
    let j = (e / params.c) % params.w;
    let i = (e / (params.c * params.w)) % params.h;
    let n = e / (params.c * params.w * params.h);
    let pixel = i * params.w + j;

    let p_end = min((i + params.pad) / params.stride + 1u, params.h_out);
    let q_end = min((j + params.pad) / params.stride + 1u, params.w_out);
    var total = 0.0;
    for (var p = first_window(i); p < p_end; p++) {
        for (var q = first_window(j); q < q_end; q++) {
            let o = ((n * params.h_out + p) * params.w_out + q) * params.c + ch;
            if (indices[o] == pixel) {
                total += f32(dy[o]);
            }
        }
    }
    dx[e] = to_stored(total);
}
