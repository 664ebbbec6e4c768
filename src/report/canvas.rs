//! A picture of pixels, that text and rectangles are drawn on.
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
/// Columns of a letter in pixels.
pub const LETTER: usize = 6;
/// Rows of a line of text in pixels.
pub const LINE: usize = 12;

/// As much of a text as so many pixels hold, in letters that the font has.
pub fn fitted(text: &str, width: usize) -> String {
    let most = width / LETTER;
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
pub struct Canvas(pub RgbImage);

impl Canvas {
    /// White paper.
    pub fn blank(width: usize, height: usize) -> Canvas {
        Canvas(RgbImage::from_pixel(
            width as u32,
            height as u32,
            Rgb([255; 3]),
        ))
    }

    /// Fills a rectangle, of which what is beyond the paper is left out.
    pub fn fill(&mut self, at: (usize, usize), (width, height): (usize, usize), colour: [u8; 3]) {
        for y in at.1..at.1 + height {
            for x in at.0..at.0 + width {
                if let Some(pixel) = self.0.get_pixel_mut_checked(x as u32, y as u32) {
                    *pixel = Rgb(colour);
                }
            }
        }
    }

    /// Writes a line of text, whose upper left corner is there.
    pub fn write(&mut self, text: &str, (left, top): (usize, usize)) {
        let style = MonoTextStyle::new(FONT, Rgb888::BLACK);
        let at = Point::new(left as i32, top as i32);
        match Text::with_baseline(text, at, style, Baseline::Top).draw(self) {
            Ok(_) => {}
        }
    }

    /// The picture as a PNG.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>> {
        let mut png = Cursor::new(Vec::new());
        let encoded = self.0.write_to(&mut png, image::ImageFormat::Png);
        encoded.context("encoding a picture")?;
        Ok(png.into_inner())
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
    fn text_is_cut_and_unknown_letters_are_asked_about() {
        assert_eq!(fitted("ß✓", 60), "ß?");
        assert_eq!(fitted("1234567890", 60), "1234567890");
        assert_eq!(fitted("12345678901", 60), "12345678..");
    }
}
