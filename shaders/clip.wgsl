// Gradient clipping: the sum of all squares, and what gradients are multiplied by so that their norm is `most` at most:
//   factor = unscale * min(1, most / (sqrt(sum) * unscale + 1e-6))

struct SumParams {
    count: u32,  // squares
    unused: u32,
}

@group(0) @binding(0) var<uniform> sum_params: SumParams;
@group(0) @binding(1) var<storage, read> squares: array<f32>;    // [count]
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;  // [1]

var<workgroup> sums: array<f32, 256>;

/// The sum of all squares, for the first invocation; to be called by all invocations of the only workgroup.
fn sum_of_squares(local: u32) -> f32 {
    var own = 0.0;
    for (var i = local; i < sum_params.count; i += 256u) {
        own += squares[i];
    }
    sums[local] = own;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            sums[local] += sums[local + half];
        }
    }
    return sums[0];
}

@compute @workgroup_size(256)
fn add_squares(@builtin(local_invocation_index) local: u32) {
    let total = sum_of_squares(local);
    if (local == 0u) {
        sum[0] = total;
    }
}

@group(0) @binding(2) var<storage, read> before: array<f32>;                // [1]
@group(0) @binding(3) var<storage, read_write> sum_and_before: array<f32>;  // [1]

@compute @workgroup_size(256)
fn add_squares_to_those_before(@builtin(local_invocation_index) local: u32) {
    let total = sum_of_squares(local);
    if (local == 0u) {
        sum_and_before[0] = total + before[0];
    }
}

struct ClipParams {
    scaled: u32,  // 1 where the learning rate is followed by what gradients are multiplied by, 0 for no update
    most: f32,    // the longest norm
}

@group(0) @binding(0) var<uniform> clip_params: ClipParams;
@group(0) @binding(1) var<storage, read> step: array<f32>;               // [1] or [2]: learning rate, unscale
@group(0) @binding(2) var<storage, read> all_squares: array<f32>;        // [1]
@group(0) @binding(3) var<storage, read_write> clipped: array<f32>;      // [2]: learning rate, factor

@compute @workgroup_size(1)
fn clip() {
    var unscale = 1.0;
    if (clip_params.scaled != 0u) {
        unscale = step[1];
    }
    let norm = sqrt(all_squares[0]) * unscale + 1e-6;
    clipped[0] = step[0];
    // From the bits, since compilers may assume that floats are finite.
    if (unscale == 0.0) {
        clipped[1] = 0.0;
    } else if ((bitcast<u32>(norm) & 0x7f800000u) == 0x7f800000u) {
        clipped[1] = bitcast<f32>(bitcast<u32>(norm) | 0x7fc00000u);
    } else {
        clipped[1] = unscale * min(clip_params.most / norm, 1.0);
    }
}
