//! What a task is to compute.
use crate::kernels::floats::FloatsMut;
use std::ops::Range;

/// The targets of a task: whole images, or some rows of one.
pub struct Targets<'a> {
    /// The first image.
    pub first: usize,
    /// Rows of every image.
    pub rows: Range<usize>,
    /// `[images, rows, w, c]`.
    pub target: FloatsMut<'a>,
}

impl<'a> Targets<'a> {
    pub fn new(first: usize, rows: Range<usize>, target: FloatsMut<'a>) -> Targets<'a> {
        Targets {
            first,
            rows,
            target,
        }
    }

    /// Where row `y` of the task's image `n` begins, which has `len` numbers.
    pub fn at(&self, n: usize, y: usize, len: usize) -> usize {
        (n * self.rows.len() + y - self.rows.start) * len
    }
}
