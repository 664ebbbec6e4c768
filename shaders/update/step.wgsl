// The step of one rule, in place; what it does with an element stands beside the rule, in src/ops/update/.

@group(0) @binding(2) var<storage, read> rate: array<f32>;  // [1] or [2]: learning rate, unscale
{% if corrected %}
@group(0) @binding(3) var<storage, read> correction: array<f32>;  // what the weights of the averages add up to
{% endif %}
{% for state in states %}
@group(0) @binding({{ loop.index + (3 if corrected else 2) }}) var<storage, read_write> all_{{ state }}: array<f32>;
{% endfor %}

/// What the gradients are multiplied by.
fn unscale() -> f32 {
    if (params.scaled == 0u) {
        return 1.0;
    }
    return rate[1];
}

@compute @workgroup_size(256)
fn step(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let s = segment_of(flat_group(group, groups));
    let first = (flat_group(group, groups) - s.group) * BLOCK;
    let factor = unscale();
    if (factor == 0.0) {
        return;
    }
    let lr = rate[0] * s.lr_scale;
    let weight_decay = s.weight_decay;
    for (var i = first + local; i < min(first + BLOCK, s.len); i += 256u) {
        let at = s.p + i;
        let g = gradient(s, i) * factor;
{% for state in states %}
        var {{ state }} = all_{{ state }}[at];
{% endfor %}
        {{ formula }}
{% for state in states %}
        all_{{ state }}[at] = {{ state }};
{% endfor %}
    }
}
