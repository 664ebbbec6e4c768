//! PIL's bilinear filter for images of 8-bit channels: its coefficients, and its use on the CPU. A crop computes only
//! what it keeps.
use std::ops::Range;

/// Fraction bits of the filter's coefficients, as in Pillow's `Resample.c` for 8-bit channels.
const FRACTION_BITS: u32 = 22;

/// The filter that resizes an axis of `from` pixels to `to`, as words for a tensor
/// `u32 [to, 1, 1, t]`, and `t`.
///
/// Each output pixel has a row: its first input pixel, its number of taps, and the taps'
/// coefficients in 22-bit fixed point, filled up with zeros. The filter is the triangle of PIL's
/// `BILINEAR` (`Resample.c`, `precompute_coeffs`), widened when it shrinks the image.
pub fn resize_taps(from: usize, to: usize) -> (Vec<u32>, usize) {
    taps_of(from, to, 0..to)
}

/// The rows of [`resize_taps`] from `from` to `to` pixels that a crop to the `keep` pixels in the middle leaves.
pub fn cropped_taps(from: usize, to: usize, keep: usize) -> (Vec<u32>, usize) {
    let first = before_middle(to, keep);
    taps_of(from, to, first..first + keep)
}

/// The rows of [`resize_taps`] that a crop to `keep` pixels leaves, of which another crop to the `then` pixels in the
/// middle leaves those of a single crop to `then`. Odd margins, halved twice, would be off by one.
pub fn precropped_taps(from: usize, to: usize, keep: usize, then: usize) -> (Vec<u32>, usize) {
    let first = before_middle(to, then) - before_middle(keep, then);
    taps_of(from, to, first..first + keep)
}

/// The pixels of `all` before the `keep` in the middle. An odd margin is halved as torchvision's `CenterCrop` does: Python
/// rounds a half to the even number.
fn before_middle(all: usize, keep: usize) -> usize {
    assert!(keep <= all, "a crop keeps a part");
    let margin = all - keep;
    match margin % 4 {
        3 => margin / 2 + 1,
        _ => margin / 2,
    }
}

fn taps_of(from: usize, to: usize, kept: Range<usize>) -> (Vec<u32>, usize) {
    assert!(from > 0 && to > 0, "an axis has pixels");
    let scale = from as f64 / to as f64;
    let radius = scale.max(1.0);
    let rows: Vec<(u32, Vec<u32>)> = kept
        .map(|o| {
            let center = (o as f64 + 0.5) * scale;
            let first = (center - radius + 0.5).max(0.0) as usize;
            let end = ((center + radius + 0.5) as usize).min(from);
            let weight = |i| (1.0 - ((i as f64 - center + 0.5) / radius).abs()).max(0.0);
            let total: f64 = (first..end).map(weight).sum();
            let one = f64::from(1u32 << FRACTION_BITS);
            let mut taps: Vec<u32> = (first..end)
                .map(|i| (0.5 + weight(i) / total * one) as u32)
                .collect();
            // A tap of zero changes nothing; without it, keeping the size is one tap per pixel.
            while taps.last() == Some(&0) {
                taps.pop();
            }
            (first as u32, taps)
        })
        .collect();
    let t = 2 + rows.iter().map(|(_, taps)| taps.len()).max().unwrap_or(0);
    let mut table = Vec::with_capacity(rows.len() * t);
    for (first, taps) in &rows {
        table.extend([*first, taps.len() as u32]);
        table.extend(taps);
        table.resize(table.len() + t - 2 - taps.len(), 0);
    }
    (table, t)
}

/// A table of [`resize_taps`] or [`cropped_taps`].
#[derive(Clone, Copy)]
pub struct Taps<'a> {
    table: &'a [u32],
    t: usize,
}

impl<'a> Taps<'a> {
    /// The table in these words, `t` for each output pixel.
    pub fn new(table: &'a [u32], t: usize) -> Taps<'a> {
        Taps { table, t }
    }

    /// Output pixels.
    fn len(self) -> usize {
        self.table.len() / self.t
    }

    /// The first input pixel of output pixel `o`, and the coefficients from there on.
    fn row(self, o: usize) -> (usize, &'a [u32]) {
        let row = &self.table[o * self.t..][..self.t];
        (row[0] as usize, &row[2..][..row[1] as usize])
    }

    /// The input pixels that are read.
    fn reach(self) -> Range<usize> {
        let end = |o| {
            let (first, taps) = self.row(o);
            first + taps.len()
        };
        let all = 0..self.len();
        let first = all.clone().map(|o| self.row(o).0).min().unwrap_or(0);
        first..all.map(end).max().unwrap_or(first)
    }

    /// Filters the pixels of a row, each of `C` levels.
    fn along<const C: usize>(self, row: &[u8], filtered: &mut [u8]) {
        let pixels = row.as_chunks::<C>().0;
        for (o, pixel) in filtered.as_chunks_mut::<C>().0.iter_mut().enumerate() {
            let (first, taps) = self.row(o);
            let mut sums = [HALF; C];
            for (from, tap) in pixels[first..].iter().zip(taps) {
                for (sum, level) in sums.iter_mut().zip(from) {
                    *sum += u32::from(*level) * tap;
                }
            }
            *pixel = sums.map(level_of);
        }
    }
}

/// A half in the coefficients' fixed point, so that what follows is cut off.
const HALF: u32 = 1 << (FRACTION_BITS - 1);

/// The level of a sum that began at [`HALF`]. The coefficients are not negative and sum to one, so there is nothing to
/// clip.
fn level_of(sum: u32) -> u8 {
    (sum >> FRACTION_BITS) as u8
}

/// Resizes an image of levels `[h, w, c]` by the filters of its rows and of its columns, `[vertical, horizontal]`: along
/// rows first, rounded to u8, then along columns. `put` is told each element of the result and its level, in order.
pub fn resize(
    image: &[u8],
    [_, w, c]: [usize; 3],
    [vertical, horizontal]: [Taps; 2],
    mut put: impl FnMut(usize, u8),
) {
    let (rows, line) = (vertical.reach(), horizontal.len() * c);
    let mut wide = vec![0; rows.len() * line]; // [rows, width, c]
    let image = image.chunks_exact(w * c).skip(rows.start);
    for (row, filtered) in image.zip(wide.chunks_exact_mut(line)) {
        match c {
            1 => horizontal.along::<1>(row, filtered),
            3 => horizontal.along::<3>(row, filtered),
            _ => {
                for channel in 0..c {
                    let levels: Vec<u8> = row[channel..].iter().step_by(c).copied().collect();
                    let mut of_channel = vec![0; horizontal.len()];
                    horizontal.along::<1>(&levels, &mut of_channel);
                    let places = filtered[channel..].iter_mut().step_by(c);
                    places.zip(of_channel).for_each(|(to, level)| *to = level);
                }
            }
        }
    }
    let mut sums = vec![HALF; line];
    for o in 0..vertical.len() {
        let (first, taps) = vertical.row(o);
        sums.fill(HALF);
        let from = wide[(first - rows.start) * line..].chunks_exact(line);
        // All elements of a row at once, which lie side by side.
        for (row, tap) in from.zip(taps) {
            for (sum, level) in sums.iter_mut().zip(row) {
                *sum += u32::from(*level) * tap;
            }
        }
        for (i, sum) in sums.iter().enumerate() {
            put(o * line + i, level_of(*sum));
        }
    }
}
