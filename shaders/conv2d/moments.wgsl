{#- What a workgroup reduces over its rows of invocations, once its product is summed. The workgroup memory
    of the factors, `sums.a` and `sums.b`, then holds a vector for each invocation and group of four columns. #}
{% macro left(which, at) -%}
    {% if coop %}four_sums(4u * ({{ at }}){{ coop.sums_b if which == "b" }}){% else %}{{ sums[which] }}[{{ at }}]{% endif %}
{%- endmacro %}

{#- Leaves `value`, of the invocation's columns j. #}
{%- macro leave(which, j, value) %}
        {%- set at = sums.row ~ " * " ~ sums.line ~ "u + " ~ sums.col ~ " + " ~ j * sums.across ~ "u" %}
        {% if coop %}set_four_sums(4u * ({{ at }}){{ coop.sums_b if which == "b" }}, {{ value }});{% else %}{{ sums[which] }}[{{ at }}] = {{ value }};{% endif %}
{%- endmacro %}

{#- The sum of what was left of the invocation's columns j. #}
{%- macro sum(which, j) -%}
    sum_{{ which }}({{ sums.col }} + {{ j * sums.across }}u)
{%- endmacro %}

{%- if sums %}

/// Sums over the rows of invocations of what they left of four columns, in order.
fn sum_a(col: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var row = 0u; row < {{ sums.rows }}u; row++) {
        sum += {{ left("a", "row * " ~ sums.line ~ "u + col") }};
    }
    return sum;
}

fn sum_b(col: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var row = 0u; row < {{ sums.rows }}u; row++) {
        sum += {{ left("b", "row * " ~ sums.line ~ "u + col") }};
    }
    return sum;
}
{%- endif %}

{#- The moments of the columns of C over those of its `count` rows that are there, which `before` + number of
    the invocation's value + `after` tells. The body of the call stores them for columns j: `n`, their count,
    `p`, a pivot near the mean, `m`, the mean's distance from it, and `m2`, the sum of squared distances from the
    mean. #}
{% macro moments(before, after) %}
    {%- for j in [0, 1] %}
    var sum_{{ j }} = vec4<f32>();
    {%- for i in sums.values %}
    sum_{{ j }} += select(vec4<f32>(), c{{ i }}_{{ j }}, {{ before ~ i ~ after }});
    {%- endfor %}
    {{- leave("b", j, "sum_" ~ j) }}
    {%- endfor %}
    workgroupBarrier();
    {%- for j in [0, 1] %}
    let mean_{{ j }} = {{ sum("b", j) }} / count;
    {%- endfor %}
    workgroupBarrier();
    // The distances sum to what rounding left in the mean: it is kept beside it, and taken out of the squares.
    {%- for j in [0, 1] %}
    {
        var rest = vec4<f32>();
        var squares = vec4<f32>();
        {%- for i in sums.values %}
        {
            let d = select(vec4<f32>(), c{{ i }}_{{ j }} - mean_{{ j }}, {{ before ~ i ~ after }});
            rest += d;
            squares += d * d;
        }
        {%- endfor %}
        {{- leave("a", j, "rest") }}
        {{- leave("b", j, "squares") }}
    }
    {%- endfor %}
    workgroupBarrier();
    if ({{ sums.row }} == 0u) {
        {%- for j in [0, 1] %}
        {
            let total = {{ sum("a", j) }};
            let n = vec4<f32>(count);
            let p = mean_{{ j }};
            let m = total / count;
            let m2 = {{ sum("b", j) }} - total * total / count;
            {{- caller(j) }}
        }
        {%- endfor %}
    }
{%- endmacro %}
