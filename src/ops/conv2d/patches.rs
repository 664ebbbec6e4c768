//! The matrix of a convolution ("im2col"): one row per pixel of a grid, holding the patch of the
//! image that the pixel looks at. Blocks of it are written out; the whole of it never exists.
use crate::graph::Shape;
use crate::ops::Window;
use std::ops::Range;

/// Which patch of an image every pixel of a grid looks at: `taps[0] × taps[1]` pixels, the first at
/// `(y·step + first[0], x·step + first[1])` for grid pixel (y, x). Outside the image is zero.
pub(super) struct Patches {
    /// Dimensions of the images.
    pub image: Shape,
    /// Height and width of the grid.
    pub grid: [usize; 2],
    /// Distance between the patches of neighbouring grid pixels.
    pub step: usize,
    /// Where the patch of grid pixel (0, 0) starts.
    pub first: [isize; 2],
    /// Height and width of a patch.
    pub taps: [usize; 2],
}

impl Patches {
    /// The windows of a convolution from images `x` to images `y`.
    pub fn of_windows(x: Shape, y: Shape, window: Window) -> Patches {
        Patches {
            image: x,
            grid: [y.0[1], y.0[2]],
            step: window.stride,
            first: [-(window.pad as isize); 2],
            taps: [window.kernel; 2],
        }
    }

    /// Rows of the matrix that belong to one image.
    pub fn rows_per_image(&self) -> usize {
        self.grid[0] * self.grid[1]
    }

    /// Columns of the matrix: elements of a patch in the order (ky, kx, c).
    pub fn columns(&self) -> usize {
        self.taps[0] * self.taps[1] * self.image.c()
    }

    /// A block of the matrix as dense rows: the image itself where it is one, else a copy in `scratch`.
    pub fn block<'a>(
        &self,
        image: &'a [f32],
        rows: Range<usize>,
        columns: Range<usize>,
        scratch: &'a mut [f32],
    ) -> &'a [f32] {
        let c = self.image.c();
        if self.is_image() && columns == (0..c) {
            return &image[rows.start * c..rows.end * c];
        }
        let block = &mut scratch[..rows.len() * columns.len()];
        self.copy(image, rows, columns, block);
        block
    }

    /// Whether every pixel looks just at itself, as in a 1×1 convolution without a stride.
    fn is_image(&self) -> bool {
        let [_, h, w, _] = self.image.0;
        self.taps == [1, 1] && self.first == [0, 0] && self.step == 1 && self.grid == [h, w]
    }

    fn copy(&self, image: &[f32], rows: Range<usize>, columns: Range<usize>, block: &mut [f32]) {
        let [_, h, w, c] = self.image.0;
        let [grid_h, grid_w] = self.grid;
        // Neighbouring taps of one line are neighbours in the image too: one copy serves them all.
        let line = self.taps[1] * c;
        let lines = columns.start / line..columns.end.div_ceil(line);
        let mut x = rows.start % grid_w;
        let mut y = rows.start / grid_w % grid_h;
        let mut n = rows.start / grid_w / grid_h;
        for row in block.chunks_exact_mut(columns.len()) {
            let (y_first, x_first) = (
                (y * self.step) as isize + self.first[0],
                (x * self.step) as isize + self.first[1],
            );
            let mut done = 0;
            for ky in lines.clone() {
                let from = columns.start.max(ky * line) - ky * line;
                let to = columns.end.min((ky + 1) * line) - ky * line;
                let piece = &mut row[done..done + to - from];
                done += piece.len();
                let iy = y_first + ky as isize;
                if iy < 0 || iy >= h as isize {
                    piece.fill(0.0);
                    continue;
                }
                let inside = |i: isize| (i * c as isize).clamp(from as isize, to as isize) as usize;
                let (left, right) = (inside(-x_first), inside(w as isize - x_first));
                piece[..left - from].fill(0.0);
                piece[right - from..].fill(0.0);
                if left < right {
                    let start = ((n * h + iy as usize) * w) as isize + x_first;
                    let start = (start * c as isize + left as isize) as usize;
                    piece[left - from..right - from]
                        .copy_from_slice(&image[start..start + right - left]);
                }
            }
            x += 1;
            if x == grid_w {
                x = 0;
                y += 1;
            }
            if y == grid_h {
                y = 0;
                n += 1;
            }
        }
    }
}
