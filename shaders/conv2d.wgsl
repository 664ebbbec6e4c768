// Convolution and its two gradients as matrix products C = A·B whose operands are read straight from
// the tensors (implicit GEMM). A template: `pass` chooses the kernel; `lanes` are the parts of four
// neighbouring values that one load fetches: all at once where channels are multiples of 4, else one by one.
//
// A workgroup computes a tile of 64 × 64 of C in steps of 16 along the inner dimension k. Each of its
// 64 invocations owns 8 rows × 8 columns of the tile in registers: rows tile_row + 8·i, and columns
// 4·tile_col + 32·j + (0…3).

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
    images_per_split: u32,
}

/// What one load fetches.
alias Element = {{ "vec4<f32>" if vec4 else "f32" }};
const LANES = {{ "4u" if vec4 else "1u" }};

@group(0) @binding(0) var<uniform> params: Params;

// Rows are 5 vectors apart, not 4, so that neighbouring rows lie in different banks.
var<workgroup> tile_a: array<vec4<f32>, 320>;  // [64 rows, 4 + 1 groups of 4 k]
var<workgroup> tile_b: array<vec4<f32>, 256>;  // [16 k, 16 groups of 4 columns]

/// The digits of i in the mixed radix (radix.x, radix.y, unlimited), lowest first.
fn digits(i: u32, radix: vec2<u32>) -> vec3<u32> {
    return vec3<u32>(i % radix.x, i / radix.x % radix.y, i / radix.x / radix.y);
}

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

{#- The product over k from `begin` to `end`; the body of the call fills tile_a and tile_b from k0. #}
{% macro multiply(begin, end) %}
    let tile_row = local / 8u;
    let tile_col = local % 8u;
    {%- for i in eight %}
    var c{{ i }}_0 = vec4<f32>();
    var c{{ i }}_1 = vec4<f32>();
    {%- endfor %}
    for (var k0 = {{ begin }}; k0 < {{ end }}; k0 += 16u) {
        {{- caller() }}
        workgroupBarrier();
        for (var q = 0u; q < 4u; q++) {
            {%- for i in eight %}
            let a{{ i }} = tile_a[(tile_row + {{ 8 * i }}u) * 5u + q];
            {%- endfor %}
            {%- for part in four %}
            {
                let b0 = tile_b[(q * 4u + {{ part.index }}u) * 16u + tile_col];
                let b1 = tile_b[(q * 4u + {{ part.index }}u) * 16u + tile_col + 8u];
                {%- for i in eight %}
                c{{ i }}_0 = fma(vec4<f32>(a{{ i }}.{{ part.name }}), b0, c{{ i }}_0);
                c{{ i }}_1 = fma(vec4<f32>(a{{ i }}.{{ part.name }}), b1, c{{ i }}_1);
                {%- endfor %}
            }
            {%- endfor %}
        }
        workgroupBarrier();
    }
{%- endmacro %}

{#- Fills tile_b from rows k of a dense matrix of `c_out` columns, up to row `end`. #}
{% macro load_rows_of_b(buffer, end) %}
        {%- for j in [0, 1, 2, 3] %}
        {
            let k = k0 + local / 16u + {{ 4 * j }}u;
            let col = col0 + local % 16u * 4u;
            var b = vec4<f32>();
            {%- for lane in lanes %}
            if (k < {{ end }} && col + {{ lane.index }}u < params.c_out) {
                b{{ lane.part }} = {{ buffer }}[(k * params.c_out + col + {{ lane.index }}u) / LANES];
            }
            {%- endfor %}
            tile_b[local + {{ 64 * j }}u] = b;
        }
        {%- endfor %}
{%- endmacro %}

{#- Writes row i of this invocation's part to `buffer` from element `at` on; `width` columns exist. #}
{% macro store(i, buffer, width, bias) %}
            {%- for j in [0, 1] %}
            {%- for lane in lanes %}
            {
                let col = col0 + tile_col * 4u + {{ 32 * j + lane.index }}u;
                if (col < {{ width }}) {
                    {{ buffer }}[(at + col) / LANES] = c{{ i }}_{{ j }}{{ lane.part }}{% if bias %} + b[col / LANES]{% endif %};
                }
            }
            {%- endfor %}
            {%- endfor %}
{%- endmacro %}

{%- if pass == "forward" %}

// y[n,oy,ox,co] = b[co] + sum over ky, kx, ci of x[n, oy·stride + ky - pad, ox·stride + kx - pad, ci] · w[ky,kx,ci,co]
// Rows of C are pixels of y, columns are co, k is (ky, kx, ci).

@group(0) @binding(1) var<storage, read> x: array<Element>;  // [N, H, W, C_in]
@group(0) @binding(2) var<storage, read> w: array<Element>;  // [K_h, K_w, C_in, C_out]
{%- if bias %}
@group(0) @binding(3) var<storage, read> b: array<Element>;  // [C_out]
@group(0) @binding(4) var<storage, read_write> y: array<Element>;  // [N, H_out, W_out, C_out]
{%- else %}
@group(0) @binding(3) var<storage, read_write> y: array<Element>;  // [N, H_out, W_out, C_out]
{%- endif %}

@compute @workgroup_size(64)
fn forward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = params.n * params.h_out * params.w_out;
    let depth = params.k_h * params.k_w * params.c_in;
    let tile = flat_group(group, groups);
    let tiles_n = (params.c_out + 63u) / 64u;
    let row0 = tile / tiles_n * 64u;
    let col0 = tile % tiles_n * 64u;
    if (row0 >= rows) {
        return;
    }

    // This invocation loads 4 neighbouring k of 4 rows of A.
    let row = row0 + local / 4u + vec4<u32>(0u, 16u, 32u, 48u);
    let image = row / (params.h_out * params.w_out);
    let iy_first = vec4<i32>(row / params.w_out % params.h_out * params.stride) - i32(params.pad);
    let ix_first = vec4<i32>(row % params.w_out * params.stride) - i32(params.pad);
    let radix = vec2<u32>(params.c_in, params.k_w);
    let next = digits(1u, radix);
    let next_step = digits({{ "16u" if vec4 else "13u" }}, radix);
    var tap = digits(local % 4u * 4u, radix);  // (ci, kx, ky)
    {% call multiply("0u", "depth") %}
        {%- for j in [0, 1, 2, 3] %}
        var a{{ j }} = vec4<f32>();
        {%- endfor %}
        {%- for lane in lanes %}
        {
            let iy = vec4<u32>(iy_first + i32(tap.z));
            let ix = vec4<u32>(ix_first + i32(tap.y));
            // Pixels before the first wrap around to huge numbers.
            let inside = (row < vec4<u32>(rows)) & (iy < vec4<u32>(params.h)) & (ix < vec4<u32>(params.w))
                & vec4<bool>(tap.z < params.k_h);
            let at = ((image * params.h + iy) * params.w + ix) * params.c_in + tap.x;
            {%- for part in four %}
            if (inside.{{ part.name }}) {
                a{{ part.index }}{{ lane.part }} = x[at.{{ part.name }} / LANES];
            }
            {%- endfor %}
            tap = add_digits(tap, {{ "next_step" if loop.last else "next" }}, radix);
        }
        {%- endfor %}
        {%- for j in [0, 1, 2, 3] %}
        tile_a[(local / 4u + {{ 16 * j }}u) * 5u + local % 4u] = a{{ j }};
        {%- endfor %}
        {{- load_rows_of_b("w", "depth") }}
    {%- endcall %}
    {%- for i in eight %}
    {
        let row = row0 + tile_row + {{ 8 * i }}u;
        if (row < rows) {
            let at = row * params.c_out;
            {{- store(i, "y", "params.c_out", bias) }}
        }
    }
    {%- endfor %}
}
{%- elif pass == "grad_input" %}

// dx[n,iy,ix,ci] = sum of dy[n,oy,ox,co] · w[ky,kx,ci,co] over co and the taps with oy·stride + ky - pad = iy,
// ox·stride + kx - pad = ix. Pixels with the same remainders of iy and ix by the stride form a class: they
// have the same taps, ky = ky_first + stride·jy and kx = kx_first + stride·jx, so that none is tried in vain.
// Rows of C are pixels of one class, columns are ci, k is (jy, jx, co).

@group(0) @binding(1) var<storage, read> dy: array<Element>;  // [N, H_out, W_out, C_out]
@group(0) @binding(2) var<storage, read> w: array<Element>;   // [K_h, K_w, C_in, C_out]
@group(0) @binding(3) var<storage, read_write> dx: array<Element>;  // [N, H, W, C_in]

@compute @workgroup_size(64)
fn grad_input(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let stride = params.stride;
    let class_h = (params.h + stride - 1u) / stride;
    let class_w = (params.w + stride - 1u) / stride;
    let rows = params.n * class_h * class_w;
    let tiles_m = (rows + 63u) / 64u;
    let tiles_n = (params.c_in + 63u) / 64u;
    let tile = flat_group(group, groups);
    let col0 = tile % tiles_n * 64u;
    let row0 = tile / tiles_n % tiles_m * 64u;
    let class_y = tile / (tiles_n * tiles_m) / stride;
    let class_x = tile / (tiles_n * tiles_m) % stride;
    if (class_y >= stride) {
        return;
    }
    let ky_first = (class_y + params.pad) % stride;
    let kx_first = (class_x + params.pad) % stride;
    let taps_y = (params.k_h + stride - 1u - ky_first) / stride;
    let taps_x = (params.k_w + stride - 1u - kx_first) / stride;
    let depth = taps_y * taps_x * params.c_out;

    // This invocation loads 4 neighbouring k of 4 rows of A and of 4 columns of B.
    let row = row0 + local / 4u + vec4<u32>(0u, 16u, 32u, 48u);
    let ci = col0 + local / 4u * 4u + vec4<u32>(0u, 1u, 2u, 3u);
    let image = row / (class_h * class_w);
    let oy_first = row / class_w % class_h + (class_y + params.pad) / stride;
    let ox_first = row % class_w + (class_x + params.pad) / stride;
    let radix = vec2<u32>(params.c_out, max(taps_x, 1u));
    let next = digits(1u, radix);
    let next_step = digits({{ "16u" if vec4 else "13u" }}, radix);
    var tap = digits(local % 4u * 4u, radix);  // (co, jx, jy)
    {% call multiply("0u", "depth") %}
        {%- for j in [0, 1, 2, 3] %}
        var a{{ j }} = vec4<f32>();
        var b{{ j }} = vec4<f32>();
        {%- endfor %}
        {%- for lane in lanes %}
        {
            let oy = oy_first - tap.z;
            let ox = ox_first - tap.y;
            // Pixels before the first wrap around to huge numbers.
            let inside = (row < vec4<u32>(rows)) & (oy < vec4<u32>(params.h_out)) & (ox < vec4<u32>(params.w_out))
                & vec4<bool>(tap.z < taps_y);
            let dy_at = ((image * params.h_out + oy) * params.w_out + ox) * params.c_out + tap.x;
            {%- for part in four %}
            if (inside.{{ part.name }}) {
                a{{ part.index }}{{ lane.part }} = dy[dy_at.{{ part.name }} / LANES];
            }
            {%- endfor %}
            let ky = ky_first + stride * tap.z;
            let kx = kx_first + stride * tap.y;
            let w_at = ((ky * params.k_w + kx) * params.c_in + ci) * params.c_out + tap.x;
            {%- for part in four %}
            if (tap.z < taps_y && ci.{{ part.name }} < params.c_in) {
                b{{ part.index }}{{ lane.part }} = w[w_at.{{ part.name }} / LANES];
            }
            {%- endfor %}
            tap = add_digits(tap, {{ "next_step" if loop.last else "next" }}, radix);
        }
        {%- endfor %}
        {%- for part in four %}
        tile_a[(local / 4u + {{ 16 * part.index }}u) * 5u + local % 4u] = a{{ part.index }};
        tile_b[(local % 4u * 4u + {{ part.index }}u) * 16u + local / 4u] =
            vec4<f32>(b0.{{ part.name }}, b1.{{ part.name }}, b2.{{ part.name }}, b3.{{ part.name }});
        {%- endfor %}
    {%- endcall %}
    {%- for i in eight %}
    {
        let row = row0 + tile_row + {{ 8 * i }}u;
        let image = row / (class_h * class_w);
        let iy = row / class_w % class_h * stride + class_y;
        let ix = row % class_w * stride + class_x;
        if (row < rows && iy < params.h && ix < params.w) {
            let at = ((image * params.h + iy) * params.w + ix) * params.c_in;
            {{- store(i, "dx", "params.c_in") }}
        }
    }
    {%- endfor %}
}
{%- elif pass == "grad_weight" %}

// partials[s,ky,kx,ci,co] = sum over the pixels (n, oy, ox) of the images in split s of
// x[n, oy·stride + ky - pad, ox·stride + kx - pad, ci] · dy[n,oy,ox,co].
// Rows of C are (ky, kx, ci), columns are co, k is a pixel of dy.

@group(0) @binding(1) var<storage, read> x: array<Element>;   // [N, H, W, C_in]
@group(0) @binding(2) var<storage, read> dy: array<Element>;  // [N, H_out, W_out, C_out]
@group(0) @binding(3) var<storage, read_write> partials: array<Element>;  // [S, K_h·K_w, C_in, C_out]

@compute @workgroup_size(64)
fn grad_weight(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let rows = params.k_h * params.k_w * params.c_in;
    let tiles_m = (rows + 63u) / 64u;
    let tiles_n = (params.c_out + 63u) / 64u;
    let tile = flat_group(group, groups);
    let col0 = tile % tiles_n * 64u;
    let row0 = tile / tiles_n % tiles_m * 64u;
    let split = tile / (tiles_n * tiles_m);
    if (split * params.images_per_split >= params.n) {
        return;
    }
    let pixels = params.h_out * params.w_out;
    let begin = split * params.images_per_split * pixels;
    let end = min((split + 1u) * params.images_per_split, params.n) * pixels;

    // This invocation loads 4 neighbouring rows of A at 4 neighbouring k.
    let row = row0 + local % 16u * 4u;
    {%- for lane in lanes %}
    let tap{{ lane.index }} = digits(row + {{ lane.index }}u, vec2<u32>(params.c_in, params.k_w));  // (ci, kx, ky)
    {%- endfor %}
    let radix = vec2<u32>(params.w_out, params.h_out);
    let next = digits(1u, radix);
    let next_step = digits(13u, radix);
    var pixel = digits(begin + local / 16u * 4u, radix);  // (ox, oy, n)
    {% call multiply("begin", "end") %}
        {%- for part in four %}
        var a{{ part.index }} = vec4<f32>();
        {
            let in_split = k0 + local / 16u * 4u + {{ part.index }}u < end;
            {%- for lane in lanes %}
            // Pixels before the first wrap around to huge numbers.
            let iy{{ lane.index }} = pixel.y * params.stride + tap{{ lane.index }}.z - params.pad;
            let ix{{ lane.index }} = pixel.x * params.stride + tap{{ lane.index }}.y - params.pad;
            if (in_split && row + {{ lane.index }}u < rows && iy{{ lane.index }} < params.h && ix{{ lane.index }} < params.w) {
                let at = ((pixel.z * params.h + iy{{ lane.index }}) * params.w + ix{{ lane.index }}) * params.c_in;
                a{{ part.index }}{{ lane.part }} = x[(at + tap{{ lane.index }}.x) / LANES];
            }
            {%- endfor %}
            pixel = add_digits(pixel, {{ "next_step" if loop.last else "next" }}, radix);
        }
        {%- endfor %}
        // Row 4·m + r of the tile is kept at 16·r + m: neighbouring invocations then write neighbouring rows.
        {%- for part in four %}
        tile_a[(local % 16u + {{ 16 * part.index }}u) * 5u + local / 16u] =
            vec4<f32>(a0.{{ part.name }}, a1.{{ part.name }}, a2.{{ part.name }}, a3.{{ part.name }});
        {%- endfor %}
        {{- load_rows_of_b("dy", "end") }}
    {%- endcall %}
    {%- for i in eight %}
    {
        let kept = tile_row + {{ 8 * i }}u;
        let row = row0 + kept % 16u * 4u + kept / 16u;
        if (row < rows) {
            let at = (split * rows + row) * params.c_out;
            {{- store(i, "partials", "params.c_out") }}
        }
    }
    {%- endfor %}
}
{%- endif %}
