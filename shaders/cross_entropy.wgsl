// Softmax cross-entropy of each example, by log-sum-exp around the largest logit:
//   s_c = logits_c - max;  target_c = (1 - a) * [c == label] + a / C
//   loss = log(sum_c exp(s_c)) - sum_c target_c * s_c;  correct = [first largest == label]
//   dlogits_c = (exp(s_c) / sum exp(s) - target_c) * dloss
// Where classes have weights, each target is times its own, the log and the softmax times the sum of the targets.
// One invocation per example: classes are few. A class of weight 0 adds nothing to the loss, and a logit of -inf
// nothing to the sum of exponentials.

struct Params {
    examples: u32,
    classes: u32,
    label_smoothing: f32, // a
    weight: f32,          // dloss of every example, in forward_grad and, times the scale, forward_grad_scaled
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;         // [N, 1, 1, C]
@group(0) @binding(2) var<storage, read> labels: array<u32>;         // [N, 1, 1, 1]
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;   // [N, 1, 1, 1]
@group(0) @binding(4) var<storage, read_write> correct: array<u32>;  // [N, 1, 1, 1]

/// Class of the first of the largest logits of the row that starts at `row`.
/// A NaN elsewhere than in front is passed over here and reaches the loss through the exponentials.
fn first_largest(row: u32) -> u32 {
    var largest = 0u;
    for (var c = 1u; c < params.classes; c++) {
        if (logits[row + c] > logits[row + largest]) {
            largest = c;
        }
    }
    return largest;
}

/// From the bits, since compilers may assume that no float is infinite.
fn is_minus_infinity(value: f32) -> bool {
    return bitcast<u32>(value) == 0xff800000u;
}

/// exp(logit - max). Where all logits are -inf, it is NaN as their difference is.
fn exp_of(logit: f32, max: f32) -> f32 {
    if (is_minus_infinity(logit) && !is_minus_infinity(max)) {
        return 0.0;
    }
    return exp(logit - max);
}

struct Loss {
    loss: f32,
    correct: u32,
}

/// The loss of example n.
fn loss_of(n: u32) -> Loss {
    let row = n * params.classes;
    let label = labels[n];
    let largest = first_largest(row);
    let max = logits[row + largest];
    var sum = 0.0;
    var shifted = 0.0;
    for (var c = 0u; c < params.classes; c++) {
        sum += exp_of(logits[row + c], max);
        shifted += logits[row + c] - max;
    }
    let a = params.label_smoothing;
    var loss = log(sum) - (1.0 - a) * (logits[row + label] - max);
    // Not by a product with zero: it is NaN where a logit is infinite.
    if (a > 0.0) {
        loss -= a / f32(params.classes) * shifted;
    }
    return Loss(loss, select(0u, 1u, largest == label));
}

@compute @workgroup_size(256)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = flat_element(group, groups, local);
    if (n < params.examples) {
        let result = loss_of(n);
        losses[n] = result.loss;
        correct[n] = result.correct;
    }
}

/// What the gradient of example n needs: its largest logit, and the sum of the exponentials around it.
fn softmax(n: u32) -> vec2<f32> {
    let row = n * params.classes;
    let max = logits[row + first_largest(row)];
    var sum = 0.0;
    for (var c = 0u; c < params.classes; c++) {
        sum += exp_of(logits[row + c], max);
    }
    return vec2<f32>(max, sum);
}

/// The gradient of the loss of example n with respect to logit c.
fn gradient(n: u32, c: u32, softmax: vec2<f32>) -> f32 {
    let a = params.label_smoothing;
    let target_c = select(0.0, 1.0 - a, c == labels[n]) + a / f32(params.classes);
    return exp_of(logits[n * params.classes + c], softmax.x) / softmax.y - target_c;
}

@group(0) @binding(5) var<storage, read_write> dlogits_too: array<f32>;  // [N, 1, 1, C]

@compute @workgroup_size(256)
fn forward_grad(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = flat_element(group, groups, local);
    if (n >= params.examples) {
        return;
    }
    let result = loss_of(n);
    losses[n] = result.loss;
    correct[n] = result.correct;
    let parts = softmax(n);
    for (var c = 0u; c < params.classes; c++) {
        dlogits_too[n * params.classes + c] = gradient(n, c, parts) * params.weight;
    }
}

@group(0) @binding(3) var<storage, read> scaling: array<f32>;               // [2], the scale first
@group(0) @binding(4) var<storage, read_write> losses_by_scale: array<f32>;   // [N, 1, 1, 1]
@group(0) @binding(5) var<storage, read_write> correct_by_scale: array<u32>;  // [N, 1, 1, 1]
@group(0) @binding(6) var<storage, read_write> dlogits_by_scale: array<f32>;  // [N, 1, 1, C]

@compute @workgroup_size(256)
fn forward_grad_scaled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = flat_element(group, groups, local);
    if (n >= params.examples) {
        return;
    }
    let result = loss_of(n);
    losses_by_scale[n] = result.loss;
    correct_by_scale[n] = result.correct;
    let parts = softmax(n);
    let weight = params.weight * scaling[0];
    for (var c = 0u; c < params.classes; c++) {
        dlogits_by_scale[n * params.classes + c] = gradient(n, c, parts) * weight;
    }
}

@group(0) @binding(3) var<storage, read> dlosses: array<f32>;        // [N, 1, 1, 1]
@group(0) @binding(4) var<storage, read_write> dlogits: array<f32>;  // [N, 1, 1, C]

@compute @workgroup_size(256)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = flat_element(group, groups, local);
    if (n >= params.examples) {
        return;
    }
    let parts = softmax(n);
    for (var c = 0u; c < params.classes; c++) {
        dlogits[n * params.classes + c] = gradient(n, c, parts) * dlosses[n];
    }
}

@group(0) @binding(3) var<storage, read> class_weights: array<f32>;  // [1, 1, 1, C]

/// The target of example n for class c.
fn weighted_target(n: u32, c: u32) -> f32 {
    let a = params.label_smoothing;
    return class_weights[c] * (select(0.0, 1.0 - a, c == labels[n]) + a / f32(params.classes));
}

/// The sum of the targets of example n.
fn weighted_sum(n: u32) -> f32 {
    var sum = 0.0;
    for (var c = 0u; c < params.classes; c++) {
        sum += weighted_target(n, c);
    }
    return sum;
}

/// The loss of example n.
fn weighted_loss_of(n: u32) -> Loss {
    let row = n * params.classes;
    let largest = first_largest(row);
    let max = logits[row + largest];
    var sum = 0.0;
    var shifted = 0.0;
    for (var c = 0u; c < params.classes; c++) {
        sum += exp_of(logits[row + c], max);
        let target_c = weighted_target(n, c);
        // Not by a product with zero: it is NaN where a logit is infinite.
        if (target_c > 0.0) {
            shifted += target_c * (logits[row + c] - max);
        }
    }
    return Loss(weighted_sum(n) * log(sum) - shifted, select(0u, 1u, largest == labels[n]));
}

/// The gradient of the loss of example n with respect to logit c; `all` is the sum of its targets.
fn weighted_gradient(n: u32, c: u32, softmax: vec2<f32>, all: f32) -> f32 {
    let share = exp_of(logits[n * params.classes + c], softmax.x) / softmax.y;
    return share * all - weighted_target(n, c);
}

@group(0) @binding(4) var<storage, read_write> weighted_losses: array<f32>;   // [N, 1, 1, 1]
@group(0) @binding(5) var<storage, read_write> weighted_correct: array<u32>;  // [N, 1, 1, 1]

@compute @workgroup_size(256)
fn forward_weighted(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = flat_element(group, groups, local);
    if (n < params.examples) {
        let result = weighted_loss_of(n);
        weighted_losses[n] = result.loss;
        weighted_correct[n] = result.correct;
    }
}

@group(0) @binding(6) var<storage, read_write> weighted_dlogits_too: array<f32>;  // [N, 1, 1, C]

@compute @workgroup_size(256)
fn forward_grad_weighted(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = flat_element(group, groups, local);
    if (n >= params.examples) {
        return;
    }
    let result = weighted_loss_of(n);
    weighted_losses[n] = result.loss;
    weighted_correct[n] = result.correct;
    let parts = softmax(n);
    let all = weighted_sum(n);
    for (var c = 0u; c < params.classes; c++) {
        weighted_dlogits_too[n * params.classes + c] = weighted_gradient(n, c, parts, all) * params.weight;
    }
}

@group(0) @binding(4) var<storage, read> weighted_scaling: array<f32>;                 // [2], the scale first
@group(0) @binding(5) var<storage, read_write> weighted_losses_by_scale: array<f32>;   // [N, 1, 1, 1]
@group(0) @binding(6) var<storage, read_write> weighted_correct_by_scale: array<u32>;  // [N, 1, 1, 1]
@group(0) @binding(7) var<storage, read_write> weighted_dlogits_by_scale: array<f32>;  // [N, 1, 1, C]

@compute @workgroup_size(256)
fn forward_grad_weighted_scaled(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = flat_element(group, groups, local);
    if (n >= params.examples) {
        return;
    }
    let result = weighted_loss_of(n);
    weighted_losses_by_scale[n] = result.loss;
    weighted_correct_by_scale[n] = result.correct;
    let parts = softmax(n);
    let all = weighted_sum(n);
    let weight = params.weight * weighted_scaling[0];
    for (var c = 0u; c < params.classes; c++) {
        weighted_dlogits_by_scale[n * params.classes + c] = weighted_gradient(n, c, parts, all) * weight;
    }
}

@group(0) @binding(4) var<storage, read> weighted_dlosses: array<f32>;        // [N, 1, 1, 1]
@group(0) @binding(5) var<storage, read_write> weighted_dlogits: array<f32>;  // [N, 1, 1, C]

@compute @workgroup_size(256)
fn grad_input_weighted(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let n = flat_element(group, groups, local);
    if (n >= params.examples) {
        return;
    }
    let parts = softmax(n);
    let all = weighted_sum(n);
    for (var c = 0u; c < params.classes; c++) {
        weighted_dlogits[n * params.classes + c] = weighted_gradient(n, c, parts, all) * weighted_dlosses[n];
    }
}
