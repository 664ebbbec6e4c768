// partials[s,ky,kx,ci,co] = sum over the pixels (n, oy, ox) of the images in split s of
// x[n, oy·stride + ky - pad, ox·stride + kx - pad, ci] · dy[n,oy,ox,co].
// Rows of C are (ky, kx, ci), columns are co, k is a pixel of dy.
{%- if at.norm %}
// For x stands max(x·scale + shift, 0), zero outside the image.
{%- endif %}

@group(0) @binding({{ at.x }}) var<storage, read> x: array<Stored>;   // [N, H, W, C_in]
@group(0) @binding({{ at.dy }}) var<storage, read> dy: array<Stored>;  // [N, H_out, W_out, C_out]
{%- if at.norm %}
@group(0) @binding({{ at.norm }}) var<storage, read> norm: array<Element>;  // [4, C_in]: scale, shift, mean, rstd
{%- endif %}
@group(0) @binding({{ at.partials }}) var<storage, read_write> partials: array<Element>;  // [S, K_h·K_w, C_in, C_out]

/// Where the window of pixel i of y begins in x without its padding: column, row, and element of x.
fn window(i: u32) -> vec3<u32> {
    let pixel = digits(i, vec2<u32>(params.w_out, params.h_out));  // (ox, oy, n)
    let first = pixel.xy * params.stride;
    return vec3<u32>(first, ((pixel.z * params.h + first.y) * params.w + first.x) * params.c_in);
}

/// The window of i + j from those of i and j, without a multiplication that differs between invocations.
fn add_windows(a: vec3<u32>, b: vec3<u32>) -> vec3<u32> {
    let extent = vec2<u32>(params.w_out, params.h_out) * params.stride;
    var sum = a + b;
    if (sum.x >= extent.x) {
        sum += vec3<u32>(0u - extent.x, params.stride, (params.stride * params.w - extent.x) * params.c_in);
    }
    if (sum.y >= extent.y) {
        sum += vec3<u32>(0u, 0u - extent.y, (params.h - extent.y) * params.w * params.c_in);
    }
    return sum;
}

{#- A vector of what is called `before` + number of the lane + `after`. #}
{% macro gathered(before, after) -%}
    {% if vec4 %}{{ before }}0{{ after }}{% else %}vec4<f32>({{ before }}0{{ after }}, {{ before }}1{{ after }}, {{ before }}2{{ after }}, {{ before }}3{{ after }}){% endif %}
{%- endmacro %}

@compute @workgroup_size({{ tile.invocations }})
fn grad_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    {{- subgroup_inputs() }}
) {
    let rows = params.k_h * params.k_w * params.c_in;
    let tiles_m = (rows + {{ tile.rows - 1 }}u) / {{ tile.rows }}u;
    let tiles_n = (params.c_out + {{ tile.columns - 1 }}u) / {{ tile.columns }}u;
    let number = flat_group(group, groups);
    let col0 = number % tiles_n * {{ tile.columns }}u;
    let row0 = number / tiles_n % tiles_m * {{ tile.rows }}u;
    let split = number / (tiles_n * tiles_m);
    if (split * params.images >= params.n) {
        return;
    }
    let pixels = params.h_out * params.w_out;
    let begin = split * params.images * pixels;
    let end = min((split + 1u) * params.images, params.n) * pixels;

    // This invocation loads 4 neighbouring rows of A at 4 neighbouring k. Rows behind the end repeat the
    // last one: they are not stored.
    let quad_a = local / {{ groups_a }}u;
    let group_a = local % {{ groups_a }}u;
    {{- keeps("a") }}
    {%- for lane in lanes %}
    let a_row{{ lane.index }} = min(row0 + group_a * 4u + {{ lane.index }}u, rows - {{ "4u" if vec4 else "1u" }});
    let tap{{ lane.index }} = digits(a_row{{ lane.index }}, vec2<u32>(params.c_in, params.k_w));  // (ci, kx, ky)
    {%- endfor %}
    {%- if at.norm %}
    let scale = {{ gathered("norm[tap", ".x / LANES]") }};
    let shift = {{ gathered("norm[(params.c_in + tap", ".x) / LANES]") }};
    {%- endif %}
    // Where the window's tap is from its beginning.
    {%- for lane in lanes %}
    {%- set l = lane.index %}
    let down{{ l }} = tap{{ l }}.z - params.pad;
    let across{{ l }} = tap{{ l }}.y - params.pad;
    let offset{{ l }} = (down{{ l }} * params.w + across{{ l }}) * params.c_in + tap{{ l }}.x;
    {%- endfor %}
    let next = window(1u);
    let next_step = window(13u);
    var first = window(begin + quad_a * 4u);
    {{- loads_rows_of_b("begin") }}
    {%- if vec4 %}
    let b_last = (end - 1u) * width + col_b;
    {%- endif %}
    {{- start() }}
    for (var k0 = begin; k0 < end; k0 += 16u) {
        {%- call multiply() %}
        {{- loading("a") }}
            {%- for part in four %}
            {%- set p = part.index %}
            let in_split{{ p }} = k0 + quad_a * 4u + {{ p }}u < end;
            {%- for lane in lanes %}
            {%- set l = lane.index %}
            // Pixels before the first wrap around to huge numbers.
            let inside{{ p }}{{ l }} = in_split{{ p }} & (first.y + down{{ l }} < params.h) & (first.x + across{{ l }} < params.w);
            let x{{ p }}{{ l }} = {{ loaded }}(x[select(0u, first.z + offset{{ l }}, inside{{ p }}{{ l }}) / LANES]);
            {%- endfor %}
            first = add_windows(first, {{ "next_step" if loop.last else "next" }});
            {%- endfor %}
            {%- if coop %}
            {%- for part in four %}
            {%- set p = part.index %}
            let a{{ p }} = select({{ loaded }}(), {{ "relu(x" ~ p ~ "0 * scale + shift)" if at.norm else "x" ~ p ~ "0" }}, inside{{ p }}0);
            {%- endfor %}
            {{- keep_along_k("a", "a") }}
            {%- else %}
            {%- for part in four %}
            {%- set p = part.index %}
            {
                let values = {{ gathered("x" ~ p, "") }};
                let inside = {% if vec4 %}vec4<bool>(inside{{ p }}0){% else %}vec4<bool>(inside{{ p }}0, inside{{ p }}1, inside{{ p }}2, inside{{ p }}3){% endif %};
                let a = select(vec4<f32>(), {{ "relu(values * scale + shift)" if at.norm else "values" }}, inside);
                {{- keep("a", p, "a") }}
            }
            {%- endfor %}
            {%- endif %}
        }
        {{- load_rows_of_b("dy", "k0", "end", "b_last") }}
        {%- endcall %}
    }
    {{- finish() }}
    {%- for i in rows %}
    {
        let row = row0 + tile_row * 4u + {{ i.at }}u;
        if (row < rows) {
            {%- for j in [0, 1] %}
            {{- store("c" ~ i.index ~ "_" ~ j, "partials", "(split * rows + row) * params.c_out", "params.c_out", j) }}
            {%- endfor %}
        }
    }
    {%- endfor %}
}
