//! The order of the images in an epoch, from the seed and the epoch's number alone: a resumed run
//! needs no generator's state and no earlier epoch.
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The stream of ChaCha that shuffles; every other purpose of the same seed takes another one.
const STREAM: u64 = 1;

/// Words of the stream per epoch: more than a shuffle of 2³² images ever draws.
const WORDS_PER_EPOCH: u128 = 1 << 36;

/// Gives every epoch its order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sampler {
    /// The run's seed.
    pub seed: u64,
    /// Whether to shuffle; otherwise every epoch is in file order.
    pub shuffle: bool,
}

impl Sampler {
    /// The indices of all `count` images in the order of `epoch`, counted from 0. Cut it with
    /// `chunks(batch)`; the last batch may be smaller.
    ///
    /// A Fisher–Yates shuffle in 32-bit arithmetic: the same on every machine.
    pub fn order(&self, epoch: u32, count: usize) -> Vec<u32> {
        let count = u32::try_from(count).expect("fewer than 2^32 images");
        let mut order: Vec<u32> = (0..count).collect();
        if self.shuffle {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(STREAM);
            rng.set_word_pos(u128::from(epoch) * WORDS_PER_EPOCH);
            for i in (1..count).rev() {
                order.swap(i as usize, below(&mut rng, i + 1) as usize);
            }
        }
        order
    }
}

/// A uniform number in `0..n`: the high word of a product, rejecting the few draws that would make
/// some results likelier (Lemire 2019, <https://arxiv.org/abs/1805.10941>).
fn below(rng: &mut ChaCha8Rng, n: u32) -> u32 {
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(n);
        if product as u32 >= n.wrapping_neg() % n {
            return (product >> 32) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_a_permutation_of_all_images() {
        let sampler = Sampler {
            seed: 0,
            shuffle: true,
        };
        let mut order = sampler.order(0, 60_000);
        assert!(order.iter().enumerate().any(|(i, &o)| i as u32 != o));
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &o)| i as u32 == o));
    }

    #[test]
    fn seed_and_epoch_decide_the_order() {
        let order = |seed, epoch| {
            Sampler {
                seed,
                shuffle: true,
            }
            .order(epoch, 100)
        };
        assert_eq!(order(7, 3), order(7, 3));
        assert_ne!(order(7, 3), order(7, 4));
        assert_ne!(order(7, 3), order(8, 3));
        assert_ne!(order(7, 0), order(7, u32::MAX));
    }

    /// A resumed run must find the order of the run that it goes on with, on any machine and after
    /// any update of the dependencies.
    #[test]
    fn the_order_never_changes() {
        let sampler = Sampler {
            seed: 42,
            shuffle: true,
        };
        assert_eq!(sampler.order(0, 10), [0; 10]);
        assert_eq!(sampler.order(9, 10), [0; 10]);
    }

    #[test]
    fn every_place_is_equally_likely() {
        let mut counts = [[0u32; 5]; 5];
        for epoch in 0..5000 {
            let order = Sampler {
                seed: 1,
                shuffle: true,
            }
            .order(epoch, 5);
            for (place, &image) in order.iter().enumerate() {
                counts[place][image as usize] += 1;
            }
        }
        // 1000 expected, with a standard deviation of 28.
        assert!(counts.as_flattened().iter().all(|c| c.abs_diff(1000) < 140));
    }

    #[test]
    fn file_order_and_small_counts() {
        let unshuffled = Sampler {
            seed: 5,
            shuffle: false,
        };
        assert_eq!(unshuffled.order(2, 4), [0, 1, 2, 3]);
        let shuffled = Sampler {
            shuffle: true,
            ..unshuffled
        };
        assert!(shuffled.order(0, 0).is_empty());
        assert_eq!(shuffled.order(0, 1), [0]);
    }
}
