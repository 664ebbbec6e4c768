//! A data set whose training images are divided anew: some are held out for validation, or a few are both.
use super::{ImageSource, Info, Sampler, Split};
use anyhow::{Result, ensure};
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// The generator's stream for the choice of the first class's images; class `c` has stream `STREAM + c`. The orders
/// of epochs and the augmentations have streams below.
const STREAM: u64 = 3 << 32;

/// Another source's images, with training and validation images chosen from those that it has to train on. The
/// source's own validation images, if it has any, are not used.
pub struct Divided {
    source: Arc<dyn ImageSource>,
    train: Subset,
    validation: Subset,
}

/// Some training images of the source, in its order.
#[derive(Clone, Default)]
struct Subset {
    indices: Vec<u32>,
    labels: Vec<u32>,
    fingerprints: Vec<u64>,
}

impl Subset {
    /// The training images with these indices.
    fn of(source: &dyn ImageSource, indices: Vec<u32>) -> Subset {
        let labels = source.labels(Split::Train);
        let fingerprints = source.fingerprints(Split::Train);
        let known = |&i: &u32| fingerprints.get(i as usize).copied();
        Subset {
            labels: indices.iter().map(|&i| labels[i as usize]).collect(),
            fingerprints: indices.iter().filter_map(known).collect(),
            indices,
        }
    }
}

impl Divided {
    /// Holds out `count` training images. Which ones follows from the seed, their number and the labels alone; every
    /// class has the same share among them, to within one image.
    ///
    /// # Errors
    /// When no image would be held out, or fewer than two left to train on.
    pub fn held_out(source: Arc<dyn ImageSource>, count: usize, seed: u64) -> Result<Divided> {
        let labels = source.labels(Split::Train);
        let most = labels.len().saturating_sub(2);
        ensure!(
            (1..=most).contains(&count),
            "--val-split {count}: {} has {} training images, of which 1 to {most} can be held out",
            source.info().name,
            labels.len()
        );
        let held = held_out(labels, count, seed);
        let (held, kept): (Vec<u32>, Vec<u32>) =
            (0..labels.len() as u32).partition(|&i| held[i as usize]);
        Ok(Divided {
            train: Subset::of(&*source, kept),
            validation: Subset::of(&*source, held),
            source,
        })
    }

    /// Validates on all images, and trains on none.
    pub fn all_held_out(source: Arc<dyn ImageSource>) -> Divided {
        let indices = (0..source.len(Split::Train) as u32).collect();
        let train = Subset::default();
        let validation = Subset::of(&*source, indices);
        Divided {
            source,
            train,
            validation,
        }
    }

    /// Trains on `count` batches alone, those that the first epoch would begin with, and validates on the same images.
    ///
    /// # Errors
    /// When there are not so many batches.
    pub fn overfit(
        source: Arc<dyn ImageSource>,
        count: usize,
        batch_size: usize,
        order: Sampler,
    ) -> Result<Divided> {
        let labels = source.labels(Split::Train);
        let most = labels.len().div_ceil(batch_size);
        ensure!(
            count <= most,
            "--overfit {count}: {} has {most} batches of {batch_size} training images",
            source.info().name
        );
        let mut indices = order.order(0, labels.len());
        indices.truncate(count * batch_size);
        let train = Subset::of(&*source, indices);
        Ok(Divided {
            source,
            validation: train.clone(),
            train,
        })
    }
}

/// Whether each image is held out.
fn held_out(labels: &[u32], count: usize, seed: u64) -> Vec<bool> {
    let classes = labels.iter().max().map_or(0, |&most| most as usize + 1);
    let mut of_class = vec![Vec::new(); classes];
    for (i, &label) in labels.iter().enumerate() {
        of_class[label as usize].push(i);
    }
    let mut held = vec![false; labels.len()];
    let quotas = quotas(&of_class.iter().map(Vec::len).collect::<Vec<_>>(), count);
    for (class, (mut images, quota)) in of_class.into_iter().zip(quotas).enumerate() {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(STREAM + class as u64);
        images.shuffle(&mut rng);
        images[..quota].iter().for_each(|&i| held[i] = true);
    }
    held
}

/// `count` shared out among classes of these sizes: each has its exact share rounded down, and those with the largest
/// remainders one more; of equal remainders the first.
fn quotas(sizes: &[usize], count: usize) -> Vec<usize> {
    let all: usize = sizes.iter().sum();
    let mut quotas: Vec<usize> = sizes.iter().map(|size| size * count / all).collect();
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&class| std::cmp::Reverse(sizes[class] * count % all));
    let left = count - quotas.iter().sum::<usize>();
    order[..left].iter().for_each(|&class| quotas[class] += 1);
    quotas
}

impl ImageSource for Divided {
    fn info(&self) -> &Info {
        self.source.info()
    }

    fn labels(&self, split: Split) -> &[u32] {
        match split {
            Split::Train => &self.train.labels,
            Split::Validation => &self.validation.labels,
            Split::Test => self.source.labels(Split::Test),
        }
    }

    fn read(&self, split: Split, indices: &[u32], out: &mut [u8]) -> Result<()> {
        let subset = match split {
            Split::Train => &self.train,
            Split::Validation => &self.validation,
            Split::Test => return self.source.read(split, indices, out),
        };
        let there = indices.iter().all(|&i| (i as usize) < subset.indices.len());
        ensure!(
            there,
            "{} has {} {} images",
            self.info().name,
            subset.indices.len(),
            split.name()
        );
        let of_source: Vec<u32> = indices
            .iter()
            .map(|&i| subset.indices[i as usize])
            .collect();
        self.source.read(Split::Train, &of_source, out)
    }

    fn fingerprints(&self, split: Split) -> &[u64] {
        match split {
            Split::Train => &self.train.fingerprints,
            Split::Validation => &self.validation.fingerprints,
            Split::Test => self.source.fingerprints(Split::Test),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Examples};

    /// Images of one pixel whose level is their number, of these classes.
    fn source(labels: Vec<u32>) -> Arc<dyn ImageSource> {
        let examples = |labels: Vec<u32>| Examples {
            pixels: (0..labels.len()).map(|i| i as u8).collect(),
            labels,
        };
        Arc::new(Dataset {
            info: Info {
                name: "numbers".to_string(),
                size: 1,
                channels: 1,
                classes: ["a", "b", "c"].map(str::to_string).to_vec(),
                ..Info::default()
            },
            train: examples(labels),
            test: examples(vec![2, 1]),
        })
    }

    /// 30 images of the first class, 20 of the second and 10 of the third.
    fn mixed() -> Vec<u32> {
        (0..60).map(|i| [0, 1, 0, 2, 0, 1][i % 6]).collect()
    }

    fn pixels(source: &Divided, split: Split) -> Vec<u8> {
        let all: Vec<u32> = (0..source.len(split) as u32).collect();
        let mut pixels = vec![0; all.len()];
        source.read(split, &all, &mut pixels).unwrap();
        pixels
    }

    fn per_class(labels: &[u32]) -> [usize; 3] {
        [0, 1, 2].map(|class| labels.iter().filter(|&&l| l == class).count())
    }

    #[test]
    fn every_class_gives_its_share() {
        let held = |count| {
            let split = Divided::held_out(source(mixed()), count, 7).unwrap();
            per_class(split.labels(Split::Validation))
        };
        assert_eq!(held(12), [6, 4, 2]);
        // Shares of 5.5, 3.67 and 1.83: the largest remainders are rounded up.
        assert_eq!(held(11), [5, 4, 2]);
        assert_eq!(held(1), [1, 0, 0]);
        assert_eq!(held(58), [29, 19, 10]);
    }

    #[test]
    fn the_splits_are_disjoint_and_lose_nothing() {
        let labels = mixed();
        let split = Divided::held_out(source(labels.clone()), 17, 7).unwrap();
        let (train, held) = (
            pixels(&split, Split::Train),
            pixels(&split, Split::Validation),
        );
        assert_eq!((train.len(), held.len()), (43, 17));
        let mut all = [train.clone(), held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..60).collect::<Vec<u8>>());
        for (part, pixels) in [(Split::Train, train), (Split::Validation, held)] {
            let want: Vec<u32> = pixels.iter().map(|&i| labels[i as usize]).collect();
            assert_eq!(split.labels(part), want);
        }
        assert_eq!(split.labels(Split::Test), [2, 1]);
        assert_eq!(pixels(&split, Split::Test), [0, 1]);
    }

    /// A resumed run must hold out the same images, on every machine and after every update of the crates that
    /// shuffle.
    #[test]
    fn the_choice_never_changes() {
        let held = |count, seed| {
            let split = Divided::held_out(source(mixed()), count, seed).unwrap();
            pixels(&split, Split::Validation)
        };
        assert_eq!(held(6, 42), [6, 9, 24, 26, 29, 43]);
        assert_eq!(held(6, 42), held(6, 42));
        assert_ne!(held(6, 42), held(6, 43));
    }

    #[test]
    fn batches_to_overfit_are_those_of_the_first_epoch() {
        let labels = mixed();
        let order = Sampler::new(7, true);
        let first = order.order(0, 60)[..12].to_vec();
        let split = Divided::overfit(source(labels.clone()), 2, 6, order).unwrap();
        for part in [Split::Train, Split::Validation] {
            assert_eq!(
                pixels(&split, part),
                first.iter().map(|&i| i as u8).collect::<Vec<_>>()
            );
            assert_eq!(split.labels(part)[3], labels[first[3] as usize]);
        }
        assert_eq!(pixels(&split, Split::Test), [0, 1]);
        let error = Divided::overfit(source(labels), 11, 6, Sampler::new(7, true))
            .err()
            .unwrap();
        assert!(error.to_string().contains("has 10 batches of 6"), "{error}");
    }

    #[test]
    fn what_cannot_be_held_out_is_refused() {
        for count in [0, 59, 60, 61] {
            let error = Divided::held_out(source(mixed()), count, 7).err().unwrap();
            let want = format!("--val-split {count}: numbers has 60 training images");
            assert!(error.to_string().starts_with(&want), "{error}");
        }
        let split = Divided::held_out(source(mixed()), 10, 7).unwrap();
        let error = split.read(Split::Validation, &[10], &mut [0]).unwrap_err();
        assert!(
            error.to_string().contains("10 validation images"),
            "{error}"
        );
    }
}
