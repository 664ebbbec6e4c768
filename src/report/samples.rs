//! A sheet of a data set: a row of its training images for every class.
use crate::data::{ImageSource, Split};
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
    // The first channel of what has no colours.
    let shown = if info.channels == 3 { 3 } else { 1 };
    let side = |cells: usize| cells * (info.size + GAP) + GAP;
    let (width, height) = (side(PER_CLASS), side(info.classes.len()));
    ensure_free((width * height * shown) as u64, "the sheet")?;
    let mut sheet = vec![255; width * height * shown];
    let mut drawn = vec![0; info.classes.len()];
    let mut image = vec![0; info.image_bytes()];
    for (i, &label) in data.labels(Split::Train).iter().enumerate() {
        let (row, column) = (label as usize, drawn[label as usize]);
        if column == PER_CLASS {
            continue;
        }
        drawn[row] += 1;
        data.read(Split::Train, &[i as u32], &mut image)?;
        for (y, line) in image.chunks(info.size * info.channels).enumerate() {
            let at = (side(row) + y) * width + side(column);
            let pixels = line.chunks(info.channels).flat_map(|pixel| &pixel[..shown]);
            let place = &mut sheet[at * shown..][..info.size * shown];
            place
                .iter_mut()
                .zip(pixels)
                .for_each(|(to, level)| *to = *level);
        }
    }
    let colour = match shown {
        3 => ExtendedColorType::Rgb8,
        _ => ExtendedColorType::L8,
    };
    let mut png = Vec::new();
    PngEncoder::new(&mut png)
        .write_image(&sheet, width as u32, height as u32, colour)
        .context("encoding the sheet")?;
    Ok(png)
}
