//! Checkpoints of every version that was ever written: they load, and their runs go on.
use crate::micro::batches;
use crate::small::{BATCH, OPTIMIZER, SIZE, arch, few, session, spec};
use crate::training::{run, sample, tensors};
use crate::tuning::settings;
use crate::update::EMA;
use resnet::backend::cpu::Cpu;
use resnet::data::Preprocess;
use resnet::tensor::DType;
use resnet::train::checkpoint::{self, Average, WeightsFile};
use resnet::train::{Optimizer, Progress, SessionSpec, WeightsInfo};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Runs that stopped after the first step of their second epoch, each by the version that wrote it and what its
/// optimiser keeps: nothing in f32, momenta and a scale of the loss in f16.
const RUNS: [(&str, DType); 3] = [
    ("1-f32", DType::F32),
    ("1-f16", DType::F16),
    ("2-f16", DType::F16),
];

/// A copy of a run, in the folder `run`.
pub fn copy(name: &str) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints");
    let from = from.join(name);
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("run");
    let step = "checkpoints/step-00000003";
    fs::create_dir_all(to.join(step)).unwrap();
    fs::copy(from.join("config.toml"), to.join("config.toml")).unwrap();
    for file in ["weights.safetensors", "state.safetensors"] {
        fs::copy(from.join(file), to.join(step).join(file)).unwrap();
    }
    folder
}

#[test]
fn every_version_is_loaded_as_it_was_saved() {
    for (name, stored) in RUNS {
        let copy = copy(name);
        let from = checkpoint::latest(&copy.path().join("run")).unwrap();
        let info = WeightsFile::read(&checkpoint::weights_in(&from))
            .unwrap()
            .info()
            .unwrap();
        let classes = sample().info.classes;
        assert_eq!(
            info,
            WeightsInfo::new(arch(), Preprocess::of_size(SIZE), classes)
        );

        let spec = SessionSpec {
            stored,
            limit_batches: Some(2),
            optimizer: Some(match stored {
                DType::F16 => OPTIMIZER,
                _ => Optimizer::sgd(0.0, false, OPTIMIZER.weight_decay),
            }),
            ..spec(None, true)
        };
        let mut session = session(&spec, &sample(), Box::new(Cpu::new().unwrap()));
        let progress = checkpoint::load(&mut session, &from).unwrap();
        assert_eq!((progress.epoch, progress.batch, progress.step), (1, 1, 3));
        assert_eq!(progress.examples, 3 * BATCH as u64);
        assert_eq!(progress.history[0].step, 2);
        assert!(progress.history[0].train_loss > 0.0 && progress.sums.loss > 0.0);

        let again = TempDir::new().unwrap();
        let to = checkpoint::save(again.path(), &mut session, &info, &progress, 1).unwrap();
        for file in ["weights.safetensors", "state.safetensors"] {
            let (was, is) = (tensors(&from.join(file)), tensors(&to.join(file)));
            assert!(was == is, "{name}: {file}");
        }
        let state = tensors(&from.join("state.safetensors"));
        assert_eq!(state.contains_key("loss_scale"), stored == DType::F16);
        assert_eq!(
            state.contains_key("momentum.conv1.weight"),
            stored == DType::F16
        );
    }
}

/// A run that is being trained removes its older checkpoints, also while somebody evaluates one.
#[test]
fn what_was_read_of_a_checkpoint_outlives_it() {
    let folder = TempDir::new().unwrap();
    let spec = SessionSpec {
        optimizer: Some(Optimizer {
            ema: Some(EMA),
            ..OPTIMIZER
        }),
        ..spec(None, true)
    };
    let new = || session(&spec, &few(), Box::new(Cpu::new().unwrap()));
    let mut trained = new();
    for batch in batches() {
        trained.train(&batch).unwrap();
    }
    let info = WeightsInfo::new(arch(), Preprocess::of_size(SIZE), few().info.classes);
    let progress = Progress::default();
    let saved = checkpoint::save(folder.path(), &mut trained, &info, &progress, 1).unwrap();

    let weights = WeightsFile::find(folder.path()).unwrap();
    let average = Average::of(&weights).unwrap();
    fs::remove_dir_all(saved).unwrap();
    assert!(WeightsFile::find(folder.path()).is_err());

    let mut read = new();
    weights.load(&mut read).unwrap();
    for p in trained.params().to_vec() {
        assert_eq!(
            read.read(p.tensor).unwrap(),
            trained.read(p.tensor).unwrap()
        );
    }
    average.load(&mut read).unwrap();
    let averages = trained.optimizer_state().to_vec();
    for p in trained.params().to_vec() {
        let name = format!("ema.{}", p.name);
        let (_, state) = averages.iter().find(|(n, _)| *n == name).unwrap();
        assert_eq!(read.read(p.tensor).unwrap(), trained.read(*state).unwrap());
    }
}

#[test]
fn a_run_of_every_version_goes_on() {
    for (name, _) in RUNS {
        let copy = copy(name);
        let folder = copy.path().join("run");
        let mut config = settings(&folder);
        config.run.epochs = 3;
        let cpu = Box::new(Cpu::new().unwrap());
        run(&folder, config, arch(), &sample(), cpu).unwrap();
        let newest = checkpoint::latest(&folder).unwrap();
        assert!(
            newest.ends_with("step-00000006"),
            "{name}: {}",
            newest.display()
        );
    }
}

#[test]
fn weights_of_a_newer_version_are_refused() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("weights.safetensors");
    let written = |metadata: &str| {
        let metadata = HashMap::from([("resnet".to_string(), metadata.to_string())]);
        let scalar = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
        let bytes = safetensors::serialize([("x", scalar)], Some(metadata)).unwrap();
        fs::write(&file, bytes).unwrap();
        format!(
            "{:#}",
            WeightsFile::read(&file)
                .and_then(|file| file.info())
                .unwrap_err()
        )
    };
    let said = written(r#"{"version": 99, "network": "of tomorrow"}"#);
    assert!(
        said.contains("version 99") && said.contains("update resnet"),
        "{said}"
    );
    let said = written(r#"{"version": 2}"#);
    assert!(
        said.contains("weights.safetensors") && said.contains("arch"),
        "{said}"
    );
}
