//! The confusion matrix as a picture of pixels, which is all that TensorBoard shows.
use super::messages::Image;
use crate::report::canvas::{Canvas, LETTER, LINE, fitted};
use crate::report::confusion::Confusion;
use crate::report::matrix::opacity;
use anyhow::Result;

/// Side of a cell in pixels, where a number is in it and where there are too many classes for that.
const CELL: (usize, usize) = (62, 4);
/// Most classes whose numbers and names are shown.
const MOST: usize = 24;
/// Letters of a name beside a row at most.
const NAME: usize = 16;
const GAP: usize = 6;
/// Red, green and blue.
const RGB: i32 = 3;

/// Colours of right answers and of mistakes, as in `confusion.svg` on white.
const INKS: ([f64; 3], [f64; 3]) = ([0.0, 114.0, 178.0], [193.0, 79.0, 0.0]);

/// Rows are the true classes, columns the answers: the fuller the colour, the larger the share of the row.
///
/// # Errors
/// When the picture cannot be encoded.
pub fn image(confusion: &Confusion) -> Result<Image> {
    let (classes, counts) = (confusion.classes(), confusion.counts());
    let told = classes.len() <= MOST;
    let cell = if told { CELL.0 } else { CELL.1 };
    let longest = classes.iter().map(|name| name.chars().count()).max();
    let (left, top) = match told {
        true => (
            longest.unwrap_or(0).min(NAME) * LETTER + 2 * GAP,
            LINE + 2 * GAP,
        ),
        false => (GAP, GAP),
    };
    let side = cell * classes.len();
    let (width, height) = (left + side + GAP, top + side + GAP);
    let mut canvas = Canvas::blank(width, height);
    for (i, name) in classes.iter().enumerate().filter(|_| told) {
        let middle = i * cell + (cell - LINE) / 2;
        canvas.write(&fitted(name, NAME * LETTER), (GAP, top + middle));
        canvas.write(&fitted(name, cell), (left + i * cell, GAP));
    }
    for (row, of_class) in counts.iter().enumerate() {
        let all: u64 = of_class.iter().sum();
        for (column, &count) in of_class.iter().enumerate().filter(|(_, count)| **count > 0) {
            let ink = if row == column { INKS.0 } else { INKS.1 };
            let full = opacity(count as f64 / all as f64);
            let colour = ink.map(|ink| (255.0 + (ink - 255.0) * full).round() as u8);
            let at = (left + column * cell, top + row * cell);
            canvas.fill(at, (cell, cell), colour);
            if told {
                let text = count.to_string();
                let room = cell.saturating_sub(text.len() * LETTER) / 2;
                canvas.write(&text, (at.0 + room, at.1 + (cell - LINE) / 2));
            }
        }
    }
    Ok(Image {
        height: height as i32,
        width: width as i32,
        colorspace: RGB,
        encoded: canvas.png()?,
    })
}
