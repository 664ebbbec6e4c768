//! The order of precedence, what is refused, and what a resumed run may change.
use super::*;

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    file
}

fn tilings() -> TuningTable {
    TuningTable(
        [(
            "conv2d.forward 1×2×3×4".to_string(),
            "128x64 by 7".parse().unwrap(),
        )]
        .into(),
    )
}

#[test]
fn the_chapters_file_says_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/d2l.toml");
    assert_eq!(
        resolve(Some(&path), &Overrides::default()).unwrap(),
        TrainConfig::default()
    );
}

#[test]
fn every_key_is_known_to_files() {
    let all = toml::Table::try_from(TrainConfig {
        data: Some(String::new()),
        out: Some(PathBuf::new()),
        limit_batches: Some(1),
        micro_batch: Some(MicroBatch::Auto),
        save_every: Some(1),
        tilings: tilings(),
        ..TrainConfig::default()
    });
    let mut keys: Vec<String> = all.unwrap().keys().cloned().collect();
    let mut known = KEYS.to_vec();
    keys.sort();
    known.sort();
    assert_eq!(keys, known);
}

#[test]
fn flags_beat_the_file_and_the_file_the_defaults() {
    let file = file("lr = 0.1\nepochs = 3\nshuffle = false\n");
    let flags = Overrides {
        lr: Some(0.2),
        ..Overrides::default()
    };
    let config = resolve(Some(file.path()), &flags).unwrap();
    assert_eq!((config.lr, config.epochs, config.shuffle), (0.2, 3, false));
    assert_eq!(config.batch_size, 256);
}

#[test]
fn an_unknown_key_names_the_nearest() {
    let error = resolve(Some(file("momentun = 0.9").path()), &Overrides::default()).unwrap_err();
    assert!(format!("{error:#}").contains("`momentum`"), "{error:#}");
}

#[test]
fn wrong_values_are_named() {
    let says = |text: &str, word: &str| {
        let error = resolve(Some(file(text).path()), &Overrides::default()).unwrap_err();
        assert!(format!("{error:#}").contains(word), "{error:#}");
    };
    says("epochs = \"ten\"", "epochs");
    says("lr = -0.1", "--lr -0.1");
    says("momentum = 1.0", "--momentum 1");
    says("batch_size = 1", "--batch-size 1");
    says("micro_batch = 1", "--micro-batch 1");
    says("micro_batch = \"half\"", "micro_batch");
    says("save_every = 0", "--save-every 0");
    says("limit_batches = 0", "--limit-batches 0");
}

#[test]
fn a_resumed_run_keeps_what_decides_its_bits() {
    let more = Overrides {
        epochs: Some(20),
        ..Overrides::default()
    };
    assert_eq!(more.resume(TrainConfig::default()).unwrap().epochs, 20);
    let other = Overrides {
        seed: Some(1),
        ..Overrides::default()
    };
    assert!(other.resume(TrainConfig::default()).is_err());
    let halved = Overrides {
        precision: Some(Precision::F16),
        ..Overrides::default()
    };
    assert!(halved.resume(TrainConfig::default()).is_err());
    for (name, precision) in [("f16", Precision::F16), ("bf16", Precision::Bf16)] {
        let text = format!("precision = \"{name}\"");
        let run = resolve(Some(file(&text).path()), &more).unwrap();
        assert_eq!(run.precision, precision);
        assert_eq!(more.resume(run).unwrap().precision, precision);
    }
    let parts = Overrides {
        micro_batch: Some(MicroBatch::Examples(64)),
        ..Overrides::default()
    };
    assert!(parts.resume(TrainConfig::default()).is_err());
}

#[test]
fn a_micro_batch_is_a_number_or_auto() {
    for (text, micro_batch) in [
        ("micro_batch = 64", MicroBatch::Examples(64)),
        ("micro_batch = \"auto\"", MicroBatch::Auto),
    ] {
        let config = resolve(Some(file(text).path()), &Overrides::default()).unwrap();
        assert_eq!(config.micro_batch, Some(micro_batch));
        let written = toml::to_string(&config).unwrap();
        assert!(written.contains(text), "{written}");
    }
}

#[test]
fn a_runs_tilings_are_written_and_read_and_yield_to_deterministic() {
    let tuned = TrainConfig {
        tilings: tilings(),
        ..TrainConfig::default()
    };
    let text = toml::to_string(&tuned).unwrap();
    assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), tuned);
    let file = file(&text);
    let run = resolve(Some(file.path()), &Overrides::default()).unwrap();
    assert_eq!(run, tuned);
    let deterministic = Overrides {
        deterministic: Some(true),
        ..Overrides::default()
    };
    let by_shape = resolve(Some(file.path()), &deterministic).unwrap();
    assert!(by_shape.tilings.is_empty());
    // What a run was tuned to is part of its bits.
    assert!(deterministic.resume(run.clone()).is_err());
    assert_eq!(Overrides::default().resume(run).unwrap(), tuned);
    let wrong = text.replace("128x64", "100x64");
    let error = toml::from_str::<TrainConfig>(&wrong)
        .unwrap_err()
        .to_string();
    assert!(error.contains("none of 128x128"), "{error}");
}
