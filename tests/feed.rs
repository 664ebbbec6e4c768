//! How the examples get to the device: on it from the start, or sent step by step; augmented or not.
use crate::altered::Altered;
use crate::micro::batches;
use crate::small::{self, few, spec};
use crate::training::{Open, devices};
use resnet::backend::cpu::Cpu;
use resnet::data::{Augmentation, Dataset, Preprocess, Split};
use resnet::tensor::DType;
use resnet::train::{Feed, Program, SessionSpec, StepPlans, evaluate_split};

/// The bits of everything that a training in these batches and an evaluation make.
fn bits(spec: &SessionSpec, data: &Dataset, open: Open, epoch: usize) -> Vec<u32> {
    let mut session = small::session(spec, data, open());
    session.set_epoch(epoch);
    let batches = batches();
    for (i, batch) in batches.iter().enumerate() {
        if let Some(next) = batches.get(i + 1) {
            session
                .prefetch(Program::Train, Split::Train, next)
                .unwrap();
        }
        session.train(batch).unwrap();
    }
    let mut all = Vec::new();
    for result in session.results().unwrap() {
        all.extend([result.loss.to_bits(), result.correct]);
    }
    let sums = evaluate_split(&mut session, Split::Test, |session, _| {
        all.extend(session.logits()?.into_iter().map(f32::to_bits));
        Ok(())
    });
    assert_eq!(sums.unwrap().examples, data.test.labels.len() as u64);
    for p in session.params().to_vec() {
        let values = session.read(p.tensor).unwrap();
        all.extend(values.into_iter().map(f32::to_bits));
    }
    all
}

/// The few images, and so few of the test set that an evaluation has a batch and a remainder.
fn fewer() -> Dataset {
    let mut data = few();
    let count = small::BATCH + 3;
    data.test.pixels.truncate(count * data.info.image_bytes());
    data.test.labels.truncate(count);
    data
}

#[test]
fn streamed_images_give_the_same_bits() {
    let data = fewer();
    for (name, open) in devices(DType::F32) {
        for micro in [None, Some(4)] {
            let on = |feed| {
                let spec = SessionSpec {
                    feed,
                    ..spec(micro, true)
                };
                bits(&spec, &data, open, 0)
            };
            assert!(on(Feed::Streamed) == on(Feed::Resident), "{name} {micro:?}");
        }
    }
}

#[test]
fn a_data_set_that_is_too_large_is_streamed() {
    let data = few();
    let splits = [Split::Train, Split::Test];
    let bytes = data.train.pixels.len() + data.test.pixels.len();
    let feed = |memory: usize, max_buffer| {
        let small = Altered {
            memory: Some(memory as u64),
            max_buffer: Some(max_buffer),
            ..Altered::default()
        };
        Feed::choose(&data, &splits, &small).unwrap()
    };
    assert_eq!(feed(2 * bytes, u64::MAX), Feed::Resident);
    assert_eq!(feed(2 * bytes - 2, u64::MAX), Feed::Streamed);
    let test = data.test.pixels.len() as u64;
    assert_eq!(feed(1 << 30, test), Feed::Resident);
    assert_eq!(feed(1 << 30, test - 1), Feed::Streamed);

    // Such a device trains and evaluates, with the data set nowhere in its plans.
    let small = Altered {
        max_buffer: Some(test - 1),
        ..Altered::default()
    };
    let plans = StepPlans::fitting(spec(None, true), None, &data, &small).unwrap();
    assert_eq!(plans.spec().feed, Feed::Streamed);
    assert!(plans.largest_buffer() < test);
    let whole = StepPlans::new(&spec(None, true), &data, resnet::plan::Limits::NONE).unwrap();
    assert!(plans.memory() + test / 2 < whole.memory());
}

#[test]
fn a_flip_is_the_same_as_training_on_mirrored_images() {
    let data = fewer();
    let flip = Augmentation {
        seed: 42,
        flip: true,
    };
    // At the images' own size, so that nothing is rounded.
    let of = |augmentation, feed, micro| SessionSpec {
        preprocess: Preprocess {
            size: data.info.size,
        },
        augmentation,
        feed,
        ..spec(micro, true)
    };
    let all: Vec<u32> = (0..data.train.labels.len() as u32).collect();
    for epoch in [0, 1] {
        let mut mirrored = data.clone();
        let images = mirrored.train.pixels.chunks_exact_mut(784);
        for (image, word) in images.zip(flip.draw(epoch, &all)) {
            if word == 1 {
                image.chunks_exact_mut(28).for_each(<[u8]>::reverse);
            }
        }
        assert_ne!(mirrored, data);
        for (name, open) in devices(DType::F32) {
            for micro in [None, Some(4)] {
                let want = bits(&of(None, Feed::Resident, micro), &mirrored, open, epoch);
                for feed in [Feed::Resident, Feed::Streamed] {
                    let got = bits(&of(Some(flip), feed, micro), &data, open, epoch);
                    assert!(got == want, "{name}, epoch {epoch}, {micro:?}, {feed:?}");
                }
            }
        }
    }
}

#[test]
fn without_augmentation_nothing_of_it_is_in_the_graph() {
    let data = few();
    let found = |augmentation| {
        let spec = SessionSpec {
            augmentation,
            ..spec(None, true)
        };
        let session = small::session(&spec, &data, Box::new(Cpu::new().unwrap()));
        session.graph().find("augmentation.8").is_some()
    };
    assert!(!found(None));
    assert!(found(Some(Augmentation {
        seed: 1,
        flip: true
    })));
}
