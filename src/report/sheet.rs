//! A sheet of images with lines of text below each.
use super::canvas::{Canvas, LINE, fitted};
use crate::process::ensure_free;
use anyhow::Result;
use image::{Rgb, RgbImage};

/// Pixels between and around the images, and between lines.
const GAP: usize = 8;
/// An image is enlarged by a whole factor to at least so many pixels.
const LEAST: usize = 112;
/// Images side by side at most.
const MOST_COLUMNS: usize = 12;

/// An image of the sheet.
pub struct Shown {
    /// Levels `[size, size, channels]`, of 1 or 3 channels.
    pub pixels: Vec<u8>,
    /// What is written below it; what is too long is cut off.
    pub lines: Vec<String>,
}

/// Draws images of one size and number of channels as a PNG.
///
/// # Errors
/// When there is no memory for it.
pub fn png(size: usize, channels: usize, shown: &[Shown]) -> Result<Vec<u8>> {
    Canvas(sheet(size, channels, shown)?).png()
}

fn sheet(size: usize, channels: usize, shown: &[Shown]) -> Result<RgbImage> {
    let factor = LEAST.div_ceil(size);
    let side = size * factor;
    let lines = shown
        .iter()
        .map(|shown| shown.lines.len())
        .max()
        .unwrap_or(0);
    let (width, height) = (side + GAP, side + GAP / 2 + lines * LINE + GAP);
    let columns = shown.len().isqrt().clamp(4, MOST_COLUMNS).min(shown.len());
    let rows = shown.len().div_ceil(columns.max(1));
    let (wide, high) = (columns * width + GAP, rows * height + GAP);
    ensure_free(3 * (wide * high) as u64, "the sheet")?;
    let mut canvas = Canvas::blank(wide, high);
    for (i, shown) in shown.iter().enumerate() {
        let (left, top) = (GAP + i % columns * width, GAP + i / columns * height);
        for y in 0..side {
            for x in 0..side {
                let at = (y / factor * size + x / factor) * channels;
                let levels = &shown.pixels[at..at + channels];
                let pixel = [levels[0], levels[channels / 2], levels[channels - 1]];
                canvas
                    .0
                    .put_pixel((left + x) as u32, (top + y) as u32, Rgb(pixel));
            }
        }
        for (n, text) in shown.lines.iter().enumerate() {
            let at = (left, top + side + GAP / 2 + n * LINE);
            canvas.write(&fitted(text, side), at);
        }
    }
    Ok(canvas.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_stand_enlarged_in_rows_with_their_lines_below() {
        let shown = |level: u8| Shown {
            pixels: vec![level, 0, 0, level],
            lines: vec![
                "bag 0.98".to_string(),
                "ß✓ and a line that is too long".to_string(),
            ],
        };
        let all: Vec<Shown> = (1..=5).map(|i| shown(i * 40)).collect();
        let sheet = sheet(2, 1, &all).unwrap();
        let cell = (LEAST + GAP) as u32;
        assert_eq!(sheet.width(), 4 * cell + GAP as u32);
        // The fifth image is the first of the second row.
        let row = (LEAST + GAP / 2 + 2 * 12 + GAP) as u32;
        let at = |x: u32, y: u32| sheet.get_pixel(GAP as u32 + x, GAP as u32 + y).0;
        assert_eq!(at(0, 0), [40; 3]);
        assert_eq!(at(LEAST as u32 - 1, 0), [0; 3]);
        assert_eq!(at(3 * cell, 0), [160; 3]);
        assert_eq!(at(0, row), [200; 3]);
        assert_eq!(at(cell, row), [255; 3]);
        let below = (0..LEAST as u32).flat_map(|x| (LEAST as u32 + 2..row).map(move |y| (x, y)));
        let dark = below.filter(|&(x, y)| at(x, y) == [0; 3]).count();
        assert!(dark > 100, "{dark} pixels of text");
    }
}
