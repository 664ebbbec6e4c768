//! Single-threaded matrix product through the crate `gemm`; the kernels above it share the work among threads.

/// A matrix to read, with any strides.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Dense rows of `cols` elements each.
    pub fn new(data: &'a [f32], cols: usize) -> Matrix<'a> {
        assert_eq!(data.len() % cols, 0, "whole rows of {cols}");
        Matrix {
            data,
            rows: data.len() / cols,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// The same elements with rows and columns exchanged.
    pub fn transposed(self) -> Matrix<'a> {
        Matrix {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// `c = a·b`, or `c += a·b` to accumulate; `c` is dense with `a`'s rows and `b`'s columns.
///
/// The result depends on the shapes and the processor only.
pub fn gemm(c: &mut [f32], a: Matrix, b: Matrix, accumulate: bool) {
    assert_eq!(a.cols, b.rows, "the inner dimensions agree");
    assert_eq!(c.len(), a.rows * b.cols, "the result has its shape");
    if a.cols == 0 && !accumulate {
        c.fill(0.0);
    }
    if c.is_empty() || a.cols == 0 {
        return;
    }
    // SAFETY: `Matrix` is dense by construction (transposing only exchanges the strides), so element
    // (i, j) with i < rows and j < cols lies at i·row_stride + j·col_stride < rows·cols = data.len();
    // `c` is dense and has a.rows·b.cols elements by the assertion above. `c` is borrowed mutably and
    // so overlaps neither `a` nor `b`. All three are initialised.
    #[expect(unsafe_code, reason = "the crate takes pointers")]
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            c.as_mut_ptr(),
            1,
            b.cols as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
