//! Sheets of a data set: a row of its training images for every class.
use crate::data::{Augmentation, ImageSource, Preprocess, Split};
use crate::ops::{AUGMENTATION_WORDS, Change, Taps, resize};
use crate::process::ensure_free;
use anyhow::{Context, Result};
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

/// Images of each class.
const PER_CLASS: usize = 10;

/// Pixels between the images and around them.
const GAP: usize = 2;

/// Draws the first training images of every class, grey or in colour as they are, as a PNG.
///
/// # Errors
/// When an image cannot be read, or there is no memory for the sheet.
pub fn png(data: &dyn ImageSource) -> Result<Vec<u8>> {
    let info = data.info();
    let mut sheet = Sheet::new(info.size, info.channels, info.classes.len())?;
    let mut drawn = vec![0; info.classes.len()];
    let mut image = vec![0; info.image_bytes()];
    for (i, &label) in data.labels(Split::Train).iter().enumerate() {
        let (row, column) = (label as usize, drawn[label as usize]);
        if column == PER_CLASS {
            continue;
        }
        drawn[row] += 1;
        data.read(Split::Train, &[i as u32], &mut image)?;
        sheet.draw(row, column, &image);
    }
    sheet.png()
}

/// Draws the first training image of every class as the network gets it, and beside it what the augmentation makes of it in
/// the first epochs, as a PNG.
///
/// # Errors
/// When an image cannot be read, or there is no memory for the sheet.
pub fn augmented(
    data: &dyn ImageSource,
    preprocess: &Preprocess,
    augmentation: Augmentation,
) -> Result<Vec<u8>> {
    let info = data.info();
    let (from, to, c) = (info.size, preprocess.size, info.channels);
    let (table, t) = preprocess.taps(from, preprocess.resized());
    let taps = Taps::new(&table, t);
    let mut sheet = Sheet::new(to, c, info.classes.len())?;
    let mut image = vec![0; info.image_bytes()];
    for class in 0..info.classes.len() {
        let is_first = |label: &u32| *label as usize == class;
        let Some(index) = data.labels(Split::Train).iter().position(is_first) else {
            continue;
        };
        data.read(Split::Train, &[index as u32], &mut image)?;
        let mut levels = vec![0; to * to * c];
        resize(&image, [from, from, c], [taps, taps], |i, level| {
            levels[i] = level
        });
        sheet.draw(class, 0, &levels);
        // What is erased is 0 once it is normalised: the mean.
        let erased = |channel: usize| match preprocess.mean.get(channel) {
            Some(mean) => (mean * 255.0).round() as u8,
            None => 0,
        };
        for column in 1..PER_CLASS {
            let words = augmentation.draw(column - 1, &[index as u32], to);
            let change = Change::of(&words[..AUGMENTATION_WORDS]);
            let changed = (0..levels.len()).map(|i| {
                let (at, channel) = ([i / c / to, i / c % to], i % c);
                let level = |y, x| levels[(y * to + x) * c + channel];
                change.level(at, to, level).unwrap_or(erased(channel))
            });
            sheet.draw(class, column, &changed.collect::<Vec<_>>());
        }
    }
    sheet.png()
}

/// Images of one size in rows of [`PER_CLASS`] on white.
struct Sheet {
    size: usize,
    channels: usize,
    /// Channels that are drawn: the first of what has no colours.
    shown: usize,
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl Sheet {
    fn new(size: usize, channels: usize, rows: usize) -> Result<Sheet> {
        let shown = if channels == 3 { 3 } else { 1 };
        let [width, height] = [PER_CLASS, rows].map(|cells| cells * (size + GAP) + GAP);
        ensure_free((width * height * shown) as u64, "the sheet")?;
        Ok(Sheet {
            size,
            channels,
            shown,
            width,
            height,
            pixels: vec![255; width * height * shown],
        })
    }

    /// Draws an image `[size, size, channels]`.
    fn draw(&mut self, row: usize, column: usize, image: &[u8]) {
        let [top, left] = [row, column].map(|cell| cell * (self.size + GAP) + GAP);
        for (y, line) in image.chunks(self.size * self.channels).enumerate() {
            let at = ((top + y) * self.width + left) * self.shown;
            let levels = line
                .chunks(self.channels)
                .flat_map(|pixel| &pixel[..self.shown]);
            let place = self.pixels[at..].iter_mut();
            place.zip(levels).for_each(|(to, level)| *to = *level);
        }
    }

    fn png(self) -> Result<Vec<u8>> {
        let colour = match self.shown {
            3 => ExtendedColorType::Rgb8,
            _ => ExtendedColorType::L8,
        };
        let mut png = Vec::new();
        let (width, height) = (self.width as u32, self.height as u32);
        PngEncoder::new(&mut png)
            .write_image(&self.pixels, width, height, colour)
            .context("encoding the sheet")?;
        Ok(png)
    }
}
