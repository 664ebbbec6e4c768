// Max-pooling of what BatchNorm and ReLU make of x, without making it: of each window the value of x
// with the largest x·scale + shift, and the tap where it is. Padding never wins; of equal values the
// first in row-major order does; a NaN beats all before it. Channels are counted in Lanes.

struct Params {
    count: u32,   // Lanes of y (forward) or dx (grad_input)
    h: u32,
    w: u32,
    c: u32,
    h_out: u32,
    w_out: u32,
    kernel: u32,
    stride: u32,
    pad: u32,
    share: f32,   // 1 / (N·H·W); read by grad_input only
}

@group(0) @binding(0) var<uniform> params: Params;

@group(0) @binding(1) var<storage, read> x: array<Stored>;           // [N, H, W, C]
@group(0) @binding(2) var<storage, read> norm: array<Lanes>;         // [4, C]: scale, shift, mean, rstd
@group(0) @binding(3) var<storage, read_write> y: array<Stored>;     // [N, H_out, W_out, C]
@group(0) @binding(4) var<storage, read_write> winner: array<u32>;   // [N, H_out, W_out, C], four u8 per word

/// From the bits, since compilers may assume that no float is a NaN.
fn is_nan(value: Lanes) -> Mask {
    return (bitcast<Indices>(value) & Indices(0x7fffffffu)) > Indices(0x7f800000u);
}

/// Writes y[o] and returns the winning taps.
fn pool(o: u32) -> Indices {
    let ch = o % params.c;
    let q = (o / params.c) % params.w_out;
    let p = (o / (params.c * params.w_out)) % params.h_out;
    let n = o / (params.c * params.w_out * params.h_out);
    let scale = norm[ch];
    let shift = norm[params.c + ch];

    var found = false;
    var best = Lanes(0.0);
    var kept = Lanes(0.0);
    var taps = Indices(0u);
    for (var k = 0u; k < params.kernel; k++) {
        // Left of the image the difference wraps around to a large number.
        let i = p * params.stride + k - params.pad;
        if (i >= params.h) {
            continue;
        }
        for (var l = 0u; l < params.kernel; l++) {
            let j = q * params.stride + l - params.pad;
            if (j >= params.w) {
                continue;
            }
            let value = Lanes(x[((n * params.h + i) * params.w + j) * params.c + ch]);
            let z = value * scale + shift;
            let wins = Mask(!found) | (z > best) | is_nan(z);
            best = select(best, z, wins);
            kept = select(kept, value, wins);
            taps = select(taps, Indices(k * params.kernel + l), wins);
            found = true;
        }
    }
    y[o] = to_stored(kept);
    return taps;
}

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let word = flat_element(group, groups, local);
    let first = word * (4u / WIDTH);
    if (first >= params.count) {
        return;
    }
    var taps = 0u;
    for (var part = 0u; part < 4u / WIDTH; part++) {
        if (first + part < params.count) {
            taps |= merged(pool(first + part) << (8u * (Indices(part) + LANES)));
        }
    }
    winner[word] = taps;
}

// dx = scale · (Σ dz − dbeta·share − x̂·dgamma·share), the sum over the windows that this pixel won.
@group(0) @binding(1) var<storage, read> dz: array<Stored>;          // [N, H_out, W_out, C]
@group(0) @binding(2) var<storage, read> winners: array<u32>;        // [N, H_out, W_out, C], four u8 per word
@group(0) @binding(3) var<storage, read> pre: array<Stored>;         // [N, H, W, C], the forward's x
@group(0) @binding(4) var<storage, read> grad_norm: array<Lanes>;    // [4, C]
@group(0) @binding(5) var<storage, read> dbeta: array<Lanes>;        // [C]
@group(0) @binding(6) var<storage, read> dgamma: array<Lanes>;       // [C]
@group(0) @binding(7) var<storage, read_write> dx: array<Stored>;    // [N, H, W, C]

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

    let p_end = min((i + params.pad) / params.stride + 1u, params.h_out);
    let q_end = min((j + params.pad) / params.stride + 1u, params.w_out);
    var total = Lanes(0.0);
    for (var p = first_window(i); p < p_end; p++) {
        for (var q = first_window(j); q < q_end; q++) {
            let k = i + params.pad - p * params.stride;
            let l = j + params.pad - q * params.stride;
            let o = ((n * params.h_out + p) * params.w_out + q) * params.c + ch;
            let first = o * WIDTH;
            let taps = Indices(winners[first / 4u]) >> (8u * (Indices(first % 4u) + LANES));
            let won = (taps & Indices(255u)) == Indices(k * params.kernel + l);
            total += select(Lanes(0.0), Lanes(dz[o]), won);
        }
    }
    let xhat = (Lanes(pre[e]) - grad_norm[2u * params.c + ch]) * grad_norm[3u * params.c + ch];
    let batch = (dbeta[ch] + xhat * dgamma[ch]) * params.share;
    dx[e] = to_stored(grad_norm[ch] * (total - batch));
}
