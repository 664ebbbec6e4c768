// What BatchNorm comes to for each channel: scale = gamma·rstd, shift = beta − mean·scale, mean,
// rstd = 1/√(var + eps).

struct Params {
    c: u32,
    blocks: u32,
    eps: f32,
    momentum: f32,
}

@group(0) @binding(0) var<uniform> params: Params;

var<workgroup> lane_a: array<f32, 256>;
var<workgroup> lane_b: array<f32, 256>;

/// The four rows of a channel.
fn rows(mean: f32, variance: f32, gamma: f32, beta: f32) -> vec4<f32> {
    let rstd = 1.0 / sqrt(variance + params.eps);
    let scale = gamma * rstd;
    return vec4<f32>(scale, beta - mean * scale, mean, rstd);
}

// The blocks of a batch merged, relative to the pivot p_0 of the first that has rows, where d_b is the distance
// of block b's mean from its pivot p_b:
//   mean = p_0 + Σ_b ((p_b − p_0) + d_b)·rows_b / count;  M2 = Σ_b (M2_b + rows_b·(p_b + d_b − mean)²)
// A workgroup merges 8 channels; of the 32 invocations of a channel each takes every 32nd block.
@group(0) @binding(1) var<storage, read> partials: array<f32>;   // [blocks, 4, C]: count, pivot, mean − pivot, M2
@group(0) @binding(2) var<storage, read> gamma: array<f32>;      // [C]
@group(0) @binding(3) var<storage, read> beta: array<f32>;       // [C]

/// The sums of the 32 invocations of this one's channel, in order.
fn sums(lane: u32) -> vec2<f32> {
    var total = vec2<f32>();
    for (var r = 0u; r < 32u; r++) {
        total += vec2<f32>(lane_a[r * 8u + lane], lane_b[r * 8u + lane]);
    }
    return total;
}

/// How far the mean of block b is from the pivot of the first.
fn distance_of(b: u32, ch: u32, first: f32) -> f32 {
    let at = 4u * b * params.c + ch;
    return (partials[at + params.c] - first) + partials[at + 2u * params.c];
}

/// Mean, M2 and count of the batch; the same in all invocations of a channel.
fn merge(ch: u32, local: u32) -> vec3<f32> {
    let c = params.c;
    let lane = local % 8u;
    let begin = select(params.blocks, local / 8u, ch < c);
    var origin = 0u;
    while (origin + 1u < params.blocks && ch < c && partials[4u * origin * c + ch] == 0.0) {
        origin++;
    }
    var first = 0.0;
    if (ch < c) {
        first = partials[(4u * origin + 1u) * c + ch];
    }

    var count = 0.0;
    var shift = 0.0;
    for (var b = begin; b < params.blocks; b += 32u) {
        let rows = partials[4u * b * c + ch];
        if (rows > 0.0) {
            count += rows;
            shift += distance_of(b, ch, first) * rows;
        }
    }
    lane_a[local] = count;
    lane_b[local] = shift;
    workgroupBarrier();
    let total = sums(lane);
    workgroupBarrier();

    let distance = total.y / total.x;
    var m2 = 0.0;
    for (var b = begin; b < params.blocks; b += 32u) {
        let rows = partials[4u * b * c + ch];
        if (rows > 0.0) {
            let d = distance_of(b, ch, first) - distance;
            m2 += partials[(4u * b + 3u) * c + ch] + d * d * rows;
        }
    }
    lane_a[local] = m2;
    workgroupBarrier();
    return vec3<f32>(first + distance, sums(lane).x, total.x);
}

@group(0) @binding(4) var<storage, read_write> norm: array<f32>;           // [4, C]
@group(0) @binding(5) var<storage, read_write> running_mean: array<f32>;   // [C]
@group(0) @binding(6) var<storage, read_write> running_var: array<f32>;    // [C]

@compute @workgroup_size(256)
fn finish(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let ch = flat_group(group, groups) * 8u + local % 8u;
    let batch = merge(ch, local);
    if (local >= 8u || ch >= params.c) {
        return;
    }
    let values = rows(batch.x, batch.y / batch.z, gamma[ch], beta[ch]);
    for (var row = 0u; row < 4u; row++) {
        norm[row * params.c + ch] = values[row];
    }
    let m = params.momentum;
    running_mean[ch] = (1.0 - m) * running_mean[ch] + m * batch.x;
    running_var[ch] = (1.0 - m) * running_var[ch] + m * (batch.y / (batch.z - 1.0));
}

// The same for a batch from which the convolution's bias b was left out: it belongs to the running mean.
@group(0) @binding(4) var<storage, read> b: array<f32>;                            // [C]
@group(0) @binding(5) var<storage, read_write> norm_biased: array<f32>;            // [4, C]
@group(0) @binding(6) var<storage, read_write> running_mean_biased: array<f32>;    // [C]
@group(0) @binding(7) var<storage, read_write> running_var_biased: array<f32>;     // [C]

@compute @workgroup_size(256)
fn finish_biased(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let ch = flat_group(group, groups) * 8u + local % 8u;
    let batch = merge(ch, local);
    if (local >= 8u || ch >= params.c) {
        return;
    }
    let values = rows(batch.x, batch.y / batch.z, gamma[ch], beta[ch]);
    for (var row = 0u; row < 4u; row++) {
        norm_biased[row * params.c + ch] = values[row];
    }
    let m = params.momentum;
    let mean = batch.x + b[ch];
    running_mean_biased[ch] = (1.0 - m) * running_mean_biased[ch] + m * mean;
    running_var_biased[ch] = (1.0 - m) * running_var_biased[ch] + m * (batch.y / (batch.z - 1.0));
}

// For evaluation: the running statistics stand for the batch's.
@group(0) @binding(1) var<storage, read> mean_in: array<f32>;         // [C]
@group(0) @binding(2) var<storage, read> var_in: array<f32>;          // [C]
@group(0) @binding(3) var<storage, read> gamma_in: array<f32>;        // [C]
@group(0) @binding(4) var<storage, read> beta_in: array<f32>;         // [C]
@group(0) @binding(5) var<storage, read_write> folded: array<f32>;    // [4, C]

@compute @workgroup_size(256)
fn fold(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let ch = flat_element(group, groups, local);
    if (ch >= params.c) {
        return;
    }
    let values = rows(mean_in[ch], var_in[ch], gamma_in[ch], beta_in[ch]);
    for (var row = 0u; row < 4u; row++) {
        folded[row * params.c + ch] = values[row];
    }
}

// The same where the convolution's bias b was left out of what is normalised.
@group(0) @binding(5) var<storage, read> b_in: array<f32>;                   // [C]
@group(0) @binding(6) var<storage, read_write> folded_biased: array<f32>;    // [4, C]

@compute @workgroup_size(256)
fn fold_biased(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let ch = flat_element(group, groups, local);
    if (ch >= params.c) {
        return;
    }
    let values = rows(mean_in[ch] - b_in[ch], var_in[ch], gamma_in[ch], beta_in[ch]);
    for (var row = 0u; row < 4u; row++) {
        folded_biased[row * params.c + ch] = values[row];
    }
}
