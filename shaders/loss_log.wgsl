// The log of losses: ring_loss[k] = mean(losses), ring_correct[k] = sum(correct) at
// k = cursor mod capacity, then cursor += 1. One workgroup; the order of the sums is fixed.

struct Params {
    examples: u32,
    capacity: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> losses: array<f32>;              // [N, 1, 1, 1]
@group(0) @binding(2) var<storage, read> correct: array<u32>;             // [N, 1, 1, 1]
@group(0) @binding(3) var<storage, read_write> cursor: array<u32>;        // [1]
@group(0) @binding(4) var<storage, read_write> ring_loss: array<f32>;     // [capacity]
@group(0) @binding(5) var<storage, read_write> ring_correct: array<u32>;  // [capacity]

var<workgroup> loss_sums: array<f32, 256>;
var<workgroup> correct_sums: array<u32, 256>;

@compute @workgroup_size(256)
fn forward(@builtin(local_invocation_index) local: u32) {
    var loss_sum = 0.0;
    var correct_sum = 0u;
    for (var n = local; n < params.examples; n += 256u) {
        loss_sum += losses[n];
        correct_sum += correct[n];
    }
    loss_sums[local] = loss_sum;
    correct_sums[local] = correct_sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if (local < half) {
            loss_sums[local] += loss_sums[local + half];
            correct_sums[local] += correct_sums[local + half];
        }
    }
    if (local == 0u) {
        let slot = cursor[0] % params.capacity;
        ring_loss[slot] = loss_sums[0] / f32(params.examples);
        ring_correct[slot] = correct_sums[0];
        cursor[0] += 1u;
    }
}
