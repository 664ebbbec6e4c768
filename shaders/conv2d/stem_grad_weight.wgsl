// partials[s,ky,kx,ci,co] = sum over the pixels (n, oy, ox) of the images in split s of
// x[n, oy·stride + ky - pad, ox·stride + kx - pad, ci] · dy[n,oy,ox,co].
{%- if at.norm %}
// For x stands max(x·scale + shift, 0), zero outside the image.
{%- endif %}
//
// A workgroup has one ci, all taps, 64 co and one split. An invocation has a row of {{ k }} taps × 8 channels: {{ k }} rows of
// taps × 8 columns of channels, where a tile of 64 rows would be padding from row {{ k * k }} on. There are 4 slices
// of them: of 2 × 16 pixels each takes one run of 8. They are added up at the end, in their order.

@group(0) @binding({{ at.x }}) var<storage, read> x: array<Element>;   // [N, H, W, C_in]
@group(0) @binding({{ at.dy }}) var<storage, read> dy: array<Stored>;  // [N, H_out, W_out, C_out / 4]
{%- if at.norm %}
@group(0) @binding({{ at.norm }}) var<storage, read> norm: array<f32>;  // [4, C_in]: scale, shift, mean, rstd
{%- endif %}
@group(0) @binding({{ at.partials }}) var<storage, read_write> partials: array<vec4<f32>>;  // [S, K_h·K_w, C_in, C_out / 4]

@compute @workgroup_size({{ invocations }})
fn grad_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let tiles_n = (params.c_out + 63u) / 64u;
    let tiles_y = (params.h_out + {{ tile_h - 1 }}u) / {{ tile_h }}u;
    let tiles_x = (params.w_out + 15u) / 16u;
    let number = flat_group(group, groups);
    let first = number % tiles_n * 16u;
    let ci = number / tiles_n % params.c_in;
    let split = number / (tiles_n * params.c_in);
    if (split * params.images >= params.n) {
        return;
    }
    let width = params.c_out / 4u;
    let end = min((split + 1u) * params.images, params.n) * tiles_y * tiles_x;
    let slice = local / {{ 8 * k }}u;
    let ky = local / 8u % {{ k }}u;
    let col = local % 8u;
    let row_at = slice / 2u * {{ s * pitch }}u + slice % 2u * {{ 2 * s }}u + ky * {{ pitch }}u;
    let b_at = slice * 128u + col;
    let dy_row = params.w_out * width;
    // Where its row of two begins in dy; invocations behind the slices have one that never is.
    let start_of_slice = select({{ tile_h }}u, slice / 2u, slice < 4u) * dy_row;
    // It loads column `local % 16` of dy; columns behind the end repeat the last one: they are not stored.
    let dy_col = min(first + local % 16u, width - 1u);
    {%- for kx in taps %}
    var c{{ kx }}_0 = vec4<f32>();
    var c{{ kx }}_1 = vec4<f32>();
    {%- endfor %}
    for (var tile = split * params.images * tiles_y * tiles_x; tile < end; tile++) {
        let image = tile / (tiles_y * tiles_x);
        let oy0 = tile / tiles_x % tiles_y * {{ tile_h }}u;
        let ox = tile % tiles_x * 16u + local / 16u;
        // The last tiles reach over the image: rows outside of it are left out, columns count zero.
        let dy_end = min({{ tile_h }}u, params.h_out - oy0) * dy_row;
        {%- for column in load_columns %}
        let is_column{{ column }} = ox + {{ column }}u < params.w_out;
        let dy_at{{ column }} = (image * params.h_out + oy0) * dy_row + min(ox + {{ column }}u, params.w_out - 1u) * width + dy_col;
        {%- endfor %}
        load_patch(local, image, oy0, tile % tiles_x * 16u, ci);
        var at = row_at;
        for (var start = 0u; start < dy_end; start += 2u * dy_row) {
            {%- for part in loads %}
            {%- set row = part * invocations // 256 %}
            {%- set column = part * invocations // 16 % 16 %}
            {
                let value = vec4<f32>(dy[dy_at{{ column }} + {{ "min(start + dy_row, dy_end - dy_row)" if row else "start" }}]);
                shared_b[local + {{ part * invocations }}u] = select(vec4<f32>(), value, is_column{{ column }});
            }
            {%- endfor %}
            workgroupBarrier();
            if (start + start_of_slice < dy_end) {
                {{- take_row("at") }}
                {%- for i in run %}
                {
                    let b0 = shared_b[b_at + {{ 16 * i }}u];
                    let b1 = shared_b[b_at + {{ 16 * i + 8 }}u];
                    {%- for kx in taps %}
                    c{{ kx }}_0 = fma({{ splat(i * s + kx) }}, b0, c{{ kx }}_0);
                    c{{ kx }}_1 = fma({{ splat(i * s + kx) }}, b1, c{{ kx }}_1);
                    {%- endfor %}
                }
                {%- endfor %}
            }
            workgroupBarrier();
            at += {{ 2 * s * pitch }}u;
        }
    }

    let tap_at = ky * {{ 8 * k }}u + col;
    for (var other = 1u; other < 4u; other++) {
        {%- for j in [0, 1] %}
        if (slice == other) {
            {%- for kx in taps %}
            shared_b[tap_at + {{ 8 * kx }}u] = c{{ kx }}_{{ j }};
            {%- endfor %}
        }
        workgroupBarrier();
        if (slice == 0u) {
            {%- for kx in taps %}
            c{{ kx }}_{{ j }} += shared_b[tap_at + {{ 8 * kx }}u];
            {%- endfor %}
        }
        workgroupBarrier();
        {%- endfor %}
    }
    if (slice == 0u) {
        let row = (split * {{ k * k }}u + ky * {{ k }}u) * params.c_in + ci;
        {%- for j in [0, 1] %}
        if (first + col + {{ 8 * j }}u < width) {
            {%- for kx in taps %}
            partials[(row + {{ kx }}u * params.c_in) * width + first + col + {{ 8 * j }}u] = c{{ kx }}_{{ j }};
            {%- endfor %}
        }
        {%- endfor %}
    }
}
