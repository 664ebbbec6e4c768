//! Test-time augmentation: the answer for an image is the mean of the probabilities for several views of it.
use crate::data::Split;
use crate::ops::Change;
use crate::report::answers;
use crate::train::{Session, Sums, evaluate_split};
use anyhow::Result;

/// Which views there are besides the image itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Tta {
    /// Mirrored left to right.
    Flip,
    /// Moved up, down, left and right by a 32nd of its side, and by one pixel at least.
    Shift,
}

/// The views of an image of `size`×`size` pixels, the image itself first.
pub fn views(tta: &[Tta], size: usize) -> Vec<Change> {
    let far = ((size + 16) / 32).max(1) as i32;
    let shifts = [[0, 0], [-far, 0], [far, 0], [0, -far], [0, far]];
    let shifts = if tta.contains(&Tta::Shift) {
        &shifts[..]
    } else {
        &shifts[..1]
    };
    let sides = if tta.contains(&Tta::Flip) {
        &[false, true][..]
    } else {
        &[false]
    };
    let view = |mirror, shift| Change {
        mirror,
        shift,
        ..Change::default()
    };
    let views = sides
        .iter()
        .flat_map(|&mirror| shifts.iter().map(move |&shift| (mirror, shift)));
    views.map(|(mirror, shift)| view(mirror, shift)).collect()
}

/// Logits `[images, classes]` of the images of a split in their order: those of the network or, of several views, the
/// logarithms of the mean probabilities. And the sums of the only view.
///
/// # Errors
/// When the device fails, or images cannot be read.
pub fn answers_of(
    session: &mut Session,
    split: Split,
    views: &[Change],
) -> Result<(Vec<f32>, Sums)> {
    let classes = session.spec().arch.classes;
    let mut all: Vec<f32> = Vec::new();
    let mut sums = Sums::default();
    for (i, view) in views.iter().enumerate() {
        session.set_view(*view);
        let mut seen = 0;
        sums = evaluate_split(session, split, |session, _| {
            let mut logits = session.logits()?;
            if views.len() > 1 {
                let rows = logits.chunks_exact_mut(classes);
                rows.for_each(|row| {
                    let probabilities = answers::softmax(row);
                    row.iter_mut()
                        .zip(probabilities)
                        .for_each(|(to, p)| *to = p as f32);
                });
            }
            match i {
                0 => all.extend(&logits),
                _ => {
                    let sums = all[seen..].iter_mut().zip(&logits);
                    sums.for_each(|(sum, probability)| *sum += probability);
                }
            }
            seen += logits.len();
            Ok(())
        })?;
    }
    if views.len() > 1 {
        let count = views.len() as f32;
        all.iter_mut().for_each(|sum| *sum = (*sum / count).ln());
    }
    Ok((all, sums))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_every_side_at_every_place() {
        let of = |tta: &[Tta], size| -> Vec<(bool, [i32; 2])> {
            let views = views(tta, size).into_iter();
            views.map(|view| (view.mirror, view.shift)).collect()
        };
        assert_eq!(of(&[], 28), [(false, [0, 0])]);
        assert_eq!(of(&[Tta::Flip], 28), [(false, [0, 0]), (true, [0, 0])]);
        let moved = of(&[Tta::Shift], 96);
        assert_eq!(
            moved[1..],
            [[-3, 0], [3, 0], [0, -3], [0, 3]].map(|shift| (false, shift))
        );
        assert_eq!(of(&[Tta::Shift, Tta::Flip], 8).len(), 10);
    }
}
