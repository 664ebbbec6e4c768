// BatchNorm over N, H and W of every channel. A row is the C values of one pixel.
// The reductions' first stage cuts the rows into blocks of whole images: a workgroup reduces one block
// for 32 channels with 8 invocations each. The second stage has one invocation per channel.

struct BlockParams {
    rows: u32,            // N·H·W of the tensor, or of its part along N
    c: u32,
    rows_per_block: u32,
    channel_groups: u32,  // of 32 channels
    blocks: u32,
    eps: f32,             // read by grad_block_sums only
}

@group(0) @binding(0) var<uniform> block_params: BlockParams;

var<workgroup> lane_a: array<f32, 256>;
var<workgroup> lane_b: array<f32, 256>;

/// What one invocation of a reduction's first stage works on.
struct Share {
    block: u32,
    lane: u32,     // its channel among the workgroup's 32
    ch: u32,
    first: u32,    // its first row; it takes every eighth from there
    end: u32,      // one past the block's last row
    count: f32,    // rows of the block
    inside: bool,  // whether there is such a block and channel
}

fn share_of(group: u32, local: u32) -> Share {
    let block = group / block_params.channel_groups;
    let lane = local % 32u;
    let ch = (group % block_params.channel_groups) * 32u + lane;
    let begin = min(block * block_params.rows_per_block, block_params.rows);
    let end = min(begin + block_params.rows_per_block, block_params.rows);
    let inside = ch < block_params.c && block < block_params.blocks;
    return Share(block, lane, ch, begin + local / 32u, end, f32(end - begin), inside);
}

/// Sum of the 8 invocations of this one's channel, in order.
fn sum_a(lane: u32) -> f32 {
    var total = 0.0;
    for (var r = 0u; r < 8u; r++) {
        total += lane_a[r * 32u + lane];
    }
    return total;
}

fn sum_b(lane: u32) -> f32 {
    var total = 0.0;
    for (var r = 0u; r < 8u; r++) {
        total += lane_b[r * 32u + lane];
    }
    return total;
}

// mean_b = Σ x / rows;  M2_b = Σ (x − mean_b)², over the rows of block b.
@group(0) @binding(1) var<storage, read> x: array<f32>;                // [N, H, W, C]
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;   // [blocks, 2, C]

@compute @workgroup_size(256)
fn moments_partials(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let c = block_params.c;
    let own = share_of(flat_group(group, groups), local);

    var sum = 0.0;
    if (own.inside) {
        for (var row = own.first; row < own.end; row += 8u) {
            sum += x[row * c + own.ch];
        }
    }
    lane_a[local] = sum;
    workgroupBarrier();
    let mean = sum_a(own.lane) / own.count;
    workgroupBarrier();

    // The distances sum to what rounding left in the mean: it is taken out of both results.
    var rest = 0.0;
    var squares = 0.0;
    if (own.inside) {
        for (var row = own.first; row < own.end; row += 8u) {
            let d = x[row * c + own.ch] - mean;
            rest += d;
            squares += d * d;
        }
    }
    lane_a[local] = rest;
    lane_b[local] = squares;
    workgroupBarrier();
    if (local < 32u && own.inside) {
        let total = sum_a(own.lane);
        partials[2u * own.block * c + own.ch] = mean + total / own.count;
        partials[(2u * own.block + 1u) * c + own.ch] = sum_b(own.lane) - total * total / own.count;
    }
}

// mean = m_0 + Σ_b (m_b − m_0)·rows_b / count;  var = Σ_b (M2_b + rows_b·(m_b − mean)²) / count.
struct MomentsParams {
    c: u32,
    blocks: u32,
    rows_per_block: u32,
    count: u32,           // rows of all blocks
}

@group(0) @binding(0) var<uniform> moments_params: MomentsParams;
@group(0) @binding(1) var<storage, read> all_partials: array<f32>;         // [blocks, 2, C]
@group(0) @binding(2) var<storage, read_write> mean_out: array<f32>;       // [C]
@group(0) @binding(3) var<storage, read_write> var_out: array<f32>;        // [C]

fn block_rows(block: u32) -> f32 {
    let done = block * moments_params.rows_per_block;
    return f32(min(moments_params.rows_per_block, moments_params.count - done));
}

@compute @workgroup_size(256)
fn moments(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let ch = flat_element(group, groups, local);
    let c = moments_params.c;
    if (ch >= c) {
        return;
    }
    let count = f32(moments_params.count);
    let first = all_partials[ch];
    var shift = 0.0;
    for (var b = 0u; b < moments_params.blocks; b++) {
        shift += (all_partials[2u * b * c + ch] - first) * (block_rows(b) / count);
    }
    var m2 = 0.0;
    for (var b = 0u; b < moments_params.blocks; b++) {
        let d = (all_partials[2u * b * c + ch] - first) - shift;
        m2 += all_partials[(2u * b + 1u) * c + ch] + d * d * block_rows(b);
    }
    mean_out[ch] = first + shift;
    var_out[ch] = m2 / count;
}

// r = (1 − momentum)·r + momentum·s, the variance times count / (count − 1).
struct RunningParams {
    c: u32,
    momentum: f32,
    unbiased: f32,  // count / (count − 1)
}

@group(0) @binding(0) var<uniform> running_params: RunningParams;
@group(0) @binding(1) var<storage, read> batch_mean: array<f32>;            // [C]
@group(0) @binding(2) var<storage, read> batch_var: array<f32>;             // [C]
@group(0) @binding(3) var<storage, read_write> running_mean: array<f32>;    // [C]
@group(0) @binding(4) var<storage, read_write> running_var: array<f32>;     // [C]

@compute @workgroup_size(256)
fn running(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let ch = flat_element(group, groups, local);
    if (ch >= running_params.c) {
        return;
    }
    let m = running_params.momentum;
    running_mean[ch] = (1.0 - m) * running_mean[ch] + m * batch_mean[ch];
    running_var[ch] = (1.0 - m) * running_var[ch] + m * (batch_var[ch] * running_params.unbiased);
}

// y = (x − mean)·gamma/√(var + eps) + beta.
struct Params {
    count: u32,   // elements
    c: u32,
    eps: f32,
    share: f32,   // 1 / (N·H·W) in training, else 0; read by grad_input only
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(2) var<storage, read> mean_in: array<f32>;    // [C]
@group(0) @binding(3) var<storage, read> var_in: array<f32>;     // [C]
@group(0) @binding(4) var<storage, read> gamma: array<f32>;      // [C]
@group(0) @binding(5) var<storage, read> beta: array<f32>;       // [C]
@group(0) @binding(6) var<storage, read_write> y: array<f32>;    // [N, H, W, C]

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = flat_element(group, groups, local);
    if (i >= params.count) {
        return;
    }
    let ch = i % params.c;
    let scale = gamma[ch] / sqrt(var_in[ch] + params.eps);
    y[i] = (x[i] - mean_in[ch]) * scale + beta[ch];
}

// Σ dy and Σ dy·x̂ over the rows of a block, x̂ = (x − mean)/√(var + eps).
@group(0) @binding(2) var<storage, read> dy: array<f32>;                    // [N, H, W, C]
@group(0) @binding(3) var<storage, read> grad_mean: array<f32>;             // [C]
@group(0) @binding(4) var<storage, read> grad_var: array<f32>;              // [C]
@group(0) @binding(5) var<storage, read_write> grad_partials: array<f32>;   // [blocks, 2, C]

@compute @workgroup_size(256)
fn grad_block_sums(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let c = block_params.c;
    let own = share_of(flat_group(group, groups), local);

    var sum = 0.0;
    var products = 0.0;
    if (own.inside) {
        let mean = grad_mean[own.ch];
        for (var row = own.first; row < own.end; row += 8u) {
            let d = dy[row * c + own.ch];
            sum += d;
            products += d * (x[row * c + own.ch] - mean);
        }
    }
    lane_a[local] = sum;
    lane_b[local] = products;
    workgroupBarrier();
    if (local < 32u && own.inside) {
        let rstd = 1.0 / sqrt(grad_var[own.ch] + block_params.eps);
        grad_partials[2u * own.block * c + own.ch] = sum_a(own.lane);
        grad_partials[(2u * own.block + 1u) * c + own.ch] = sum_b(own.lane) * rstd;
    }
}

// dbeta = Σ_b Σ dy;  dgamma = Σ_b Σ dy·x̂.
struct SumParams {
    c: u32,
    blocks: u32,
}

@group(0) @binding(0) var<uniform> sum_params: SumParams;
@group(0) @binding(2) var<storage, read_write> dbeta_out: array<f32>;    // [C]
@group(0) @binding(3) var<storage, read_write> dgamma_out: array<f32>;   // [C]

@compute @workgroup_size(256)
fn grad_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let ch = flat_element(group, groups, local);
    let c = sum_params.c;
    if (ch >= c) {
        return;
    }
    var dbeta = 0.0;
    var dgamma = 0.0;
    for (var b = 0u; b < sum_params.blocks; b++) {
        dbeta += all_partials[2u * b * c + ch];
        dgamma += all_partials[(2u * b + 1u) * c + ch];
    }
    dbeta_out[ch] = dbeta;
    dgamma_out[ch] = dgamma;
}

// dx = gamma/√(var + eps) · (dy − dbeta·share − x̂·dgamma·share).
@group(0) @binding(5) var<storage, read> grad_gamma: array<f32>;     // [C]
@group(0) @binding(6) var<storage, read> dbeta_in: array<f32>;       // [C]
@group(0) @binding(7) var<storage, read> dgamma_in: array<f32>;      // [C]
@group(0) @binding(8) var<storage, read_write> dx: array<f32>;       // [N, H, W, C]

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
    let ch = i % params.c;
    let rstd = 1.0 / sqrt(grad_var[ch] + params.eps);
    let xhat = (x[i] - grad_mean[ch]) * rstd;
    let batch = (dbeta_in[ch] + xhat * dgamma_in[ch]) * params.share;
    dx[i] = grad_gamma[ch] * rstd * (dy[i] - batch);
}
