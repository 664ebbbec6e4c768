// Put before conv2d.wgsl where its products are those of cooperative matrices: of squares of {{ size }} that a
// subgroup holds together, factors in f16 and sums in f32. A template, as it is.
//
// The factors of a block of k stand in workgroup memory along k, as units load them best: a tile of A as
// [rows, 16 k], a tile of B as [columns, 16 k]. A line of 16 is 16 bytes longer than its numbers, so that its
// neighbours begin in other banks. Once all of k is summed, `sums` hands C over to the invocations that own
// its elements, and holds what they reduce after that.

const LINE = {{ line }}u;
const LINE_C = {{ line_c }}u;

var<workgroup> factors_a: array<f16, {{ size_a }}>;
var<workgroup> factors_b: array<f16, {{ size_b }}>;
var<workgroup> sums: array<f32, {{ size_c }}>;
{% if emulated %}
// Every invocation reads the factors that it needs where they stand, and owns the elements of a square whose
// numbers are its own modulo {{ subgroup }}: they lie in one column.

alias SquareA = u32;
alias SquareB = u32;
alias SquareC = array<f32, {{ share }}>;

var<private> lane: u32;
/// 1, which compilers do not know: unrolled, the loops below would take them minutes.
var<private> one: u32;

fn load_a(first: u32) -> SquareA {
    return first;
}

fn load_b(first: u32) -> SquareB {
    return first;
}

fn multiply_add(a: SquareA, b: SquareB, c: SquareC) -> SquareC {
    var sum = c;
    for (var k = 0u; k < {{ size }}u * one; k++) {
        let from_b = f32(factors_b[b + lane % {{ size }}u * LINE + k]);
        {%- for i in elements %}
        sum[{{ i }}] = fma(f32(factors_a[a + (lane + {{ i * subgroup }}u) / {{ size }}u * LINE + k]), from_b, sum[{{ i }}]);
        {%- endfor %}
    }
    return sum;
}

fn store_c(c: SquareC, first: u32) {
    var sum = c;
    for (var i = 0u; i < {{ share }}u * one; i++) {
        let element = lane + i * {{ subgroup }}u;
        sums[first + element / {{ size }}u * LINE_C + element % {{ size }}u] = sum[i];
    }
}
{% else %}
alias SquareA = coop_mat{{ size }}x{{ size }}<f16, A>;
alias SquareB = coop_mat{{ size }}x{{ size }}<f16, B>;
alias SquareC = coop_mat{{ size }}x{{ size }}<f32, C>;

fn load_a(first: u32) -> SquareA {
    return coopLoadT<SquareA>(&factors_a[first], LINE);
}

/// Columns are lines: the matrix is stored by columns.
fn load_b(first: u32) -> SquareB {
    return coopLoad<SquareB>(&factors_b[first], LINE);
}

fn multiply_add(a: SquareA, b: SquareB, c: SquareC) -> SquareC {
    return coopMultiplyAdd(a, b, c);
}

fn store_c(c: SquareC, first: u32) {
    coopStoreT(c, &sums[first], LINE_C);
}
{% endif %}
/// Four neighbours along k of line `line` of A.
fn put_a(line: u32, k: u32, value: vec4<f16>) {
    let first = line * LINE + k;
    factors_a[first] = value.x;
    factors_a[first + 1u] = value.y;
    factors_a[first + 2u] = value.z;
    factors_a[first + 3u] = value.w;
}

/// The same of B.
fn put_b(line: u32, k: u32, value: vec4<f16>) {
    let first = line * LINE + k;
    factors_b[first] = value.x;
    factors_b[first + 1u] = value.y;
    factors_b[first + 2u] = value.z;
    factors_b[first + 3u] = value.w;
}

/// Four neighbouring numbers of `sums`.
fn four_sums(first: u32) -> vec4<f32> {
    return vec4<f32>(sums[first], sums[first + 1u], sums[first + 2u], sums[first + 3u]);
}

fn set_four_sums(first: u32, value: vec4<f32>) {
    sums[first] = value.x;
    sums[first + 1u] = value.y;
    sums[first + 2u] = value.z;
    sums[first + 3u] = value.w;
}

