//! A picture of any size and colour, made into an image as Fashion-MNIST has them: 28×28, grey, light on black.
use super::idx::SIZE;
use anyhow::{Context, Result, ensure};
use image::imageops::{self, FilterType};
use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, ImageResult, Limits, Luma, LumaA};
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

    /// Reads a PNG or JPEG file.
    ///
    /// It is treated as Fashion-MNIST's originals were (Xiao, Rasul and Vollgraf 2017, section 2): a light background is
    /// inverted, edges of nothing but background are cut off, the longer side becomes 28 pixels, and the garment stands
    /// in the middle. What is transparent is white. A picture of 28×28 pixels is inverted at most.
    ///
    /// # Errors
    /// When there is no such file or it is no picture.
    pub fn read(path: &Path, background: Background) -> Result<Picture> {
        let shown = path.display();
        ensure!(
            path.exists(),
            "{shown} does not exist: name PNG or JPEG files, or take an image of the test set by --test-image 0"
        );
        ensure!(
            !path.is_dir(),
            "{shown} is a folder: name the pictures in it, as in {}",
            path.join("*.png").display()
        );
        let picture = decode(path).with_context(|| {
            format!(
                "{shown} is not a PNG or JPEG picture that can be read: save it as one of them, or take an image of \
                 the test set by --test-image 0"
            )
        })?;
        Ok(Picture::new(on_white(&picture), background))
    }

    fn new(mut grey: GrayImage, background: Background) -> Picture {
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
        Picture {
            pixels: grey.into_raw(),
            inverted,
        }
    }
}

fn decode(path: &Path) -> ImageResult<DynamicImage> {
    // What the file is, its contents tell, not its name.
    let reader = ImageReader::open(path)?.with_guessed_format()?;
    let mut decoder = reader.into_decoder()?;
    // A small file may claim to be a huge picture.
    Limits::default().reserve(decoder.total_bytes())?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// Grey levels, with white behind what is transparent.
fn on_white(picture: &DynamicImage) -> GrayImage {
    let picture = picture.to_luma_alpha8();
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
        let picture = Picture::new(image.clone(), Background::Auto);
        assert_eq!((&picture.pixels, picture.inverted), (image.as_raw(), false));
    }

    #[test]
    fn a_light_background_is_inverted_unless_told_otherwise() {
        let image = boxed(SIDE, SIDE, [3, 5, 9, 4]);
        let mut negative = image.clone();
        imageops::invert(&mut negative);
        let seen = |background| Picture::new(negative.clone(), background);
        for background in [Background::Auto, Background::Light] {
            let picture = seen(background);
            assert_eq!((&picture.pixels, picture.inverted), (image.as_raw(), true));
        }
        assert_eq!(&seen(Background::Dark).pixels, negative.as_raw());
    }

    #[test]
    fn the_garment_fills_the_image_and_keeps_its_proportions() {
        // Somewhere in a larger picture, twice as high as wide.
        let picture = Picture::new(boxed(300, 200, [200, 20, 56, 112]), Background::Auto);
        let want = boxed(SIDE, SIDE, [7, 0, 14, 28]);
        assert_eq!(&picture.pixels, want.as_raw());
    }

    #[test]
    fn extreme_pictures_have_an_image_too() {
        for (w, h) in [(1, 1), (1, 5000), (5000, 1), (28, 29)] {
            let picture = Picture::new(boxed(w, h, [0, 0, 0, 0]), Background::Auto);
            assert!(picture.pixels == [0; SIZE * SIZE], "{w}×{h}");
        }
    }

    #[test]
    fn what_is_transparent_is_white() {
        let picture = |alpha| {
            let pixel = image::Rgba([0, 0, 0, alpha]);
            DynamicImage::from(image::RgbaImage::from_pixel(2, 2, pixel))
        };
        assert_eq!(on_white(&picture(0)).get_pixel(0, 0).0, [255]);
        assert_eq!(on_white(&picture(255)).get_pixel(0, 0).0, [0]);
    }
}
