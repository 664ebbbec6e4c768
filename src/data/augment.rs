//! Random changes of training images. What happens to an image follows from the seed, the epoch and its index alone:
//! not from the order of the work, the batch, or where a run was interrupted.
use crate::ops::{AUGMENTATION_WORDS, Change};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator's first stream for mirroring; epoch `e` has stream `STREAM + e`. The orders of epochs have streams
/// below.
const STREAM: u64 = 2 << 32;

/// The first stream for all other changes.
const OTHERS: u64 = 3 << 32;

/// Words of the generator per image: whole blocks of ChaCha, each of which is a function of the seed, the stream and the
/// number of the block.
const WORDS: u128 = 16;
const WORDS_OF_OTHERS: u128 = 64;

/// Rectangles that are tried for one that fits into the image.
const TRIES: usize = 10;

/// The share of the image that an erased rectangle takes, and the bounds of its height divided by its width: the defaults of
/// `torchvision.transforms.RandomErasing`.
const SHARE: [f32; 2] = [0.02, 0.33];
const RATIO: [f32; 2] = [0.3, 3.3];

/// Which training images are mirrored left to right.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Flip {
    /// None.
    #[default]
    Off,
    /// One half, other ones in every epoch.
    Random,
    /// One half, and in the next epoch the other half: two epochs show both sides of each image.
    Alternating,
}

/// What may happen to training images, in this order; see [`Change`].
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Augmentation {
    /// Seed of all choices.
    pub seed: u64,
    /// The most degrees by which images are turned, in both directions.
    pub rotate: f32,
    /// The most pixels by which images are moved, in all directions.
    pub shift: usize,
    /// Which images are mirrored.
    pub flip: Flip,
    /// The probability that a rectangle is erased.
    pub erase: f32,
    /// Side of a square that is cut out at a random place, of which parts may lie outside; 0 for none.
    pub cutout: usize,
}

impl Augmentation {
    /// Whether nothing happens.
    pub fn is_none(&self) -> bool {
        let seed = self.seed;
        *self
            == (Augmentation {
                seed,
                ..Augmentation::default()
            })
    }

    /// What happens to the images with these indices in an epoch, from 0, once they are squares of `size` pixels: what
    /// [`crate::ops::GatherImages`] takes for each.
    pub fn draw(&self, epoch: usize, indices: &[u32], size: usize) -> Vec<u32> {
        let [mut sides, mut others] = [0, 1].map(|_| ChaCha8Rng::seed_from_u64(self.seed));
        // An image that alternates begins with the side that the first epoch would draw.
        let of_sides = if self.flip == Flip::Random { epoch } else { 0 };
        sides.set_stream(STREAM + of_sides as u64);
        others.set_stream(OTHERS + epoch as u64);
        let mut words = Vec::with_capacity(indices.len() * AUGMENTATION_WORDS);
        for &index in indices {
            sides.set_word_pos(u128::from(index) * WORDS);
            others.set_word_pos(u128::from(index) * WORDS_OF_OTHERS);
            let mut change = self.others(&mut others, size);
            change.mirror = match self.flip {
                Flip::Off => false,
                Flip::Random => sides.random::<bool>(),
                Flip::Alternating => sides.random::<bool>() != (epoch % 2 == 1),
            };
            words.extend(change.words());
        }
        words
    }

    /// Everything but mirroring. Each image takes as many random numbers, whatever is on and comes out, so that one
    /// setting does not change the choices of another.
    fn others(&self, rng: &mut ChaCha8Rng, size: usize) -> Change {
        let mut change = Change::default();
        let turn = self.rotate * (2.0 * rng.random::<f32>() - 1.0);
        if self.rotate > 0.0 {
            change = change.turned(turn);
        }
        let mut moved = || {
            let part = rng.random::<f32>();
            whole(part, 2 * self.shift + 1) as i32 - self.shift as i32
        };
        change.shift = [moved(), moved()];
        let mut centre = || whole(rng.random::<f32>(), size);
        let square = [centre(), centre()].map(|at| around(at, self.cutout, size));
        if self.cutout > 0 {
            change.cut = square;
        }
        if rng.random::<f32>() < self.erase {
            change.erased = rectangle(rng, size);
        }
        change
    }
}

/// The whole number below `count` that a number from 0 to less than 1 stands for.
fn whole(part: f32, count: usize) -> usize {
    ((part * count as f32) as usize).min(count - 1)
}

/// The part of `side` pixels around a place that lies inside the image.
fn around(at: usize, side: usize, size: usize) -> [usize; 2] {
    let first = (at + size).saturating_sub(side / 2 + size);
    let end = (at + side).saturating_sub(side / 2);
    [first, end.min(size)]
}

/// Rows and columns of a random rectangle, as `torchvision.transforms.RandomErasing` draws them; none where none of
/// several fits.
fn rectangle(rng: &mut ChaCha8Rng, size: usize) -> [[usize; 2]; 2] {
    for _ in 0..TRIES {
        let mut within = |[least, most]: [f32; 2]| least + rng.random::<f32>() * (most - least);
        let area = within(SHARE) * (size * size) as f32;
        let ratio = within(RATIO.map(f32::ln)).exp();
        let [height, width] = [area * ratio, area / ratio].map(|side| side.sqrt().round() as usize);
        if height < size && width < size {
            return [height, width].map(|side| {
                let first = whole(rng.random::<f32>(), size - side + 1);
                [first, first + side]
            });
        }
    }
    [[0; 2]; 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLIP: Augmentation = Augmentation {
        seed: 42,
        flip: Flip::Random,
        ..NONE
    };

    const NONE: Augmentation = Augmentation {
        seed: 42,
        rotate: 0.0,
        shift: 0,
        flip: Flip::Off,
        erase: 0.0,
        cutout: 0,
    };

    const ALL: Augmentation = Augmentation {
        rotate: 10.0,
        shift: 3,
        erase: 0.5,
        cutout: 8,
        ..FLIP
    };

    const SIZE: usize = 28;

    fn changes(augmentation: Augmentation, epoch: usize, indices: &[u32]) -> Vec<Change> {
        let words = augmentation.draw(epoch, indices, SIZE);
        words.chunks(AUGMENTATION_WORDS).map(Change::of).collect()
    }

    fn mirrored(augmentation: Augmentation, epoch: usize, indices: &[u32]) -> Vec<bool> {
        let changes = changes(augmentation, epoch, indices).into_iter();
        changes.map(|change| change.mirror).collect()
    }

    /// A resumed run must find the choices of the run that it goes on with.
    #[test]
    fn the_choices_never_change() {
        let first: Vec<u32> = (0..16).collect();
        let want = [0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1].map(|one| one == 1);
        assert_eq!(mirrored(FLIP, 0, &first), want);
        assert_eq!(mirrored(ALL, 0, &first), want);
        let want = [
            [1, -2, 0, 65467, 3016, 851978, 655361, 1179658, 1703954],
            [1, -3, 3, 65009, -8294, 1572876, 851974, 327680, 983047],
        ];
        let want: Vec<u32> = want
            .as_flattened()
            .iter()
            .map(|word: &i32| *word as u32)
            .collect();
        assert_eq!(ALL.draw(1, &[7, 8], SIZE), want);
    }

    #[test]
    fn neither_order_nor_company_changes_a_choice() {
        let all: Vec<u32> = (0..1000).collect();
        let drawn = changes(ALL, 3, &all);
        let backwards: Vec<u32> = all.iter().rev().copied().collect();
        let mut again = changes(ALL, 3, &backwards);
        again.reverse();
        assert_eq!(again, drawn);
        assert_eq!(changes(ALL, 3, &[977, 5]), [drawn[977], drawn[5]]);
    }

    #[test]
    fn half_of_the_images_are_mirrored_and_other_ones_in_every_epoch() {
        let all: Vec<u32> = (0..10_000).collect();
        let (first, second) = (mirrored(FLIP, 0, &all), mirrored(FLIP, 1, &all));
        // 5000 are expected, with a standard deviation of 50.
        let count = |sides: &[bool]| sides.iter().filter(|side| **side).count();
        assert!(count(&first).abs_diff(5000) < 250);
        let both: Vec<bool> = first.iter().zip(&second).map(|(a, b)| a ^ b).collect();
        assert!(count(&both).abs_diff(5000) < 250);
        assert_eq!(count(&mirrored(NONE, 0, &all)), 0);
    }

    #[test]
    fn two_epochs_show_both_sides_where_they_alternate() {
        let alternating = Augmentation {
            flip: Flip::Alternating,
            ..FLIP
        };
        let all: Vec<u32> = (0..1000).collect();
        let [first, second, third] = [0, 1, 2].map(|epoch| mirrored(alternating, epoch, &all));
        assert_eq!(first, mirrored(FLIP, 0, &all));
        assert!(first.iter().zip(&second).all(|(a, b)| a != b));
        assert_eq!(first, third);
    }

    #[test]
    fn one_setting_does_not_change_the_choices_of_another() {
        let all: Vec<u32> = (0..100).collect();
        let alone = Augmentation { erase: 0.5, ..NONE };
        let erased = |augmentation| {
            let changes = changes(augmentation, 0, &all).into_iter();
            changes.map(|change| change.erased).collect::<Vec<_>>()
        };
        assert_eq!(erased(ALL), erased(alone));
    }

    /// Every shift is as probable as every other, erased rectangles have the share of the image that torchvision's
    /// documentation tells, and squares are cut off by the edges alone.
    #[test]
    fn changes_are_distributed_as_they_should_be() {
        let all: Vec<u32> = (0..14_000).collect();
        let changes = changes(ALL, 0, &all);
        for shift in -3..=3 {
            for axis in 0..2 {
                let moved = changes.iter().filter(|change| change.shift[axis] == shift);
                // 2000 are expected, with a standard deviation of 41.
                assert!(moved.count().abs_diff(2000) < 200, "{shift}");
            }
        }
        let length = |[first, end]: [usize; 2]| end - first;
        let area = |[rows, columns]: [[usize; 2]; 2]| length(rows) * length(columns);
        let erased = changes.iter().map(|change| area(change.erased) as f32);
        let erased: Vec<f32> = erased.filter(|area| *area > 0.0).collect();
        assert!(erased.len().abs_diff(7000) < 250);
        let mean = erased.iter().sum::<f32>() / erased.len() as f32 / 784.0;
        assert!((0.16..0.18).contains(&mean), "{mean}");
        let cut = changes.iter().map(|change| change.cut);
        assert!(
            cut.clone()
                .all(|square| area(square) >= 16 && area(square) <= 64)
        );
        assert!(cut.flatten().all(|[_, end]| end <= SIZE));
    }
}
