//! A sheet of images with lines of text below each.
use crate::process::ensure_free;
use anyhow::{Context, Result};
use embedded_graphics::Pixel;
use embedded_graphics::mono_font::iso_8859_1::FONT_6X10;
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use embedded_graphics::prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size};
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage};
use std::convert::Infallible;
use std::io::Cursor;

/// The font has the letters of Western Europe; others become question marks.
const FONT: &MonoFont = &FONT_6X10;
/// Pixels between and around the images, and between lines.
const GAP: usize = 8;
/// An image is enlarged by a whole factor to at least so many pixels.
const LEAST: usize = 112;
/// Images side by side at most.
const MOST_COLUMNS: usize = 12;

const PAPER: Rgb<u8> = Rgb([255; 3]);

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
    let sheet = sheet(size, channels, shown)?;
    let mut png = Cursor::new(Vec::new());
    let encoded = sheet.write_to(&mut png, image::ImageFormat::Png);
    encoded.context("encoding the sheet")?;
    Ok(png.into_inner())
}

fn sheet(size: usize, channels: usize, shown: &[Shown]) -> Result<RgbImage> {
    let factor = LEAST.div_ceil(size);
    let side = size * factor;
    let line = FONT.character_size.height as usize + 2;
    let lines = shown
        .iter()
        .map(|shown| shown.lines.len())
        .max()
        .unwrap_or(0);
    let (width, height) = (side + GAP, side + GAP / 2 + lines * line + GAP);
    let columns = shown.len().isqrt().clamp(4, MOST_COLUMNS).min(shown.len());
    let rows = shown.len().div_ceil(columns.max(1));
    let (wide, high) = (columns * width + GAP, rows * height + GAP);
    ensure_free(3 * (wide * high) as u64, "the sheet")?;
    let mut canvas = Canvas(RgbImage::from_pixel(wide as u32, high as u32, PAPER));
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
            let at = (left, top + side + GAP / 2 + n * line);
            canvas.write(&fitted(text, side), at);
        }
    }
    Ok(canvas.0)
}

/// As much of a text as so many pixels hold, in letters that the font has.
fn fitted(text: &str, width: usize) -> String {
    let most = width / FONT.character_size.width as usize;
    let known = |c: char| {
        if (' '..='~').contains(&c) || ('\u{a0}'..='ÿ').contains(&c) {
            c
        } else {
            '?'
        }
    };
    let count = text.chars().count();
    let mut fitted: String = text.chars().take(most).map(known).collect();
    if count > most && most > 2 {
        fitted = fitted.chars().take(most - 2).chain("..".chars()).collect();
    }
    fitted
}

/// What is drawn on.
struct Canvas(RgbImage);

impl Canvas {
    fn write(&mut self, text: &str, (left, top): (usize, usize)) {
        let style = MonoTextStyle::new(FONT, Rgb888::BLACK);
        let at = Point::new(left as i32, top as i32);
        match Text::with_baseline(text, at, style, Baseline::Top).draw(self) {
            Ok(_) => {}
        }
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Infallible> {
        for Pixel(Point { x, y }, colour) in pixels {
            if let Some(pixel) = self.0.get_pixel_mut_checked(x as u32, y as u32) {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
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

    #[test]
    fn text_is_cut_and_unknown_letters_are_asked_about() {
        assert_eq!(fitted("ß✓", 60), "ß?");
        assert_eq!(fitted("1234567890", 60), "1234567890");
        assert_eq!(fitted("12345678901", 60), "12345678..");
    }
}
