// The reductions of BatchNorm over N, H and W of every channel. A row is the C values of one pixel.
// Their first stage cuts the rows into blocks of whole images: a workgroup reduces one block
// for 32 channels with 8 invocations each. `norm` has the rows scale, shift, mean and rstd.

struct BlockParams {
    rows: u32,            // N·H·W of the tensor, or of its part along N
    c: u32,
    rows_per_block: u32,
    channel_groups: u32,  // of 32 channels
    blocks: u32,
}

@group(0) @binding(0) var<uniform> block_params: BlockParams;

var<workgroup> lane_a: array<f32, 256>;
var<workgroup> lane_b: array<f32, 256>;

/// What one invocation of a reduction's first stage works on.
struct Share {
    block: u32,
    lane: u32,     // its channel among the workgroup's 32
    ch: u32,
    begin: u32,    // the block's first row
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
    return Share(block, lane, ch, begin, begin + local / 32u, end, f32(end - begin), inside);
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

// mean_b = pivot_b + Σ (x − pivot_b) / rows;  M2_b = Σ (x − mean_b)², over the rows of block b, of which pivot_b is
// the first. The mean is stored as its distance from the pivot, so that a large one costs no digits.
@group(0) @binding(1) var<storage, read> x: array<Stored>;             // [N, H, W, C]
@group(0) @binding(2) var<storage, read_write> partials: array<f32>;   // [blocks, 4, C]

@compute @workgroup_size(256)
fn moments_partials(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let c = block_params.c;
    let own = share_of(flat_group(group, groups), local);

    var pivot = 0.0;
    var sum = 0.0;
    if (own.inside) {
        pivot = f32(x[own.begin * c + own.ch]);
        for (var row = own.first; row < own.end; row += 8u) {
            sum += f32(x[row * c + own.ch]) - pivot;
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
            let d = (f32(x[row * c + own.ch]) - pivot) - mean;
            rest += d;
            squares += d * d;
        }
    }
    lane_a[local] = rest;
    lane_b[local] = squares;
    workgroupBarrier();
    if (local < 32u && own.inside) {
        let total = sum_a(own.lane);
        let first = 4u * own.block * c + own.ch;
        partials[first] = own.count;
        partials[first + c] = pivot;
        partials[first + 2u * c] = mean + total / own.count;
        partials[first + 3u * c] = sum_b(own.lane) - total * total / own.count;
    }
}

// Σ dy and Σ dy·x̂ over the rows of a block, x̂ = (x − mean)·rstd.
@group(0) @binding(2) var<storage, read> dy: array<Stored>;                 // [N, H, W, C]
@group(0) @binding(3) var<storage, read> grad_norm: array<f32>;             // [4, C]
@group(0) @binding(4) var<storage, read_write> grad_partials: array<f32>;   // [blocks, 2, C]

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
        let mean = grad_norm[2u * c + own.ch];
        for (var row = own.first; row < own.end; row += 8u) {
            let d = f32(dy[row * c + own.ch]);
            sum += d;
            products += d * (f32(x[row * c + own.ch]) - mean);
        }
    }
    lane_a[local] = sum;
    lane_b[local] = products;
    workgroupBarrier();
    if (local < 32u && own.inside) {
        grad_partials[2u * own.block * c + own.ch] = sum_a(own.lane);
        grad_partials[(2u * own.block + 1u) * c + own.ch] = sum_b(own.lane) * grad_norm[3u * c + own.ch];
    }
}

// dbeta = Σ_b Σ dy;  dgamma = Σ_b Σ dy·x̂. A workgroup adds up 8 channels; of the 32 invocations of a
// channel each takes every 32nd block.
struct SumParams {
    c: u32,
    blocks: u32,
}

@group(0) @binding(0) var<uniform> sum_params: SumParams;
@group(0) @binding(1) var<storage, read> all_partials: array<f32>;       // [blocks, 2, C]
@group(0) @binding(2) var<storage, read_write> dbeta_out: array<f32>;    // [C]
@group(0) @binding(3) var<storage, read_write> dgamma_out: array<f32>;   // [C]

@compute @workgroup_size(256)
fn grad_sum(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let c = sum_params.c;
    let lane = local % 8u;
    let ch = flat_group(group, groups) * 8u + lane;
    var dbeta = 0.0;
    var dgamma = 0.0;
    if (ch < c) {
        for (var b = local / 8u; b < sum_params.blocks; b += 32u) {
            dbeta += all_partials[2u * b * c + ch];
            dgamma += all_partials[(2u * b + 1u) * c + ch];
        }
    }
    lane_a[local] = dbeta;
    lane_b[local] = dgamma;
    workgroupBarrier();
    if (local >= 8u || ch >= c) {
        return;
    }
    for (var r = 1u; r < 32u; r++) {
        dbeta += lane_a[r * 8u + lane];
        dgamma += lane_b[r * 8u + lane];
    }
    dbeta_out[ch] = dbeta;
    dgamma_out[ch] = dgamma;
}
