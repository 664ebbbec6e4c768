// y[n,oy,ox,co] = b[co] + sum over ky, kx, ci of x[n, oy·stride + ky - pad, ox·stride + kx - pad, ci] · w[ky,kx,ci,co]
// Rows of C are pixels of y, columns are co, k is (ky, kx, ci).
{%- if at.norm %}
// For x stands max(x·scale + shift, 0), zero outside the image.
{%- endif %}
{%- if at.partials %}
// partials: the count of a tile's rows, and of their y a pivot, the distance of the mean from it, and the sum of squared
// distances from the mean.
{%- endif %}

@group(0) @binding({{ at.x }}) var<storage, read> x: array<Stored>;  // [N, H, W, C_in]
@group(0) @binding({{ at.w }}) var<storage, read> w: array<Element>;  // [K_h, K_w, C_in, C_out]
{%- if at.b %}
@group(0) @binding({{ at.b }}) var<storage, read> b: array<Element>;  // [C_out]
{%- endif %}
{%- if at.norm %}
@group(0) @binding({{ at.norm }}) var<storage, read> norm: array<Element>;  // [4, C_in]: scale, shift, mean, rstd
{%- endif %}
@group(0) @binding({{ at.y }}) var<storage, read_write> y: array<Stored>;  // [N, H_out, W_out, C_out]
{%- if at.partials %}
@group(0) @binding({{ at.partials }}) var<storage, read_write> partials: array<Element>;  // [blocks, 4, C_out]
{%- endif %}

@compute @workgroup_size({{ tile.invocations }})
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    {{- subgroup_inputs() }}
) {
    let rows = params.n * params.h_out * params.w_out;
    let tiles_n = (params.c_out + {{ tile.columns - 1 }}u) / {{ tile.columns }}u;
    let number = flat_group(group, groups);
    let block = number / tiles_n;
    let begin_end = rows_of(block, params.h_out * params.w_out, rows);
    let row0 = begin_end.x;
    let row_end = begin_end.y;
    let col0 = number % tiles_n * {{ tile.columns }}u;
    if (row0 >= row_end) {
        return;
    }

    // This invocation loads 4 neighbouring k of 4 neighbouring rows of A. Rows behind the end repeat the
    // last one: they are not stored.
    let quad_a = local % 4u;
    let group_a = local / 4u;
    {{- keeps("a") }}
    let row = min(row0 + group_a * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(row_end - 1u));
    let image = row / (params.h_out * params.w_out);
    // Pixels before the first wrap around to huge numbers.
    let iy_first = row / params.w_out % params.h_out * params.stride - params.pad;
    let ix_first = row % params.w_out * params.stride - params.pad;
    {{- loads_rows_of_b("0u") }}
    {{- start() }}
    {%- if vec4 %}
    // All k of a block belong to one tap: there are 16·n channels. They and all places count vectors of four.
    let channels = params.c_in / LANES;
    let x_first = ((image * params.h + iy_first) * params.w + ix_first) * channels + quad_a;
    for (var ky = 0u; ky < params.k_h; ky++) {
    for (var kx = 0u; kx < params.k_w; kx++) {
        let iy = iy_first + ky;
        let ix = ix_first + kx;
        let inside = (iy < vec4<u32>(params.h)) & (ix < vec4<u32>(params.w));
        let x_at = select(vec4<u32>(quad_a), x_first + (ky * params.w + kx) * channels, inside);
        for (var c0 = 0u; c0 < channels; c0 += 4u) {
        {%- call multiply() %}
        {{- loading("a") }}
            {%- if at.norm %}
            let scale = norm[c0 + quad_a];
            let shift = norm[channels + c0 + quad_a];
            {%- endif %}
            {%- for part in four %}
            let x{{ part.index }} = {{ loaded }}(x[x_at.{{ part.name }} + c0]);
            {%- endfor %}
            {%- for part in four %}
            let a{{ part.index }} = select({{ loaded }}(), {{ "relu(x" ~ part.index ~ " * scale + shift)" if at.norm else "x" ~ part.index }}, inside.{{ part.name }});
            {%- endfor %}
            {{- keep_turned("a", "a") }}
        }
        {{- load_rows_of_b("w", "", "") }}
        {%- endcall %}
        }
    }
    }
    {%- else %}
    let depth = params.k_h * params.k_w * params.c_in;
    let radix = vec2<u32>(params.c_in, params.k_w);
    let next = digits(1u, radix);
    let next_step = digits(13u, radix);
    var tap = digits(quad_a * 4u, radix);  // (ci, kx, ky)
    for (var k0 = 0u; k0 < depth; k0 += 16u) {
        {%- call multiply() %}
        {{- loading("a") }}
            {%- for lane in lanes %}
            {
                let iy = iy_first + tap.z;
                let ix = ix_first + tap.y;
                let inside = (iy < vec4<u32>(params.h)) & (ix < vec4<u32>(params.w)) & vec4<bool>(tap.z < params.k_h);
                let pixel = ((image * params.h + iy) * params.w + ix) * params.c_in + tap.x;
                let x_at = select(vec4<u32>(), pixel, inside);
                var a = vec4<f32>({% for part in four %}Element(x[x_at.{{ part.name }}]){{ "" if loop.last else ", " }}{% endfor %});
                {%- if at.norm %}
                a = relu(a * norm[tap.x] + norm[params.c_in + tap.x]);
                {%- endif %}
                a = select(vec4<f32>(), a, inside);
                {{- keep("a", lane.index, "a") }}
                tap = add_digits(tap, {{ "next_step" if loop.last else "next" }}, radix);
            }
            {%- endfor %}
        }
        {{- load_rows_of_b("w", "k0", "depth") }}
        {%- endcall %}
    }
    {%- endif %}
    {{- finish() }}
    {%- for i in rows %}
    let row_{{ i.index }} = row0 + tile_row * 4u + {{ i.at }}u;
    {%- endfor %}
    {%- for j in [0, 1] %}
    {
        {%- if at.b %}
        {{- load_columns("bias", "b", "0u", "params.c_out", j) }}
        {%- endif %}
        {%- for i in rows %}
        {%- if at.b %}
        c{{ i.index }}_{{ j }} += bias;
        {%- endif %}
        if (row_{{ i.index }} < row_end) {
            {{- store("c" ~ i.index ~ "_" ~ j, "y", "row_" ~ i.index ~ " * params.c_out", "params.c_out", j, "to_stored") }}
        }
        {%- endfor %}
    }
    {%- endfor %}
    {%- if at.partials %}

    let count = f32(min(row_end - row0, {{ tile.rows }}u));
    {%- call(j) moments("row_", " < row_end") %}
            let first = 4u * block * params.c_out;
            {{- store("n", "partials", "first", "params.c_out", j) }}
            {{- store("p", "partials", "first + params.c_out", "params.c_out", j) }}
            {{- store("m", "partials", "first + 2u * params.c_out", "params.c_out", j) }}
            {{- store("m2", "partials", "first + 3u * params.c_out", "params.c_out", j) }}
    {%- endcall %}
    {%- endif %}
}
