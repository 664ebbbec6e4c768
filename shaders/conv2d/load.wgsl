{#- Fills the tiles of a block of k: which invocations load, and where they keep what they loaded. #}
{%- if not vec4 or pass == "grad_weight" %}

/// The digits of i in the mixed radix (radix.x, radix.y, unlimited), lowest first.
fn digits(i: u32, radix: vec2<u32>) -> vec3<u32> {
    return vec3<u32>(i % radix.x, i / radix.x % radix.y, i / radix.x / radix.y);
}
{%- endif %}
{%- if not vec4 and pass != "grad_weight" %}

/// The digits of a sum: a few comparisons where decoding the sum would take divisions.
fn add_digits(a: vec3<u32>, b: vec3<u32>, radix: vec2<u32>) -> vec3<u32> {
    var sum = a + b;
    if (sum.x >= radix.x) {
        sum.x -= radix.x;
        sum.y += 1u;
    }
    if (sum.y >= radix.y) {
        sum.y -= radix.y;
        sum.z += 1u;
    }
    return sum;
}
{%- endif %}

{#- Opens the block of the invocations that load A, the first ones, or B, the last ones. #}
{% macro loading(which) %}
        {%- set needed = tile.rows if which == "a" else tile.columns %}
        {%- if needed == tile.invocations %}
        {
        {%- elif which == "a" %}
        if (local < {{ needed }}u) {
        {%- else %}
        if (local >= {{ tile.invocations - needed }}u) {
        {%- endif %}
{%- endmacro %}

{#- Where this invocation stores the first of its four rows of k of a tile. #}
{% macro keeps(which) %}
    {%- set groups = groups_a if which == "a" else groups_b %}
    let keep_{{ which }} = quad_{{ which }} * {{ 4 * groups }}u + (group_{{ which }} ^ (2u * quad_{{ which }}));
{%- endmacro %}

{#- Stores `value`, row `part` of the four. #}
{% macro keep(which, part, value) %}
            {%- set groups = groups_a if which == "a" else groups_b %}
            tile_{{ which }}[keep_{{ which }} + {{ part * groups }}u] = {{ value }};
{%- endmacro %}

{#- The components `p` of four vectors, `name`0 … `name`3. #}
{% macro parts(name, p) -%}
    {{ name }}0.{{ p }}, {{ name }}1.{{ p }}, {{ name }}2.{{ p }}, {{ name }}3.{{ p }}
{%- endmacro %}

{#- Stores four vectors along k, `name`0 … `name`3, as four rows of k; for cooperative matrices as they are. #}
{% macro keep_turned(which, name) %}
            {%- for part in four %}
            {%- if coop %}
            put_{{ which }}(group_{{ which }} * 4u + {{ part.index }}u, quad_{{ which }} * 4u, vec4<f16>({{ name }}{{ part.index }}));
            {%- else %}
            {{- keep(which, part.index, "vec4<f32>(" ~ parts(name, part.name) ~ ")") }}
            {%- endif %}
            {%- endfor %}
{%- endmacro %}

{#- Stores four rows of k, `name`0 … `name`3, for cooperative matrices along k. #}
{% macro keep_along_k(which, name) %}
            {%- for part in four %}
            put_{{ which }}(group_{{ which }} * 4u + {{ part.index }}u, quad_{{ which }} * 4u, vec4<f16>(vec4({{ parts(name, part.name) }})));
            {%- endfor %}
{%- endmacro %}

{#- Fills tile_b from rows of a dense matrix of `c_out` columns: k0 … of which `end` and those behind it do not
    matter, or with `vec4` those from `b_at` on, of which rows behind element `last` repeat it. #}
{% macro load_rows_of_b(buffer, k0, end, last="") %}
        {{- loading("b") }}
            {%- if coop %}
            {%- for part in four %}
            {%- set at = "b_at + " ~ part.index ~ "u * width" %}
            let b{{ part.index }} = {{ buffer }}[{{ "min(" ~ at ~ ", " ~ last ~ ")" if last else at }}];
            {%- endfor %}
            {{- keep_along_k("b", "b") }}
            {%- else %}
            {%- for part in four %}
            {%- if vec4 %}
            {%- set at = "b_at + " ~ part.index ~ "u * width" %}
            {{- keep("b", part.index, "Element(" ~ buffer ~ "[" ~ ("min(" ~ at ~ ", " ~ last ~ ")" if last else at) ~ "])") }}
            {%- else %}
            {
                let k = {{ k0 }} + quad_b * 4u + {{ part.index }}u;
                var b = vec4<f32>();
                {%- for lane in lanes %}
                if (k < {{ end }} && col_b + {{ lane.index }}u < params.c_out) {
                    b{{ lane.part }} = Element({{ buffer }}[k * params.c_out + col_b + {{ lane.index }}u]);
                }
                {%- endfor %}
                {{- keep("b", part.index, "b") }}
            }
            {%- endif %}
            {%- endfor %}
            {%- endif %}
        }
        {%- if vec4 %}
        b_at += 16u * width;
        {%- endif %}
{%- endmacro %}

{#- The place of this invocation among those that load a tile of rows of k from row `k0` on: neighbours load
    neighbouring columns. #}
{% macro loads_rows_of_b(k0) %}
    let group_b = (local - {{ tile.invocations - tile.columns }}u) % {{ groups_b }}u;
    let quad_b = (local - {{ tile.invocations - tile.columns }}u) / {{ groups_b }}u;
    {{- keeps("b") }}
    {%- if vec4 %}
    let width = params.c_out / LANES;
    let col_b = min(col0 / LANES + group_b, width - 1u);
    var b_at = ({{ k0 }} + quad_b * 4u) * width + col_b;
    {%- else %}
    let col_b = col0 + group_b * 4u;
    {%- endif %}
{%- endmacro %}
