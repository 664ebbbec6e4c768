//! A contact sheet, so that people see what they train on.
use super::Images;
use anyhow::{Context, Result, ensure};
use image::{GrayImage, ImageFormat, Luma};
use std::path::Path;

/// Screen pixels per pixel of an image, and between two images.
const ZOOM: usize = 3;
const GAP: usize = 6;

/// Writes a PNG with one row per class, holding the first `columns` images of that class.
///
/// # Errors
/// When the images are not grey or the file cannot be written.
pub fn contact_sheet(images: &Images, classes: usize, columns: usize, path: &Path) -> Result<()> {
    ensure!(
        images.channels == 1,
        "a contact sheet shows grey images, not {} channels",
        images.channels
    );
    let cell = images.size * ZOOM + GAP;
    let side = |cells: usize| (cells * cell + GAP) as u32;
    let mut sheet = GrayImage::from_pixel(side(columns), side(classes), Luma([96]));
    let mut shown = vec![0; classes];
    let plane = images.size * images.size;
    for (image, &label) in images.pixels.chunks_exact(plane).zip(&images.labels) {
        let row = label as usize;
        let column = shown[row];
        if column == columns {
            continue;
        }
        shown[row] += 1;
        for (i, &grey) in image.iter().enumerate() {
            let left = GAP + column * cell + i % images.size * ZOOM;
            let top = GAP + row * cell + i / images.size * ZOOM;
            for (x, y) in (0..ZOOM * ZOOM).map(|k| (left + k % ZOOM, top + k / ZOOM)) {
                sheet.put_pixel(x as u32, y as u32, Luma([grey]));
            }
        }
    }
    sheet
        .save_with_format(path, ImageFormat::Png)
        .with_context(|| format!("writing the contact sheet {}", path.display()))
}
