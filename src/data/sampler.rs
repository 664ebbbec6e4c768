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
