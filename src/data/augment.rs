//! Random changes of training images. What happens to an image follows from the seed, the epoch and its index alone:
//! not from the order of the work, the batch, or where a run was interrupted.
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator's first stream for augmentations; epoch `e` has stream `STREAM + e`. The orders of epochs have
/// streams below.
const STREAM: u64 = 2 << 32;

/// Words of the generator per image: one block of ChaCha, which is a function of the seed, the stream and the number
/// of the block.
const WORDS: u128 = 16;

/// What may happen to training images.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Augmentation {
    /// Seed of all choices.
    pub seed: u64,
    /// Whether one half of the images, other ones in every epoch, are mirrored left to right.
    pub flip: bool,
}

impl Augmentation {
    /// What happens to the images with these indices in an epoch, from 0: the word that
    /// [`crate::ops::GatherImages`] takes for each, 1 where it is mirrored.
    pub fn draw(&self, epoch: usize, indices: &[u32]) -> Vec<u32> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(STREAM + epoch as u64);
        let mut word = |&index: &u32| {
            rng.set_word_pos(u128::from(index) * WORDS);
            u32::from(self.flip && rng.random::<bool>())
        };
        indices.iter().map(&mut word).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLIP: Augmentation = Augmentation {
        seed: 42,
        flip: true,
    };

    /// A resumed run must find the choices of the run that it goes on with.
    #[test]
    fn the_choices_never_change() {
        let first: Vec<u32> = (0..16).collect();
        let want = [0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 1];
        assert_eq!(FLIP.draw(0, &first), want);
    }

    #[test]
    fn neither_order_nor_company_changes_a_choice() {
        let all: Vec<u32> = (0..1000).collect();
        let drawn = FLIP.draw(3, &all);
        let backwards: Vec<u32> = all.iter().rev().copied().collect();
        let mut again = FLIP.draw(3, &backwards);
        again.reverse();
        assert_eq!(again, drawn);
        assert_eq!(FLIP.draw(3, &[977, 5]), [drawn[977], drawn[5]]);
    }

    #[test]
    fn half_of_the_images_are_mirrored_and_other_ones_in_every_epoch() {
        let all: Vec<u32> = (0..10_000).collect();
        let (first, second) = (FLIP.draw(0, &all), FLIP.draw(1, &all));
        // 5000 are expected, with a standard deviation of 50.
        let mirrored = |words: &[u32]| words.iter().sum::<u32>();
        assert!(mirrored(&first).abs_diff(5000) < 250);
        let both: Vec<u32> = first.iter().zip(&second).map(|(a, b)| a ^ b).collect();
        assert!(mirrored(&both).abs_diff(5000) < 250);
        let off = Augmentation {
            flip: false,
            ..FLIP
        };
        assert_eq!(mirrored(&off.draw(0, &all)), 0);
    }
}
