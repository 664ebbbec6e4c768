// dx[n,iy,ix,ci] = sum of dy[n,oy,ox,co] · w[ky,kx,ci,co] over co and the taps with oy·stride + ky - pad = iy,
// ox·stride + kx - pad = ix. Pixels with the same remainders of iy and ix by the stride form a class: they
// have the same taps, ky = ky_first + stride·jy and kx = kx_first + stride·jx, so that none is tried in vain.
// Rows of C are pixels of one class, columns are ci, k is (jy, jx, co).
{%- if at.skip %}
// The gradient `skip` of another reader of the image is added.
{%- endif %}
{%- if at.pre %}
// Kept where {{ "out" if at.out else "pre·scale + shift" }} > 0, else 0; partials are the sums over a tile's pixels of dx and
// of dx·x̂, x̂ = (pre − mean)·rstd.
{%- endif %}

@group(0) @binding({{ at.dy }}) var<storage, read> dy: array<Stored>;  // [N, H_out, W_out, C_out]
@group(0) @binding({{ at.w }}) var<storage, read> w: array<Element>;   // [K_h, K_w, C_in, C_out]
{%- if at.skip %}
@group(0) @binding({{ at.skip }}) var<storage, read> skip: array<Stored>;  // [N, H, W, C_in]
{%- endif %}
{%- if at.pre %}
@group(0) @binding({{ at.pre }}) var<storage, read> pre: array<Stored>;  // [N, H, W, C_in]
@group(0) @binding({{ at.norm }}) var<storage, read> norm: array<Element>;  // [4, C_in]: scale, shift, mean, rstd
{%- endif %}
{%- if at.out %}
@group(0) @binding({{ at.out }}) var<storage, read> out: array<Stored>;  // [N, H, W, C_in]
{%- endif %}
@group(0) @binding({{ at.dx }}) var<storage, read_write> dx: array<Stored>;  // [N, H, W, C_in]
{%- if at.partials %}
@group(0) @binding({{ at.partials }}) var<storage, read_write> partials: array<Element>;  // [blocks, 2, C_in]
{%- endif %}

@compute @workgroup_size({{ tile.invocations }})
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
    {{- subgroup_inputs() }}
) {
    let stride = params.stride;
    let class_h = (params.h + stride - 1u) / stride;
    let class_w = (params.w + stride - 1u) / stride;
    let rows = params.n * class_h * class_w;
    let tiles_n = (params.c_in + {{ tile.columns - 1 }}u) / {{ tile.columns }}u;
    let number = flat_group(group, groups);
    let col0 = number % tiles_n * {{ tile.columns }}u;
    // The classes of the same pixels are neighbours, so that a cut along N keeps the blocks' order.
    let block = number / tiles_n;
    let class_y = block % (stride * stride) / stride;
    let class_x = block % stride;
    let begin_end = rows_of(block / (stride * stride), class_h * class_w, rows);
    let row0 = begin_end.x;
    let row_end = begin_end.y;
    if (row0 >= row_end) {
        return;
    }
    let ky_first = (class_y + params.pad) % stride;
    let kx_first = (class_x + params.pad) % stride;
    let taps_y = (params.k_h + stride - 1u - ky_first) / stride;
    let taps_x = (params.k_w + stride - 1u - kx_first) / stride;

    // This invocation loads 4 neighbouring k of 4 neighbouring rows of A and of 4 columns of B. Rows and
    // columns behind the end repeat others: they are not stored.
    let quad_a = local % 4u;
    let group_a = local / 4u;
    {{- keeps("a") }}
    let row = min(row0 + group_a * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(row_end - 1u));
    let image = row / (class_h * class_w);
    let oy_first = row / class_w % class_h + (class_y + params.pad) / stride;
    let ox_first = row % class_w + (class_x + params.pad) / stride;
    let quad_b = local % 4u;
    let group_b = (local - {{ tile.invocations - tile.columns }}u) / 4u;
    {{- keeps("b") }}
    {%- if not vec4 %}
    let ci = min(col0 + group_b * 4u + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.c_in - 1u));
    {%- endif %}
    {{- start() }}
    {%- if vec4 %}
    // All k of a block belong to one tap: there are 16·n channels. They and all places count vectors of four.
    let channels = params.c_out / LANES;
    let dy_first = ((image * params.h_out + oy_first) * params.w_out + ox_first) * channels + quad_a;
    let w_first = min(col0 + group_b * 4u, params.c_in - 4u) * channels + quad_b;
    for (var jy = 0u; jy < taps_y; jy++) {
    for (var jx = 0u; jx < taps_x; jx++) {
        // Pixels before the first wrap around to huge numbers.
        let oy = oy_first - jy;
        let ox = ox_first - jx;
        let inside = (oy < vec4<u32>(params.h_out)) & (ox < vec4<u32>(params.w_out));
        let dy_at = select(vec4<u32>(quad_a), dy_first - (jy * params.w_out + jx) * channels, inside);
        let tap = (ky_first + stride * jy) * params.k_w + kx_first + stride * jx;
        let w_at = w_first + tap * params.c_in * channels;
        for (var c0 = 0u; c0 < channels; c0 += 4u) {
        {%- call multiply() %}
        {{- loading("a") }}
            {%- for part in four %}
            let dy{{ part.index }} = {{ loaded }}(dy[dy_at.{{ part.name }} + c0]);
            {%- endfor %}
            {%- for part in four %}
            let a{{ part.index }} = select({{ loaded }}(), dy{{ part.index }}, inside.{{ part.name }});
            {%- endfor %}
            {{- keep_turned("a", "a") }}
        }
        {{- loading("b") }}
            {%- for part in four %}
            let b{{ part.index }} = w[w_at + {{ part.index }}u * channels + c0];
            {%- endfor %}
            {{- keep_turned("b", "b") }}
        }
        {%- endcall %}
        }
    }
    }
    {%- else %}
    let depth = taps_y * taps_x * params.c_out;
    let radix = vec2<u32>(params.c_out, max(taps_x, 1u));
    let next = digits(1u, radix);
    let next_step = digits(13u, radix);
    var tap = digits(quad_a * 4u, radix);  // (co, jx, jy)
    for (var k0 = 0u; k0 < depth; k0 += 16u) {
        {%- call multiply() %}
            {%- for lane in lanes %}
            {
                let is_tap = tap.z < taps_y;
                {{- loading("a") }}
                let oy = oy_first - tap.z;
                let ox = ox_first - tap.y;
                let inside = (oy < vec4<u32>(params.h_out)) & (ox < vec4<u32>(params.w_out)) & vec4<bool>(is_tap);
                let pixel = ((image * params.h_out + oy) * params.w_out + ox) * params.c_out + tap.x;
                let dy_at = select(vec4<u32>(), pixel, inside);
                let a = vec4<f32>({% for part in four %}Element(dy[dy_at.{{ part.name }}]){{ "" if loop.last else ", " }}{% endfor %});
                {{- keep("a", lane.index, "select(vec4<f32>(), a, inside)") }}
                }
                {{- loading("b") }}
                let at = ((ky_first + stride * tap.z) * params.k_w + kx_first + stride * tap.y) * params.c_in;
                let w_at = select(vec4<u32>(), (at + ci) * params.c_out + tap.x, vec4<bool>(is_tap));
                let b = vec4<f32>({% for part in four %}w[w_at.{{ part.name }}]{{ "" if loop.last else ", " }}{% endfor %});
                {{- keep("b", lane.index, "select(vec4<f32>(), b, vec4<bool>(is_tap))") }}
                }
                tap = add_digits(tap, {{ "next_step" if loop.last else "next" }}, radix);
            }
            {%- endfor %}
        {%- endcall %}
    }
    {%- endif %}
    {{- finish() }}
    {%- for i in rows %}
    let row_{{ i.index }} = row0 + tile_row * 4u + {{ i.at }}u;
    let iy_{{ i.index }} = row_{{ i.index }} / class_w % class_h * stride + class_y;
    let ix_{{ i.index }} = row_{{ i.index }} % class_w * stride + class_x;
    let is_pixel_{{ i.index }} = row_{{ i.index }} < row_end && iy_{{ i.index }} < params.h && ix_{{ i.index }} < params.w;
    let first_{{ i.index }} = ((row_{{ i.index }} / (class_h * class_w) * params.h + iy_{{ i.index }}) * params.w + ix_{{ i.index }}) * params.c_in;
    {%- endfor %}
    {%- for j in [0, 1] %}
    {
        {%- if at.pre %}
        {%- for row in ["scale", "shift", "mean", "rstd"] %}
        {%- if row in ["mean", "rstd"] or not at.out %}
        {{- load_columns(row, "norm", loop.index0 ~ "u * params.c_in", "params.c_in", j) }}
        {%- endif %}
        {%- endfor %}
        var sum = vec4<f32>();
        var products = vec4<f32>();
        {%- endif %}
        {%- for i in rows %}
        if (is_pixel_{{ i.index }}) {
            {%- if at.skip %}
            {{- load_columns("skipped", "skip", "first_" ~ i.index, "params.c_in", j) }}
            c{{ i.index }}_{{ j }} += skipped;
            {%- endif %}
            {%- if at.pre %}
            {{- load_columns("z", "pre", "first_" ~ i.index, "params.c_in", j) }}
            {%- if at.out %}
            {{- load_columns("kept", "out", "first_" ~ i.index, "params.c_in", j) }}
            {%- else %}
            let kept = z * scale + shift;
            {%- endif %}
            c{{ i.index }}_{{ j }} = select(vec4<f32>(), c{{ i.index }}_{{ j }}, kept > vec4<f32>());
            sum += c{{ i.index }}_{{ j }};
            products += c{{ i.index }}_{{ j }} * ((z - mean) * rstd);
            {%- endif %}
            {{- store("c" ~ i.index ~ "_" ~ j, "dx", "first_" ~ i.index, "params.c_in", j, "to_stored") }}
        }
        {%- endfor %}
        {%- if at.partials %}
        {{- leave("a", j, "sum") }}
        {{- leave("b", j, "products") }}
        {%- endif %}
    }
    {%- endfor %}
    {%- if at.partials %}
    workgroupBarrier();
    if (tile_row == 0u) {
        let first = 2u * block * params.c_in;
        {%- for j in [0, 1] %}
        {
            let sum = {{ sum("a", j) }};
            let products = {{ sum("b", j) }};
            {{- store("sum", "partials", "first", "params.c_in", j) }}
            {{- store("products", "partials", "first + params.c_in", "params.c_in", j) }}
        }
        {%- endfor %}
    }
    {%- endif %}
}
