// Convolution and its two gradients as matrix products C = A·B whose operands are read straight from
// the tensors (implicit GEMM). A template: `pass` chooses the kernel; `at` numbers the bindings of the
// tensors it has; `lanes` are the parts of four neighbouring values that one load fetches: all at once
// where channels are multiples of 4, else one by one.
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
    images: u32,  // of a unit, whose rows are tiled together; of a split in grad_weight
}

/// What one load fetches.
alias Element = {{ "vec4<f32>" if vec4 else "f32" }};
/// The same as images and their gradients are stored.
alias Stored = {{ "vec4<" ~ stored ~ ">" if vec4 else stored }};
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

{%- if at.norm and not at.pre %}

/// max(z, 0). Unlike max(), the comparison lets a NaN through, so that it is noticed.
fn relu(z: Element) -> Element {
    return select(z, Element(), z < Element());
}
{%- endif %}

/// The first row of a tile, and one past the last row of its unit; there are `rows` in all.
fn rows_of(tile: u32, rows_per_image: u32, rows: u32) -> vec2<u32> {
    let unit = params.images * rows_per_image;
    let tiles = (unit + 63u) / 64u;
    let begin = tile / tiles * unit;
    return vec2<u32>(begin + tile % tiles * 64u, min(begin + unit, rows));
}

/// Sums over the 8 rows of 16 columns that the workgroup left in a tile, in order.
fn sum_a(col: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var row = 0u; row < 8u; row++) {
        sum += tile_a[row * 16u + col];
    }
    return sum;
}

fn sum_b(col: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var row = 0u; row < 8u; row++) {
        sum += tile_b[row * 16u + col];
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
                b{{ lane.part }} = Element({{ buffer }}[(k * params.c_out + col + {{ lane.index }}u) / LANES]);
            }
            {%- endfor %}
            tile_b[local + {{ 64 * j }}u] = b;
        }
        {%- endfor %}
{%- endmacro %}

{#- Reads `width` elements of a buffer from `first` on into this invocation's columns of `name`. #}
{% macro load_columns(name, buffer, first, width) %}
    {%- for j in [0, 1] %}
    var {{ name }}_{{ j }} = vec4<f32>();
    {%- for lane in lanes %}
    {
        let col = col0 + tile_col * 4u + {{ 32 * j + lane.index }}u;
        if (col < {{ width }}) {
            {{ name }}_{{ j }}{{ lane.part }} = Element({{ buffer }}[({{ first }} + col) / LANES]);
        }
    }
    {%- endfor %}
    {%- endfor %}
{%- endmacro %}

{#- Writes row i of this invocation's part of `name` to `buffer`, elements of `type`, from element `first` on. #}
{% macro store(name, buffer, first, width, type="Element") %}
            {%- for j in [0, 1] %}
            {%- for lane in lanes %}
            {
                let col = col0 + tile_col * 4u + {{ 32 * j + lane.index }}u;
                if (col < {{ width }}) {
                    {{ buffer }}[({{ first }} + col) / LANES] = {{ type }}({{ name }}_{{ j }}{{ lane.part }});
                }
            }
            {%- endfor %}
            {%- endfor %}
{%- endmacro %}

{%- if pass == "forward" %}

// y[n,oy,ox,co] = b[co] + sum over ky, kx, ci of x[n, oy·stride + ky - pad, ox·stride + kx - pad, ci] · w[ky,kx,ci,co]
// Rows of C are pixels of y, columns are co, k is (ky, kx, ci).
{%- if at.norm %}
// For x stands max(x·scale + shift, 0), zero outside the image.
{%- endif %}
{%- if at.partials %}
// partials: the count of a tile's rows, and of their y the mean and the sum of squared distances from it.
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
@group(0) @binding({{ at.partials }}) var<storage, read_write> partials: array<Element>;  // [blocks, 3, C_out]
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
    let block = tile / tiles_n;
    let begin_end = rows_of(block, params.h_out * params.w_out, rows);
    let row0 = begin_end.x;
    let row_end = begin_end.y;
    let col0 = tile % tiles_n * 64u;
    if (row0 >= row_end) {
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
            let inside = (row < vec4<u32>(row_end)) & (iy < vec4<u32>(params.h)) & (ix < vec4<u32>(params.w))
                & vec4<bool>(tap.z < params.k_h);
            let at = ((image * params.h + iy) * params.w + ix) * params.c_in + tap.x;
            {%- if at.norm %}
            let scale = norm[tap.x / LANES];
            let shift = norm[(params.c_in + tap.x) / LANES];
            {%- endif %}
            {%- for part in four %}
            if (inside.{{ part.name }}) {
                let value = Element(x[at.{{ part.name }} / LANES]);
                a{{ part.index }}{{ lane.part }} = {{ "relu(value * scale + shift)" if at.norm else "value" }};
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
    {%- if at.b %}
    {{- load_columns("bias", "b", "0u", "params.c_out") }}
    {%- for i in eight %}
    c{{ i }}_0 += bias_0;
    c{{ i }}_1 += bias_1;
    {%- endfor %}
    {%- endif %}
    {%- for i in eight %}
    {
        let row = row0 + tile_row + {{ 8 * i }}u;
        if (row < row_end) {
            {{- store("c" ~ i, "y", "row * params.c_out", "params.c_out", "Stored") }}
        }
    }
    {%- endfor %}
    {%- if at.partials %}

    let count = f32(min(row_end - row0, 64u));
    {%- for j in [0, 1] %}
    var sum_{{ j }} = vec4<f32>();
    {%- for i in eight %}
    sum_{{ j }} += select(vec4<f32>(), c{{ i }}_{{ j }}, row0 + tile_row + {{ 8 * i }}u < row_end);
    {%- endfor %}
    tile_b[tile_row * 16u + tile_col + {{ 8 * j }}u] = sum_{{ j }};
    {%- endfor %}
    workgroupBarrier();
    {%- for j in [0, 1] %}
    let mean_{{ j }} = sum_b(tile_col + {{ 8 * j }}u) / count;
    {%- endfor %}
    workgroupBarrier();
    // The distances sum to what rounding left in the mean: it is taken out of both results.
    {%- for j in [0, 1] %}
    var rest_{{ j }} = vec4<f32>();
    var squares_{{ j }} = vec4<f32>();
    {%- for i in eight %}
    {
        let d = select(vec4<f32>(), c{{ i }}_{{ j }} - mean_{{ j }}, row0 + tile_row + {{ 8 * i }}u < row_end);
        rest_{{ j }} += d;
        squares_{{ j }} += d * d;
    }
    {%- endfor %}
    tile_a[tile_row * 16u + tile_col + {{ 8 * j }}u] = rest_{{ j }};
    tile_b[tile_row * 16u + tile_col + {{ 8 * j }}u] = squares_{{ j }};
    {%- endfor %}
    workgroupBarrier();
    if (tile_row == 0u) {
        {%- for j in [0, 1] %}
        let total_{{ j }} = sum_a(tile_col + {{ 8 * j }}u);
        let n_{{ j }} = vec4<f32>(count);
        let m_{{ j }} = mean_{{ j }} + total_{{ j }} / count;
        let m2_{{ j }} = sum_b(tile_col + {{ 8 * j }}u) - total_{{ j }} * total_{{ j }} / count;
        {%- endfor %}
        let first = 3u * block * params.c_out;
        {{- store("n", "partials", "first", "params.c_out") }}
        {{- store("m", "partials", "first + params.c_out", "params.c_out") }}
        {{- store("m2", "partials", "first + 2u * params.c_out", "params.c_out") }}
    }
    {%- endif %}
}
{%- elif pass == "grad_input" %}

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
    let tiles_n = (params.c_in + 63u) / 64u;
    let tile = flat_group(group, groups);
    let col0 = tile % tiles_n * 64u;
    // The classes of the same pixels are neighbours, so that a cut along N keeps the blocks' order.
    let block = tile / tiles_n;
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
            let inside = (row < vec4<u32>(row_end)) & (oy < vec4<u32>(params.h_out)) & (ox < vec4<u32>(params.w_out))
                & vec4<bool>(tap.z < taps_y);
            let dy_at = ((image * params.h_out + oy) * params.w_out + ox) * params.c_out + tap.x;
            {%- for part in four %}
            if (inside.{{ part.name }}) {
                a{{ part.index }}{{ lane.part }} = Element(dy[dy_at.{{ part.name }} / LANES]);
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
    {%- if at.pre %}
    {%- for row in ["scale", "shift", "mean", "rstd"] %}
    {{- load_columns(row, "norm", loop.index0 ~ "u * params.c_in", "params.c_in") }}
    {%- endfor %}
    {%- for j in [0, 1] %}
    var sum_{{ j }} = vec4<f32>();
    var products_{{ j }} = vec4<f32>();
    {%- endfor %}
    {%- endif %}
    {%- for i in eight %}
    {
        let row = row0 + tile_row + {{ 8 * i }}u;
        let image = row / (class_h * class_w);
        let iy = row / class_w % class_h * stride + class_y;
        let ix = row % class_w * stride + class_x;
        if (row < row_end && iy < params.h && ix < params.w) {
            let first = ((image * params.h + iy) * params.w + ix) * params.c_in;
            {%- if at.skip %}
            {{- load_columns("skipped", "skip", "first", "params.c_in") }}
            c{{ i }}_0 += skipped_0;
            c{{ i }}_1 += skipped_1;
            {%- endif %}
            {%- if at.pre %}
            {{- load_columns("z", "pre", "first", "params.c_in") }}
            {%- if at.out %}
            {{- load_columns("kept", "out", "first", "params.c_in") }}
            {%- endif %}
            {%- for j in [0, 1] %}
            {%- if not at.out %}
            let kept_{{ j }} = z_{{ j }} * scale_{{ j }} + shift_{{ j }};
            {%- endif %}
            c{{ i }}_{{ j }} = select(vec4<f32>(), c{{ i }}_{{ j }}, kept_{{ j }} > vec4<f32>());
            sum_{{ j }} += c{{ i }}_{{ j }};
            products_{{ j }} += c{{ i }}_{{ j }} * ((z_{{ j }} - mean_{{ j }}) * rstd_{{ j }});
            {%- endfor %}
            {%- endif %}
            {{- store("c" ~ i, "dx", "first", "params.c_in", "Stored") }}
        }
    }
    {%- endfor %}
    {%- if at.partials %}

    {%- for j in [0, 1] %}
    tile_a[tile_row * 16u + tile_col + {{ 8 * j }}u] = sum_{{ j }};
    tile_b[tile_row * 16u + tile_col + {{ 8 * j }}u] = products_{{ j }};
    {%- endfor %}
    workgroupBarrier();
    if (tile_row == 0u) {
        {%- for j in [0, 1] %}
        let dx_{{ j }} = sum_a(tile_col + {{ 8 * j }}u);
        let dx_xhat_{{ j }} = sum_b(tile_col + {{ 8 * j }}u);
        {%- endfor %}
        let first = 2u * block * params.c_in;
        {{- store("dx", "partials", "first", "params.c_in") }}
        {{- store("dx_xhat", "partials", "first + params.c_in", "params.c_in") }}
    }
    {%- endif %}
}
{%- elif pass == "grad_weight" %}

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
    if (split * params.images >= params.n) {
        return;
    }
    let pixels = params.h_out * params.w_out;
    let begin = split * params.images * pixels;
    let end = min((split + 1u) * params.images, params.n) * pixels;

    // This invocation loads 4 neighbouring rows of A at 4 neighbouring k.
    let row = row0 + local % 16u * 4u;
    {%- for lane in lanes %}
    let tap{{ lane.index }} = digits(row + {{ lane.index }}u, vec2<u32>(params.c_in, params.k_w));  // (ci, kx, ky)
    {%- endfor %}
    {%- if at.norm %}
    {%- for lane in lanes %}
    let scale{{ lane.index }} = norm[tap{{ lane.index }}.x / LANES];
    let shift{{ lane.index }} = norm[(params.c_in + tap{{ lane.index }}.x) / LANES];
    {%- endfor %}
    {%- endif %}
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
                let value = Element(x[(at + tap{{ lane.index }}.x) / LANES]);
                a{{ part.index }}{{ lane.part }} = {{ "relu(value * scale" ~ lane.index ~ " + shift" ~ lane.index ~ ")" if at.norm else "value" }};
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
            {{- store("c" ~ i, "partials", "(split * rows + row) * params.c_out", "params.c_out") }}
        }
    }
    {%- endfor %}
}
{%- endif %}
