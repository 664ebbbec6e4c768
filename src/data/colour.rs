//! A picture of any size, made into an image in colour as networks for photographs take them.
use super::Preprocess;
use super::decode::open;
use crate::ops::{Taps, resize};
use anyhow::Result;
use image::{DynamicImage, Rgba};
use std::path::Path;

/// Reads a file of one of the formats that [`super::Picture`] reads too, as red, green and blue, and makes it as large as
/// the network takes it: levels `[size, size, 3]`. What is transparent is white.
///
/// # Errors
/// When there is no such file, or it is no picture, damaged or too large.
pub fn read_colour(path: &Path, preprocess: &Preprocess) -> Result<Vec<u8>> {
    let picture = open(path, "")?.picture;
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Ok(fit(&on_white(picture), [height, width, 3], preprocess))
}

/// Resizes an image of levels `[h, w, c]` so that its shorter side is as `preprocess` says, and cuts the square out of the
/// middle: bit for bit what torchvision's `Resize` and `CenterCrop` make of an image of PIL's, and what a step makes of
/// the images of a data set, which are square.
pub fn fit(image: &[u8], [h, w, c]: [usize; 3], preprocess: &Preprocess) -> Vec<u8> {
    let (shorter, longer) = (h.min(w), h.max(w));
    let resized = preprocess.resized();
    let to = |side: usize| match side == shorter {
        true => resized,
        false => resized * longer / shorter,
    };
    let [(rows, t_rows), (columns, t_columns)] = [h, w].map(|side| preprocess.taps(side, to(side)));
    let filters = [Taps::new(&rows, t_rows), Taps::new(&columns, t_columns)];
    let mut square = vec![0; preprocess.size * preprocess.size * c];
    resize(image, [h, w, c], filters, |i, level| square[i] = level);
    square
}

/// Levels `[height, width, 3]`, with white behind what is transparent.
pub fn on_white(picture: DynamicImage) -> Vec<u8> {
    if !picture.color().has_alpha() {
        return picture.into_rgb8().into_raw();
    }
    let picture = picture.into_rgba8();
    let blended = |&Rgba([r, g, b, alpha]): &Rgba<u8>| {
        let alpha = u32::from(alpha);
        [r, g, b].map(|level| ((u32::from(level) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
    };
    picture.pixels().flat_map(blended).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ImageBuffer, Luma};

    #[test]
    fn every_kind_of_picture_becomes_red_green_and_blue() {
        let rgba = |pixel| DynamicImage::from(ImageBuffer::from_pixel(1, 1, Rgba::<u8>(pixel)));
        assert_eq!(on_white(rgba([9, 80, 200, 255])), [9, 80, 200]);
        assert_eq!(on_white(rgba([9, 80, 200, 0])), [255; 3]);
        assert_eq!(on_white(rgba([0, 100, 255, 51])), [204, 224, 255]);
        let grey = ImageBuffer::from_pixel(1, 1, Luma::<u8>([77]));
        assert_eq!(on_white(DynamicImage::from(grey)), [77; 3]);
        let deep = ImageBuffer::from_pixel(1, 1, Rgba::<u16>([257 * 5, 257 * 60, 65535, 65535]));
        assert_eq!(on_white(DynamicImage::from(deep)), [5, 60, 255]);
    }

    #[test]
    fn extreme_pictures_have_a_middle_too() {
        let preprocess = Preprocess {
            size: 8,
            resize: Some(9),
            ..Preprocess::imagenet()
        };
        for shape in [[1, 60_000, 3], [60_000, 1, 3], [1, 1, 3]] {
            let image = vec![200; shape.iter().product()];
            assert_eq!(fit(&image, shape, &preprocess), vec![200; 8 * 8 * 3]);
        }
    }
}
