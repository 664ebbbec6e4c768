// A convolution of images of fewer than four channels, and the gradient of its weight. A template in parts: this
// one, moments.wgsl, and the kernel of a pass (stem_forward.wgsl, stem_grad_weight.wgsl). `at` numbers the
// bindings of the tensors that a pass has; the window, {{ k }} × {{ k }} with stride {{ s }}, is known here, so
// that the loops over it are unrolled.
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
var<workgroup> shared_b: array<vec4<f32>, {{ size_b }}>;  // [{{ rows_b }}, 16]: taps and their weights, or pixels and their dy

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
