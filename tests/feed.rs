//! How the examples get to the device: on it from the start, or sent step by step; augmented or not.
use crate::altered::Altered;
use crate::cli::resnet;
use crate::micro::batches;
use crate::small::{self, few, spec, train_in};
use crate::training::{Open, devices, tensors};
use assert_cmd::Command;
use predicates::str::contains;
use resnet::backend::cpu::Cpu;
use resnet::config::{FeedName, ValSplit};
use resnet::data::{Augmentation, Dataset, Flip, Preprocess, Split};
use resnet::ops::{AUGMENTATION_WORDS, Change};
use resnet::tensor::DType;
use resnet::train::{Feed, Program, SessionSpec, StepPlans, checkpoint, evaluate_split};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

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
        Feed::choose(FeedName::Auto, &data, &splits, &small).unwrap()
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
    let plans = StepPlans::fitting(spec(None, true), FeedName::Auto, None, &data, &small).unwrap();
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
        flip: Flip::Random,
        ..Augmentation::default()
    };
    // At the images' own size, so that nothing is rounded.
    let of = |augmentation, feed, micro| SessionSpec {
        preprocess: Preprocess::of_size(data.info.size),
        augmentation,
        feed,
        ..spec(micro, true)
    };
    let all: Vec<u32> = (0..data.train.labels.len() as u32).collect();
    for epoch in [0, 1] {
        let mut mirrored = data.clone();
        let images = mirrored.train.pixels.chunks_exact_mut(784);
        let words = flip.draw(epoch, &all, 28);
        for (image, words) in images.zip(words.chunks(AUGMENTATION_WORDS)) {
            if Change::of(words).mirror {
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
        flip: Flip::Random,
        ..Augmentation::default()
    })));
}

/// Trains on ten of the few images and validates on four, in a run of `folder`, whose folder it returns.
fn validated(folder: &Path, epochs: usize, augmented: bool) -> PathBuf {
    let run = folder.join("run");
    let mut config = small::config(None, epochs);
    config.training.val_split = Some(ValSplit::Images(4));
    if augmented {
        config.augment.flip_alternating = true;
        config.augment.shift = 3;
        config.augment.rotate = 10.0;
        config.augment.erase = 0.5;
        config.augment.cutout = 5;
    }
    train_in(&run, config, Box::new(Cpu::new().unwrap())).unwrap();
    run
}

#[test]
fn a_run_with_validation_images_and_augmentation_goes_on_with_the_same_bits() {
    let weights = |run: &Path| tensors(&checkpoint::weights_of(run).unwrap());
    let [whole, parts, plain] = [(); 3].map(|()| TempDir::new().unwrap());
    let want = weights(&validated(whole.path(), 3, true));
    validated(parts.path(), 1, true);
    assert!(weights(&validated(parts.path(), 3, true)) == want);
    assert!(weights(&validated(plain.path(), 3, false)) != want);
}

#[test]
fn the_best_epoch_is_chosen_on_validation_images() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let args = "train --data sample --device cpu --image-size 28 --batch-size 8 --limit-batches 3 --epochs 4 \
                --val-split 300 --out";
    let mut command = Command::cargo_bin("resnet").unwrap();
    command.args(args.split_whitespace()).arg(&run);
    let said = predicates::str::contains("the best by validation");
    command.assert().success().stderr(said);
    let mut csv = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
    let columns: Vec<String> = csv.headers().unwrap().iter().map(String::from).collect();
    assert!(
        ["val_loss", "val_acc"]
            .iter()
            .all(|c| columns.iter().any(|k| k == c))
    );
    assert!(!columns.iter().any(|column| column.starts_with("test")));
    let column = |name: &str| columns.iter().position(|column| column == name).unwrap();
    let (mut best, mut last) = ((-1.0, 0), 0);
    for row in csv.records() {
        let row = row.unwrap();
        let acc: f64 = row[column("val_acc")].parse().unwrap();
        assert!((0.0..=1.0).contains(&acc), "{acc}");
        last = row[column("step")].parse().unwrap();
        if acc > best.0 {
            best = (acc, last);
        }
    }
    let kept = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let kept: BTreeSet<String> = kept
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let number = |name: &String| name.strip_prefix("step-").unwrap().parse::<u64>().unwrap();
    let kept: BTreeSet<u64> = kept.iter().map(number).collect();
    assert_eq!(kept, BTreeSet::from([best.1, last]));
}

/// The sheet has a row for every class: the image, and what it becomes in the first epochs.
#[test]
fn the_sheet_of_augmented_images_shows_what_is_trained_on() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("sheet.png");
    let sheet = |flags: &[&str]| {
        let mut command = resnet();
        command.args(["data", "sample", "--image-size", "28", "--augmented"]);
        command.arg(&file).args(flags).assert()
    };
    sheet(&[]).code(2).stderr(contains(
        "--augmented shows what augmentation does, but there is none",
    ));
    sheet(&["--shift", "28"]).code(2).stderr(contains(
        "--shift 28: must be less than the side of the images, 28",
    ));
    assert!(!file.exists());
    sheet(&["--flip-alternating"]).success();
    let picture = image::open(&file).unwrap().into_luma8();
    assert_eq!(picture.dimensions(), (302, 302));
    let cell = |row: u32, column: u32, mirrored: bool| -> Vec<u8> {
        let x = |x: u32| if mirrored { 27 - x } else { x };
        let at = |cell: u32, i: u32| 2 + cell * 30 + i;
        let pixels =
            (0..28 * 28).map(|i| picture.get_pixel(at(column, x(i % 28)), at(row, i / 28)));
        pixels.map(|pixel| pixel.0[0]).collect()
    };
    let mut sides = [0; 2];
    for row in 0..10 {
        let image = cell(row, 0, false);
        assert_ne!(image, cell(row, 0, true));
        let first = cell(row, 1, false) == image;
        sides[usize::from(first)] += 1;
        for column in 1..10 {
            let mirrored = (column % 2 == 1) != first;
            assert_eq!(cell(row, column, mirrored), image, "{row}, {column}");
        }
    }
    assert!(sides.iter().all(|count| *count > 0), "{sides:?}");
}
