//! A picture of any size and colour, made into an image as Fashion-MNIST has them: 28×28, grey, light on black.
use super::decode::open;
use super::idx::SIZE;
use crate::process::one_line;
use anyhow::{Context, Result};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, Luma, LumaA};
use std::path::Path;

/// How far a grey level may be from the background's and still be background: 5 % of all, as JPEG leaves it uneven.
const CLOSE: u8 = 13;

/// What is around the garment in a picture.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Background {
    /// Light or dark, as most of the picture's border is.
    #[default]
    Auto,
    /// Darker than the garment, as in Fashion-MNIST.
    Dark,
    /// Lighter than the garment, as in a catalogue: the picture is inverted.
    Light,
}

/// An image for the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// Grey levels `[28, 28]`.
    pub pixels: Vec<u8>,
    /// Whether light and dark changed places.
    pub inverted: bool,
}

impl Picture {
    /// Side in pixels.
    pub const SIZE: usize = SIZE;

    /// Pixels.
    pub const LEN: usize = SIZE * SIZE;

    /// Reads a file of one of [`super::decode::FORMATS`], of an animation its first picture.
    ///
    /// It is treated as Fashion-MNIST's originals were (Xiao, Rasul and Vollgraf 2017, section 2): a light background is
    /// inverted, edges of nothing but background are cut off, the longer side becomes 28 pixels, and the garment stands
    /// in the middle. What is transparent is white. A picture of 28×28 pixels is inverted at most.
    ///
    /// # Errors
    /// When there is no such file, it is no picture, damaged or too large, or nothing is in the picture.
    pub fn read(path: &Path, background: Background) -> Result<Picture> {
        let picture = open(path, ", or take an image of the test set by --test-image 0")?.picture;
        Picture::new(on_white(picture), background).with_context(|| {
            format!(
                "{} is empty: all of it has one colour or is transparent. Name a picture with a garment in it",
                one_line(path)
            )
        })
    }

    /// `None` where nothing stands out from the background.
    fn new(mut grey: GrayImage, background: Background) -> Option<Picture> {
        let levels = || grey.pixels().map(|pixel| pixel[0]);
        let (least, most) = (levels().min()?, levels().max()?);
        if most - least <= CLOSE {
            return None;
        }
        let mut level = border_level(&grey);
        let inverted = match background {
            Background::Auto => level >= 128,
            Background::Dark => false,
            Background::Light => true,
        };
        if inverted {
            imageops::invert(&mut grey);
            level = 255 - level;
        }
        let size = SIZE as u32;
        if grey.dimensions() != (size, size) {
            grey = fitted(&grey, level, size);
        }
        Some(Picture {
            pixels: grey.into_raw(),
            inverted,
        })
    }
}

/// Grey levels, with white behind what is transparent.
pub fn on_white(picture: DynamicImage) -> GrayImage {
    if !picture.color().has_alpha() {
        return picture.into_luma8();
    }
    let picture = picture.into_luma_alpha8();
    GrayImage::from_fn(picture.width(), picture.height(), |x, y| {
        let LumaA([grey, alpha]) = *picture.get_pixel(x, y);
        let (grey, alpha) = (u32::from(grey), u32::from(alpha));
        Luma([((grey * alpha + 255 * (255 - alpha) + 127) / 255) as u8])
    })
}

/// The median of the outermost pixels.
fn border_level(grey: &GrayImage) -> u8 {
    let (w, h) = grey.dimensions();
    let border = grey
        .enumerate_pixels()
        .filter(|&(x, y, _)| x == 0 || y == 0 || x == w - 1 || y == h - 1);
    let mut levels: Vec<u8> = border.map(|(_, _, pixel)| pixel[0]).collect();
    levels.sort_unstable();
    levels[levels.len() / 2]
}

/// The garment in the middle of `size × size` pixels of background, which has this level.
fn fitted(grey: &GrayImage, level: u8, size: u32) -> GrayImage {
    let [x, y, w, h] = garment(grey, level);
    let garment = imageops::crop_imm(grey, x, y, w, h).to_image();
    let scaled = |side: u32| {
        let side = f64::from(size) * f64::from(side) / f64::from(w.max(h));
        (side.round() as u32).max(1)
    };
    let garment = imageops::resize(&garment, scaled(w), scaled(h), FilterType::Triangle);
    let mut canvas = GrayImage::from_pixel(size, size, Luma([level]));
    let middle = |side: u32| i64::from((size - side) / 2);
    let (x, y) = (middle(garment.width()), middle(garment.height()));
    imageops::replace(&mut canvas, &garment, x, y);
    canvas
}

/// Left, top, width and height of what is not background; of the whole where all is.
fn garment(grey: &GrayImage, level: u8) -> [u32; 4] {
    let (mut left, mut top) = grey.dimensions();
    let (mut right, mut bottom) = (0, 0);
    for (x, y, pixel) in grey.enumerate_pixels() {
        if pixel[0].abs_diff(level) > CLOSE {
            (left, right) = (left.min(x), right.max(x + 1));
            (top, bottom) = (top.min(y), bottom.max(y + 1));
        }
    }
    match left < right {
        true => [left, top, right - left, bottom - top],
        false => [0, 0, grey.width(), grey.height()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::ImageFormat;
    use std::io::Cursor;

    const SIDE: u32 = SIZE as u32;

    /// A bright box on black, `[left, top, width, height]` in `w × h` pixels.
    fn boxed(w: u32, h: u32, [left, top, width, height]: [u32; 4]) -> GrayImage {
        GrayImage::from_fn(w, h, |x, y| {
            let inside = (left..left + width).contains(&x) && (top..top + height).contains(&y);
            Luma([if inside { 200 } else { 0 }])
        })
    }

    #[test]
    fn an_image_of_the_right_size_is_taken_as_it_is() {
        let image = boxed(SIDE, SIDE, [3, 5, 9, 4]);
        let picture = Picture::new(image.clone(), Background::Auto).unwrap();
        assert_eq!((&picture.pixels, picture.inverted), (image.as_raw(), false));
    }

    #[test]
    fn a_light_background_is_inverted_unless_told_otherwise() {
        let image = boxed(SIDE, SIDE, [3, 5, 9, 4]);
        let mut negative = image.clone();
        imageops::invert(&mut negative);
        let seen = |background| Picture::new(negative.clone(), background).unwrap();
        for background in [Background::Auto, Background::Light] {
            let picture = seen(background);
            assert_eq!((&picture.pixels, picture.inverted), (image.as_raw(), true));
        }
        assert_eq!(&seen(Background::Dark).pixels, negative.as_raw());
    }

    #[test]
    fn the_garment_fills_the_image_and_keeps_its_proportions() {
        // Somewhere in a larger picture, twice as high as wide.
        let picture = Picture::new(boxed(300, 200, [200, 20, 56, 112]), Background::Auto).unwrap();
        let want = boxed(SIDE, SIDE, [7, 0, 14, 28]);
        assert_eq!(&picture.pixels, want.as_raw());
    }

    #[test]
    fn extreme_pictures_have_an_image_too() {
        for (w, h) in [(1, 5000), (5000, 1), (28, 29)] {
            let picture = Picture::new(boxed(w, h, [0, 0, 1, 1]), Background::Dark).unwrap();
            assert!(picture.pixels.contains(&200), "{w}×{h}");
        }
    }

    #[test]
    fn a_picture_of_one_colour_is_empty() {
        for (side, level) in [(1, 0), (28, 7), (300, 128), (28, 255)] {
            // As uneven as JPEG leaves it.
            let grey = GrayImage::from_fn(side, side, |x, y| {
                Luma([u8::saturating_add(level, ((x * y) % 13) as u8)])
            });
            for background in [Background::Auto, Background::Dark, Background::Light] {
                assert_eq!(Picture::new(grey.clone(), background), None);
            }
        }
    }

    /// The same garment in every format. What is cut off is an error, but for a JPEG file, of which a warning tells.
    #[test]
    fn every_format_is_read_and_no_part_of_other_files_than_jpegs() {
        let picture = DynamicImage::from(boxed(90, 60, [20, 10, 30, 40])).to_rgb8();
        let want = Picture::new(boxed(90, 60, [20, 10, 30, 40]), Background::Auto);
        let want = want.unwrap();
        let folder = tempfile::tempdir().unwrap();
        // The name tells nothing.
        let path = folder.path().join("picture.txt");
        for format in [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Gif,
            ImageFormat::Tiff,
        ] {
            let mut file = Cursor::new(Vec::new());
            picture.write_to(&mut file, format).unwrap();
            let file = file.into_inner();
            std::fs::write(&path, &file).unwrap();
            let got = Picture::read(&path, Background::Auto).unwrap();
            // JPEG blurs the edges.
            let far = got.pixels.iter().zip(&want.pixels);
            let far: u32 = far.map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
            assert!(far / Picture::LEN as u32 <= 20, "{format:?}: {far}");
            for cut in [1, 2, 3].map(|part| part * file.len() / 4) {
                std::fs::write(&path, &file[..cut]).unwrap();
                match Picture::read(&path, Background::Auto) {
                    Ok(part) => assert!(format == ImageFormat::Jpeg && part != got),
                    Err(error) => assert!(
                        error.to_string().contains("can be read"),
                        "{format:?} {error}"
                    ),
                }
            }
        }
    }

    #[test]
    fn what_is_transparent_is_white() {
        let picture = |alpha| {
            let pixel = image::Rgba([0, 0, 0, alpha]);
            DynamicImage::from(image::RgbaImage::from_pixel(2, 2, pixel))
        };
        assert_eq!(on_white(picture(0)).get_pixel(0, 0).0, [255]);
        assert_eq!(on_white(picture(255)).get_pixel(0, 0).0, [0]);
    }
}
