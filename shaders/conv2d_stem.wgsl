// A convolution of images of fewer than four channels, and the gradient of its weight. A template: `pass`
// chooses the kernel; `at` numbers the bindings of the tensors it has; the window, {{ k }} × {{ k }} with stride
// {{ s }}, is known here, so that the loops over it are unrolled.
//
// Such a layer makes far more than it reads: of 256 images of 96×96×1, 64 channels by 7×7 with stride 2 are
// 3.7 GFLOP, 9 MB read and 151 MB written, 23 FLOP a byte. As a matrix product its k of 49 would be padded to 64,
// and every x be looked up 12 times with the tests whether it is in the image. Here a workgroup keeps the
// patch of x below {{ tile_h }} × 16 pixels of y in workgroup memory, zeros outside the image, one channel at a
// time. A run of 8 pixels of a row takes its {{ 7 * s + k }} values of a row of the patch into registers, for
// the {{ k }} taps of that row and 8 channels: {{ 64 * k }} multiply-adds for {{ loads_of_run }} loads, without a
// division or a test.

struct Params {
    n: u32,
    h: u32,
    w: u32,
    c_in: u32,
    h_out: u32,
    w_out: u32,
    c_out: u32,
    k_h: u32,
    k_w: u32,
    stride: u32,
    pad: u32,
    images: u32,  // of a split in grad_weight
}

/// One channel of x as it is stored; of y and its gradient always four are.
alias Element = {{ element }};

{{ stored }}
@group(0) @binding(0) var<uniform> params: Params;

var<workgroup> patch_x: array<vec4<f32>, {{ patch_size }}>;  // [{{ patch_h }}, {{ pitch }}]: rows, four columns each
var<workgroup> shared_b: array<vec4<f32>, {{ size_b }}>;  // {{ "[" ~ stage * k ~ ", 16]: taps, their weights" if pass == "forward" else "[32, 16]: pixels, their dy" }}

{%- if at.norm %}

/// max(z, 0). Unlike max(), the comparison lets a NaN through, so that it is noticed.
fn relu(z: f32) -> f32 {
    return select(z, 0.0, z < 0.0);
}
{%- endif %}

/// Element of channel ci of x at a pixel of `image`, zero outside the image. Pixels before the first have wrapped around
/// to huge numbers.
fn element(image: u32, iy: u32, ix: u32, ci: u32) -> f32 {
    let inside = iy < params.h && ix < params.w;
    let x_at = ((image * params.h + iy) * params.w + ix) * params.c_in + ci;
    let value = f32(x[select(0u, x_at, inside)]);
    return select(0.0, {{ "relu(value * norm[ci] + norm[params.c_in + ci])" if at.norm else "value" }}, inside);
}

/// Loads the patch of x's channel ci that belongs to the tile of y from (oy0, ox0) on.
fn load_patch(local: u32, image: u32, oy0: u32, ox0: u32, ci: u32) {
    for (var i = local; i < {{ patch_h * pitch }}u; i += {{ invocations }}u) {
        let iy = oy0 * {{ s }}u - params.pad + i / {{ pitch }}u;
        let ix = ox0 * {{ s }}u - params.pad + i % {{ pitch }}u * 4u;
        patch_x[i] = vec4<f32>(
            {%- for lane in four %}
            element(image, iy, ix + {{ lane }}u, ci),
            {%- endfor %}
        );
    }
}

{#- The values of a row of the patch below a run of pixels, `p0` …; `at` is where they begin. #}
{% macro take_row(at) %}
            {%- for v in vectors %}
            let p{{ v }} = patch_x[{{ at }} + {{ v }}u];
            {%- endfor %}
{%- endmacro %}

{#- Value `column` of that row, in all four parts. #}
{% macro splat(column) -%}
    vec4<f32>(p{{ column // 4 }}.{{ parts[column % 4] }})
{%- endmacro %}

{%- if pass == "forward" %}

// y[n,oy,ox,co] = b[co] + sum over ci, ky, kx of x[n, oy·stride + ky - pad, ox·stride + kx - pad, ci] · w[ky,kx,ci,co]
{%- if at.norm %}
// For x stands max(x·scale + shift, 0), zero outside the image.
{%- endif %}
{%- if at.partials %}
// partials: the count of a tile's pixels, and of their y the mean and the sum of squared distances from it.
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
@group(0) @binding({{ at.partials }}) var<storage, read_write> partials: array<vec4<f32>>;  // [blocks, 3, C_out / 4]

/// Sums over the runs of what the workgroup left for four channels, in order.
fn sum_a(channels: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var run = 0u; run < 16u; run++) {
        sum += patch_x[run * 16u + channels];
    }
    return sum;
}

fn sum_b(channels: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var run = 0u; run < 16u; run++) {
        sum += shared_b[run * 16u + channels];
    }
    return sum;
}
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
    {%- for j in [0, 1] %}
    var sum_{{ j }} = vec4<f32>();
    {%- for i in run %}
    sum_{{ j }} += select(vec4<f32>(), c{{ i }}_{{ j }}, {{ i }}u < pixels);
    {%- endfor %}
    shared_b[run * 16u + col + {{ 8 * j }}u] = sum_{{ j }};
    {%- endfor %}
    workgroupBarrier();
    {%- for j in [0, 1] %}
    let mean_{{ j }} = sum_b(col + {{ 8 * j }}u) / count;
    {%- endfor %}
    workgroupBarrier();
    // The distances sum to what rounding left in the mean: it is taken out of both results.
    {%- for j in [0, 1] %}
    {
        var rest = vec4<f32>();
        var squares = vec4<f32>();
        {%- for i in run %}
        {
            let d = select(vec4<f32>(), c{{ i }}_{{ j }} - mean_{{ j }}, {{ i }}u < pixels);
            rest += d;
            squares += d * d;
        }
        {%- endfor %}
        patch_x[run * 16u + col + {{ 8 * j }}u] = rest;
        shared_b[run * 16u + col + {{ 8 * j }}u] = squares;
    }
    {%- endfor %}
    workgroupBarrier();
    if (run == 0u) {
        let into = 3u * block * width + first + col;
        {%- for j in [0, 1] %}
        if (first + col + {{ 8 * j }}u < width) {
            let total = sum_a(col + {{ 8 * j }}u);
            partials[into + {{ 8 * j }}u] = vec4<f32>(count);
            partials[into + width + {{ 8 * j }}u] = mean_{{ j }} + total / count;
            partials[into + 2u * width + {{ 8 * j }}u] = sum_b(col + {{ 8 * j }}u) - total * total / count;
        }
        {%- endfor %}
    }
    {%- endif %}
}
{%- elif pass == "grad_weight" %}

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
{%- endif %}
