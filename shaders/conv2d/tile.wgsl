// Convolution and its two gradients as matrix products C = A·B whose operands are read straight from
// the tensors (implicit GEMM). A template in parts: this one, what all passes share beside it (load.wgsl,
// product.wgsl, moments.wgsl, store.wgsl), and the kernel of a pass (forward.wgsl, grad_input.wgsl,
// grad_weight.wgsl). `at` numbers the bindings of the tensors that a pass has; `tile` is the part of C that a
// workgroup computes; `lanes` are the parts of four neighbouring values that one load fetches: all at once
// with `vec4`, else one by one.
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
