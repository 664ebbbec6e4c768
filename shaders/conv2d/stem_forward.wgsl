// y[n,oy,ox,co] = b[co] + sum over ci, ky, kx of x[n, oy·stride + ky - pad, ox·stride + kx - pad, ci] · w[ky,kx,ci,co]
{%- if at.norm %}
// For x stands max(x·scale + shift, 0), zero outside the image.
{%- endif %}
{%- if at.partials %}
// partials: the count of a tile's pixels, and of their y a pivot, the distance of the mean from it, and the sum of
// squared distances from the mean.
{%- endif %}

@group(0) @binding({{ at.x }}) var<storage, read> x: array<Element>;  // [N, H, W, C_in]
@group(0) @binding({{ at.w }}) var<storage, read> w: array<vec4<f32>>;  // [K_h, K_w, C_in, C_out / 4]
{%- if at.b %}
@group(0) @binding({{ at.b }}) var<storage, read> b: array<vec4<f32>>;  // [C_out / 4]
{%- endif %}
{%- if at.norm %}
@group(0) @binding({{ at.norm }}) var<storage, read> norm: array<f32>;  // [4, C_in]: scale, shift, mean, rstd
{%- endif %}
@group(0) @binding({{ at.y }}) var<storage, read_write> y: array<Stored>;  // [N, H_out, W_out, C_out / 4]
{%- if at.partials %}
@group(0) @binding({{ at.partials }}) var<storage, read_write> partials: array<vec4<f32>>;  // [blocks, 4, C_out / 4]
{%- endif %}

@compute @workgroup_size({{ invocations }})
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tiles_n = (params.c_out + 63u) / 64u;
    let tiles_y = (params.h_out + {{ tile_h - 1 }}u) / {{ tile_h }}u;
    let tiles_x = (params.w_out + 15u) / 16u;
    let number = flat_group(group, groups);
    let block = number / tiles_n;
    let image = block / (tiles_y * tiles_x);
    let oy0 = block / tiles_x % tiles_y * {{ tile_h }}u;
    let ox0 = block % tiles_x * 16u;
    if (image >= params.n) {
        return;
    }
    let width = params.c_out / 4u;
    let first = number % tiles_n * 16u;
    // This invocation has the channels of column `col` and of the one 8 columns on, columns of four.
    let run = local / 8u;
    let col = local % 8u;
    let run_at = run / 2u * {{ s * pitch }}u + run % 2u * {{ 2 * s }}u;
    // It loads column `local % 16` of weights; columns behind the end repeat the last one: they are not stored.
    let w_col = min(first + local % 16u, width - 1u);
    {%- for i in run %}
    var c{{ i }}_0 = vec4<f32>();
    var c{{ i }}_1 = vec4<f32>();
    {%- endfor %}
    for (var ci = 0u; ci < params.c_in; ci++) {
        load_patch(local, image, oy0, ox0, ci);
        for (var ky0 = 0u; ky0 < {{ k }}u; ky0 += {{ stage }}u) {
            let rows = min({{ stage }}u, {{ k }}u - ky0);
            for (var tap = local / 16u; tap < rows * {{ k }}u; tap += {{ invocations // 16 }}u) {
                shared_b[tap * 16u + local % 16u] = w[((ky0 * {{ k }}u + tap) * params.c_in + ci) * width + w_col];
            }
            workgroupBarrier();
            for (var ky = 0u; ky < rows; ky++) {
                let row_at = run_at + (ky0 + ky) * {{ pitch }}u;
                let tap_at = ky * {{ 16 * k }}u + col;
                {{- take_row("row_at") }}
                {%- for kx in taps %}
                {
                    let w0 = shared_b[tap_at + {{ 16 * kx }}u];
                    let w1 = shared_b[tap_at + {{ 16 * kx + 8 }}u];
                    {%- for i in run %}
                    c{{ i }}_0 = fma({{ splat(i * s + kx) }}, w0, c{{ i }}_0);
                    c{{ i }}_1 = fma({{ splat(i * s + kx) }}, w1, c{{ i }}_1);
                    {%- endfor %}
                }
                {%- endfor %}
            }
            workgroupBarrier();
        }
    }

    let oy = oy0 + run / 2u;
    let ox = ox0 + run % 2u * 8u;
    // Pixels of the run within the image.
    let pixels = select(0u, min(params.w_out - min(ox, params.w_out), 8u), oy < params.h_out);
    let y_at = ((image * params.h_out + oy) * params.w_out + ox) * width + first + col;
    {%- for j in [0, 1] %}
    if (first + col + {{ 8 * j }}u < width) {
        {%- if at.b %}
        let bias = b[first + col + {{ 8 * j }}u];
        {%- endif %}
        {%- for i in run %}
        {%- if at.b %}
        c{{ i }}_{{ j }} += bias;
        {%- endif %}
        if ({{ i }}u < pixels) {
            y[y_at + {{ i }}u * width + {{ 8 * j }}u] = to_stored(c{{ i }}_{{ j }});
        }
        {%- endfor %}
    }
    {%- endfor %}
    {%- if at.partials %}

    let count = f32(min(params.h_out - oy0, {{ tile_h }}u) * min(params.w_out - ox0, 16u));
    {%- call(j) moments("", "u < pixels") %}
            let into = 4u * block * width + first + col;
            if (first + col + {{ 8 * j }}u < width) {
                partials[into + {{ 8 * j }}u] = n;
                partials[into + width + {{ 8 * j }}u] = p;
                partials[into + 2u * width + {{ 8 * j }}u] = m;
                partials[into + 3u * width + {{ 8 * j }}u] = m2;
            }
    {%- endcall %}
    {%- endif %}
}
