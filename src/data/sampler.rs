//! The order of the examples, which follows from the seed and the epoch alone.
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The generator's first stream for orders; epoch `e` has stream `STREAM + e`, so that any epoch's order
/// can be made without those before it. Initial values have a stream below.
const STREAM: u64 = 1 << 32;

/// Makes the order of every epoch.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    seed: u64,
    shuffle: bool,
}

impl Sampler {
    /// Orders drawn from this seed, or the file's own order for every epoch.
    pub fn new(seed: u64, shuffle: bool) -> Sampler {
        Sampler { seed, shuffle }
    }

    /// The order of `count` examples in an epoch, from 0.
    pub fn order(&self, epoch: usize, count: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count as u32).collect();
        if self.shuffle {
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            rng.set_stream(STREAM + epoch as u64);
            order.shuffle(&mut rng);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A resumed run must find the order of the run that it goes on with, on every machine and after
    /// every update of the crates that shuffle.
    #[test]
    fn the_order_never_changes() {
        let sampler = Sampler::new(42, true);
        assert_eq!(sampler.order(0, 10), [9, 1, 7, 3, 2, 6, 4, 5, 8, 0]);
        assert_eq!(sampler.order(9, 10), [7, 2, 0, 6, 9, 1, 8, 3, 5, 4]);
        assert_eq!(sampler.order(2, 60_000)[59_996..], [15, 2913, 15291, 14241]);
    }

    #[test]
    fn every_place_is_equally_likely() {
        let mut counts = [[0_u32; 5]; 5];
        for epoch in 0..5000 {
            for (place, image) in Sampler::new(1, true).order(epoch, 5).iter().enumerate() {
                counts[place][*image as usize] += 1;
            }
        }
        // 1000 are expected, with a standard deviation of 28.
        assert!(counts.as_flattened().iter().all(|c| c.abs_diff(1000) < 140));
    }

    #[test]
    fn every_epoch_has_its_own_order_of_all_examples() {
        let sampler = Sampler::new(3, true);
        let (first, second) = (sampler.order(0, 1000), sampler.order(1, 1000));
        assert_ne!(first, second);
        assert_eq!(first, Sampler::new(3, true).order(0, 1000));
        assert_ne!(first, Sampler::new(4, true).order(0, 1000));
        let mut sorted = second;
        sorted.sort_unstable();
        assert_eq!(sorted, Sampler::new(3, false).order(7, 1000));
    }
}
