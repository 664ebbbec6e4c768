//! The sliding window that convolutions and poolings share.
use anyhow::{Result, ensure};

/// A square window: kernel size, stride and zero padding on each side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Window {
    /// Height and width of the window.
    pub kernel: usize,
    /// Step between neighbouring windows.
    pub stride: usize,
    /// Padding on each of the four sides.
    pub pad: usize,
}

impl Window {
    /// Number of windows along an axis of `size`: `⌊(size + 2·pad − kernel) / stride⌋ + 1`.
    ///
    /// # Errors
    /// When the padded axis is shorter than the window.
    pub fn out(self, size: usize) -> Result<usize> {
        let Window {
            kernel,
            stride,
            pad,
        } = self;
        ensure!(
            kernel > 0 && stride > 0,
            "a window needs a positive size and stride"
        );
        ensure!(
            size + 2 * pad >= kernel,
            "a window of {kernel} does not fit into {size} with padding {pad}"
        );
        Ok((size + 2 * pad - kernel) / stride + 1)
    }

    /// The position on an axis of `size` that tap `k` of window `o` looks at, if not padding.
    pub fn tap(self, o: usize, k: usize, size: usize) -> Option<usize> {
        (o * self.stride + k)
            .checked_sub(self.pad)
            .filter(|&i| i < size)
    }

    /// The windows along an axis of `out` windows that contain position `i`, each with the tap that
    /// looks at it.
    pub fn around(self, i: usize, out: usize) -> impl Iterator<Item = (usize, usize)> {
        let Window {
            kernel,
            stride,
            pad,
        } = self;
        let first = (i + pad + 1).saturating_sub(kernel).div_ceil(stride);
        let windows = first..((i + pad) / stride + 1).min(out);
        windows.map(move |o| (o, i + pad - o * stride))
    }
}
