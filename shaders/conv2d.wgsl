// Convolution and its two gradients as matrix products C = A·B whose operands are read straight from
// the tensors (implicit GEMM). A template: `pass` chooses the kernel; `at` numbers the bindings of the
// tensors it has; `tile` is the part of C that a workgroup computes; `lanes` are the parts of four
// neighbouring values that one load fetches: all at once with `vec4`, else one by one.
//
// A workgroup goes along the inner dimension k in blocks of 16, of which it keeps a tile of A and a tile
// of B in workgroup memory. Each invocation owns {{ tile.each }} rows × 8 columns of C in registers: groups of four
// neighbours, {{ tile.rows_apart }} rows and {{ tile.columns_apart }} columns apart. It loads 4 × 4 values of A, of B or of both at a time.
//
// Both tiles hold 16 rows of k, each of groups of four rows or columns of C. The groups of row k stand in
// an order of their own, g ^ (k / 4 · 2), so that neither loading nor multiplying meets a bank twice.

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
{{ stored }}
const LANES = {{ "4u" if vec4 else "1u" }};

@group(0) @binding(0) var<uniform> params: Params;
{%- if not coop %}

var<workgroup> tile_a: array<vec4<f32>, {{ 4 * tile.rows }}>;  // [16 k, {{ tile.rows }} / 4 groups of rows]
var<workgroup> tile_b: array<vec4<f32>, {{ 4 * tile.columns }}>;  // [16 k, {{ tile.columns }} / 4 groups of columns]
{%- endif %}

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
{%- if pass == "grad_weight" %}

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
{%- endif %}

{%- if at.norm and not at.pre %}

/// max(z, 0). Unlike max(), the comparison lets a NaN through, so that it is noticed.
fn relu(z: vec4<f32>) -> vec4<f32> {
    return select(z, vec4<f32>(), z < vec4<f32>());
}
{%- endif %}

/// The first row of a tile, and one past the last row of its unit; there are `rows` in all.
fn rows_of(tile: u32, rows_per_image: u32, rows: u32) -> vec2<u32> {
    let unit = params.images * rows_per_image;
    let tiles = (unit + {{ tile.rows - 1 }}u) / {{ tile.rows }}u;
    let begin = tile / tiles * unit;
    return vec2<u32>(begin + tile % tiles * {{ tile.rows }}u, min(begin + unit, rows));
}

{#- Place `at` of `sums_a` or `sums_b`, vectors that the workgroup reduces: the tiles once more. #}
{% macro left(which, at) -%}
    {% if coop %}four_sums(4u * ({{ at }}){{ coop.sums_b if which == "b" }}){% else %}tile_{{ which }}[{{ at }}]{% endif %}
{%- endmacro %}

{%- macro leave(which, at, value) %}
        {% if coop %}set_four_sums(4u * ({{ at }}){{ coop.sums_b if which == "b" }}, {{ value }});{% else %}tile_{{ which }}[{{ at }}] = {{ value }};{% endif %}
{%- endmacro %}

/// Sums over the rows of invocations that the workgroup left in a tile, in order.
fn sum_a(col: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var row = 0u; row < {{ down }}u; row++) {
        sum += {{ left("a", "row * " ~ groups_b ~ "u + col") }};
    }
    return sum;
}

fn sum_b(col: u32) -> vec4<f32> {
    var sum = vec4<f32>();
    for (var row = 0u; row < {{ down }}u; row++) {
        sum += {{ left("b", "row * " ~ groups_b ~ "u + col") }};
    }
    return sum;
}

{#- The invocation's place in the tile, its columns and its part of C. #}
{% macro start() %}
    let tile_row = local / {{ across }}u;
    let tile_col = local % {{ across }}u;
    {%- for j in [0, 1] %}
    let col_{{ j }} = col0 + tile_col * 4u + {{ j * tile.columns_apart }}u;
    {%- endfor %}
    {%- for i in rows %}
    var c{{ i.index }}_0 = vec4<f32>();
    var c{{ i.index }}_1 = vec4<f32>();
    {%- endfor %}
    {%- if coop %}
    {%- if coop.emulated %}
    let subgroups = {{ coop.subgroups }}u;
    let number_in_group = local / {{ coop.subgroup }}u;
    lane = local % {{ coop.subgroup }}u;
    one = min(params.n, 1u);
    {%- endif %}
    // The first of the squares that this subgroup owns, {{ coop.down * coop.size }} rows and {{ coop.across * coop.size }} columns apart.
    let subgroup = min(number_in_group, {{ coop.subgroups - 1 }}u);
    let square_row = subgroup / {{ coop.across }}u * {{ coop.size }}u;
    let square_col = subgroup % {{ coop.across }}u * {{ coop.size }}u;
    {%- for i in coop.rows %}
    {%- for j in coop.columns %}
    var square_{{ i }}_{{ j }}: SquareC;
    {%- endfor %}
    {%- endfor %}
    {%- endif %}
{%- endmacro %}

{#- Where an invocation is in its workgroup beside `local`, for subgroups. #}
{% macro subgroup_inputs() %}
    {%- if coop and not coop.emulated %}
    @builtin(subgroup_id) number_in_group: u32,
    @builtin(num_subgroups) subgroups: u32,
    {%- endif %}
{%- endmacro %}

{#- Hands the squares over to the invocations that own their elements, a part of C at a time. #}
{% macro finish() %}
    {%- if coop %}
    // Subgroups of another size than the kernel was made for did not multiply everything.
    let missed = bitcast<f32>(select(0u, 0x7fc00000u, subgroups != {{ coop.subgroups }}u));
    {%- for part in coop.parts %}
    {%- for square in part.squares %}
    store_c(square_{{ square.row }}_{{ square.column }}, (square_row + {{ square.down }}u) * LINE_C + square_col + {{ square.right }}u);
    {%- endfor %}
    workgroupBarrier();
    {%- for i in rows if i.group == part.group %}
    c{{ i.index }}_{{ part.half }} = missed + four_sums((tile_row * 4u + {{ i.index % 4 }}u) * LINE_C + tile_col * 4u);
    {%- endfor %}
    workgroupBarrier();
    {%- endfor %}
    {%- endif %}
{%- endmacro %}

{#- Adds the product of the block of k that the body of the call loads into the tiles. #}
{% macro multiply() %}
        {{- caller() }}
        workgroupBarrier();
        {%- if coop %}
        {%- for k in coop.steps %}
        {
            {%- for j in coop.columns %}
            let b{{ j }} = load_b((square_col + {{ j * coop.across * coop.size }}u) * LINE + {{ k }}u);
            {%- endfor %}
            {%- for i in coop.rows %}
            let a{{ i }} = load_a((square_row + {{ i * coop.down * coop.size }}u) * LINE + {{ k }}u);
            {%- for j in coop.columns %}
            square_{{ i }}_{{ j }} = multiply_add(a{{ i }}, b{{ j }}, square_{{ i }}_{{ j }});
            {%- endfor %}
            {%- endfor %}
        }
        {%- endfor %}
        {%- else %}
        for (var q = 0u; q < 4u; q++) {
            let from_a = q * {{ 4 * groups_a }}u + (tile_row ^ (2u * q));
            let from_b = q * {{ 4 * groups_b }}u + (tile_col ^ (2u * q));
            {%- for part in four %}
            {
                {%- for g in row_groups %}
                let a{{ g }} = tile_a[from_a + {{ part.index * groups_a + g * (tile.rows_apart // 4) }}u];
                {%- endfor %}
                let b0 = tile_b[from_b + {{ part.index * groups_b }}u];
                let b1 = tile_b[from_b + {{ part.index * groups_b + tile.columns_apart // 4 }}u];
                {%- for i in rows %}
                c{{ i.index }}_0 = fma(vec4<f32>(a{{ i.group }}.{{ i.part }}), b0, c{{ i.index }}_0);
                c{{ i.index }}_1 = fma(vec4<f32>(a{{ i.group }}.{{ i.part }}), b1, c{{ i.index }}_1);
                {%- endfor %}
            }
            {%- endfor %}
        }
        {%- endif %}
        workgroupBarrier();
{%- endmacro %}

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

{#- A vector of what is called `before` + number of the lane + `after`. #}
{% macro gathered(before, after) -%}
    {% if vec4 %}{{ before }}0{{ after }}{% else %}vec4<f32>({{ before }}0{{ after }}, {{ before }}1{{ after }}, {{ before }}2{{ after }}, {{ before }}3{{ after }}){% endif %}
{%- endmacro %}

{#- Reads the columns j of this invocation, of `width`, from a buffer's element `first` on, into `name`. #}
{% macro load_columns(name, buffer, first, width, j) %}
            var {{ name }} = vec4<f32>();
            {%- for lane in lanes %}
            if (col_{{ j }} + {{ lane.index }}u < {{ width }}) {
                {{ name }}{{ lane.part }} = Element({{ buffer }}[({{ first }} + col_{{ j }} + {{ lane.index }}u) / LANES]);
            }
            {%- endfor %}
{%- endmacro %}

{#- Writes `value`, the columns j of this invocation, made by `as`, to a buffer from element `first` on. #}
{% macro store(value, buffer, first, width, j, as="Element") %}
            {%- for lane in lanes %}
            if (col_{{ j }} + {{ lane.index }}u < {{ width }}) {
                {{ buffer }}[({{ first }} + col_{{ j }} + {{ lane.index }}u) / LANES] = {{ as }}({{ value }}{{ lane.part }});
            }
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
    {%- for j in [0, 1] %}
    var sum_{{ j }} = vec4<f32>();
    {%- for i in rows %}
    sum_{{ j }} += select(vec4<f32>(), c{{ i.index }}_{{ j }}, row_{{ i.index }} < row_end);
    {%- endfor %}
    {{- leave("b", "tile_row * " ~ groups_b ~ "u + tile_col + " ~ j * across ~ "u", "sum_" ~ j) }}
    {%- endfor %}
    workgroupBarrier();
    {%- for j in [0, 1] %}
    let mean_{{ j }} = sum_b(tile_col + {{ j * across }}u) / count;
    {%- endfor %}
    workgroupBarrier();
    // The distances sum to what rounding left in the mean: it is taken out of both results.
    {%- for j in [0, 1] %}
    {
        var rest = vec4<f32>();
        var squares = vec4<f32>();
        {%- for i in rows %}
        {
            let d = select(vec4<f32>(), c{{ i.index }}_{{ j }} - mean_{{ j }}, row_{{ i.index }} < row_end);
            rest += d;
            squares += d * d;
        }
        {%- endfor %}
        {{- leave("a", "tile_row * " ~ groups_b ~ "u + tile_col + " ~ j * across ~ "u", "rest") }}
        {{- leave("b", "tile_row * " ~ groups_b ~ "u + tile_col + " ~ j * across ~ "u", "squares") }}
    }
    {%- endfor %}
    workgroupBarrier();
    if (tile_row == 0u) {
        let first = 3u * block * params.c_out;
        {%- for j in [0, 1] %}
        {
            let total = sum_a(tile_col + {{ j * across }}u);
            let n = vec4<f32>(count);
            let m = mean_{{ j }} + total / count;
            let m2 = sum_b(tile_col + {{ j * across }}u) - total * total / count;
            {{- store("n", "partials", "first", "params.c_out", j) }}
            {{- store("m", "partials", "first + params.c_out", "params.c_out", j) }}
            {{- store("m2", "partials", "first + 2u * params.c_out", "params.c_out", j) }}
        }
        {%- endfor %}
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
        {{- leave("a", "tile_row * " ~ groups_b ~ "u + tile_col + " ~ j * across ~ "u", "sum") }}
        {{- leave("b", "tile_row * " ~ groups_b ~ "u + tile_col + " ~ j * across ~ "u", "products") }}
        {%- endif %}
    }
    {%- endfor %}
    {%- if at.partials %}
    workgroupBarrier();
    if (tile_row == 0u) {
        let first = 2u * block * params.c_in;
        {%- for j in [0, 1] %}
        {
            let sum = sum_a(tile_col + {{ j * across }}u);
            let products = sum_b(tile_col + {{ j * across }}u);
            {{- store("sum", "partials", "first", "params.c_in", j) }}
            {{- store("products", "partials", "first + params.c_in", "params.c_in", j) }}
        }
        {%- endfor %}
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
{%- endif %}
