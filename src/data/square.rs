//! A picture of any shape, made into the square that is kept of it for a training.
use super::colour;
use super::decode::open;
use super::picture;
use super::preprocess::{Fit, Preprocess};
use crate::ops::{Taps, precropped_taps, resize, resize_taps};
use anyhow::Result;
use image::{ColorType, DynamicImage};
use std::path::Path;

/// Reads a file as a training on pictures does: see [`square`].
///
/// # Errors
/// As [`super::read_colour`].
pub fn read_square(
    path: &Path,
    channels: usize,
    fit: Fit,
    preprocess: &Preprocess,
) -> Result<Vec<u8>> {
    let decoded = open(path, "")?;
    Ok(square(decoded.picture, channels, fit, preprocess))
}

/// Levels `[resized, resized, channels]` of a picture, of which a step that prepares images keeps the middle. What is
/// transparent is white. With [`Fit::Crop`] all of it together is [`super::fit`], bit for bit.
pub fn square(
    picture: DynamicImage,
    channels: usize,
    fit: Fit,
    preprocess: &Preprocess,
) -> Vec<u8> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let is_grey = channels == 1 || picture.color() == ColorType::L8;
    let (levels, c) = match is_grey {
        true => (picture::on_white(picture).into_raw(), 1),
        false => (colour::on_white(picture), 3),
    };
    let square = fitted(&levels, [height, width, c], fit, preprocess);
    match c == channels {
        true => square,
        false => square.into_iter().flat_map(|level| [level; 3]).collect(),
    }
}

fn fitted(image: &[u8], shape: [usize; 3], fit: Fit, preprocess: &Preprocess) -> Vec<u8> {
    let [h, w, c] = shape;
    let (shorter, longer) = (h.min(w), h.max(w));
    let side = preprocess.resized();
    let mut square = vec![0; side * side * c];
    match fit {
        Fit::Crop => {
            let taps = |of: usize| {
                let to = match of == shorter {
                    true => side,
                    false => side * longer / shorter,
                };
                precropped_taps(of, to, side, preprocess.size)
            };
            let [(rows, t_rows), (columns, t_columns)] = [h, w].map(taps);
            let filters = [Taps::new(&rows, t_rows), Taps::new(&columns, t_columns)];
            resize(image, shape, filters, |i, level| square[i] = level);
        }
        Fit::Pad | Fit::Stretch => {
            let to = |of: usize| match fit == Fit::Stretch || of == longer {
                true => side,
                false => ((side * of + longer / 2) / longer).max(1),
            };
            let [(rows, t_rows), (columns, t_columns)] = [h, w].map(|of| resize_taps(of, to(of)));
            let filters = [Taps::new(&rows, t_rows), Taps::new(&columns, t_columns)];
            let (top, left, row) = ((side - to(h)) / 2, (side - to(w)) / 2, to(w) * c);
            resize(image, shape, filters, |i, level| {
                square[((top + i / row) * side + left) * c + i % row] = level;
            });
        }
    }
    square
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fit as at_once;
    use image::{GrayImage, Luma, Rgb, RgbImage};

    fn picture(w: u32, h: u32) -> RgbImage {
        RgbImage::from_fn(w, h, |x, y| {
            Rgb([x * 7 + y, y * 5 + x * x, x * y].map(|level| level as u8))
        })
    }

    #[test]
    fn what_a_step_keeps_of_the_square_is_what_is_cut_out_at_once() {
        for (w, h) in [
            (41, 30),
            (30, 41),
            (33, 33),
            (20, 97),
            (97, 21),
            (1, 1),
            (1, 9),
        ] {
            for (size, resize) in [
                (8, None),
                (8, Some(9)),
                (8, Some(11)),
                (5, Some(10)),
                (50, None),
            ] {
                let preprocess = Preprocess {
                    resize,
                    ..Preprocess::of_size(size)
                };
                let (side, picture) = (preprocess.resized(), picture(w, h));
                let want = at_once(picture.as_raw(), [h as usize, w as usize, 3], &preprocess);
                let kept = square(picture.into(), 3, Fit::Crop, &preprocess);
                let got = at_once(&kept, [side, side, 3], &preprocess);
                assert!(got == want, "{w}×{h} to {size} of {resize:?}");
            }
        }
    }

    #[test]
    fn a_picture_is_padded_with_black_or_stretched() {
        let white = GrayImage::from_pixel(40, 20, Luma([255]));
        let of = |fit| square(white.clone().into(), 1, fit, &Preprocess::of_size(8));
        let rows = |image: &[u8]| -> Vec<u8> { image.chunks(8).map(|row| row[3]).collect() };
        assert_eq!(rows(&of(Fit::Pad)), [0, 0, 255, 255, 255, 255, 0, 0]);
        assert_eq!(of(Fit::Stretch), [255; 64]);
        let line = GrayImage::from_pixel(3000, 1, Luma([9]));
        let padded = square(line.into(), 3, Fit::Pad, &Preprocess::of_size(8));
        assert_eq!(padded.iter().filter(|level| **level == 9).count(), 8 * 3);
    }

    #[test]
    fn grey_is_the_same_with_one_channel_and_with_three() {
        let grey = GrayImage::from_fn(31, 23, |x, y| Luma([(x * y) as u8]));
        let preprocess = Preprocess::of_size(9);
        let one = square(grey.clone().into(), 1, Fit::Crop, &preprocess);
        let three = square(grey.clone().into(), 3, Fit::Crop, &preprocess);
        let colours = DynamicImage::from(grey).into_rgb8();
        assert_eq!(three, square(colours.into(), 3, Fit::Crop, &preprocess));
        let first: Vec<u8> = three.iter().step_by(3).copied().collect();
        assert_eq!(first, one);
    }
}
