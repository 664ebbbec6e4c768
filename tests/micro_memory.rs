//! What steps in micro-batches need: memory, a log of their results, and the number that `auto` takes.
use crate::altered::Altered;
use crate::small::{config, session, spec, train_in};
use crate::training::sample;
use resnet::backend::cpu::Cpu;
use resnet::config::MicroBatch;
use resnet::data::Preprocess;
use resnet::plan::Limits;
use resnet::tensor::DType;
use resnet::train::{SessionSpec, StepPlans, micro_batch};
use tempfile::TempDir;

#[test]
fn micro_batches_need_less_memory() {
    let memory = |micro_batch, fuse| {
        let spec = SessionSpec {
            batch_size: 256,
            ..spec(micro_batch, fuse)
        };
        let prepared = StepPlans::new(&spec, &sample(), Limits::NONE).unwrap();
        prepared.memory()
    };
    for fuse in [false, true] {
        let whole = memory(None, fuse);
        assert_eq!(memory(Some(256), fuse), whole);
        let (half, eighth) = (memory(Some(128), fuse), memory(Some(32), fuse));
        assert!(half < whole * 3 / 4, "{half} {whole}");
        assert!(eighth < whole / 2, "{eighth} {whole}");
    }
}

#[test]
fn the_log_is_read_before_it_is_full() {
    let data = sample();
    let spec = SessionSpec {
        batch_size: 1200,
        ..spec(Some(2), true)
    };
    let mut session = session(&spec, &data, Box::new(Cpu::new().unwrap()));
    assert!(!session.is_full());
    let indices: Vec<u32> = (0..1200).collect();
    session.train(&indices).unwrap();
    assert!(session.is_full());
    assert_eq!(session.results().unwrap().len(), 1);
    assert!(!session.is_full());
    let spec = SessionSpec {
        batch_size: 2050,
        ..spec
    };
    let mut many = data;
    many.train.labels.resize(2050, 0);
    let error = StepPlans::new(&spec, &many, Limits::NONE).err().unwrap();
    assert!(
        error.to_string().contains("1025 micro-batches"),
        "{error:#}"
    );
}

/// A device with so much memory, and buffers of so many bytes at most.
fn small(memory: u64, max_buffer: u64) -> Altered {
    Altered {
        name: Some("a small device"),
        memory: Some(memory),
        max_buffer: Some(max_buffer),
        ..Altered::default()
    }
}

#[test]
fn auto_takes_the_largest_part_that_fits() {
    let data = sample();
    let spec = SessionSpec {
        batch_size: 64,
        preprocess: Preprocess::of_size(64),
        limit_batches: Some(2),
        ..spec(None, true)
    };
    let needed = |micro_batch| {
        let spec = SessionSpec {
            micro_batch,
            ..spec.clone()
        };
        let prepared = StepPlans::new(&spec, &data, Limits::NONE).unwrap();
        (prepared.memory(), prepared.largest_buffer())
    };
    let auto = |small: &Altered| {
        let auto = Some(MicroBatch::Auto);
        micro_batch(auto, &spec, &data, small).unwrap()
    };
    let (whole, buffer) = needed(None);
    let (half, _) = needed(Some(32));
    let (quarter, _) = needed(Some(16));
    assert_eq!(auto(&small(whole, u64::MAX)), Some(64));
    assert_eq!(auto(&small(whole - 1, u64::MAX)), Some(32));
    assert_eq!(auto(&small(half, u64::MAX)), Some(32));
    assert_eq!(auto(&small(half - 1, u64::MAX)), Some(16));
    assert_eq!(auto(&small(quarter, u64::MAX)), Some(16));
    assert_eq!(auto(&small(whole, buffer)), Some(64));
    assert_eq!(auto(&small(whole, buffer - 1)), Some(32));

    let refused = |small: &Altered| {
        let prepared = StepPlans::new(&spec, &data, Limits::NONE).unwrap();
        let error = prepared.check_memory(&data, small).unwrap_err();
        error.to_string()
    };
    let said = refused(&small(half, u64::MAX));
    assert!(said.contains("a small device has"), "{said}");
    assert!(said.contains("--micro-batch 32"), "{said}");
    assert!(said.contains("--batch-size 3"), "{said}");
    let said = refused(&small(whole, buffer - 1));
    assert!(said.contains("a small device allows"), "{said}");
    assert!(said.contains("--micro-batch"), "{said}");
    let said = refused(&small(1 << 10, u64::MAX));
    assert!(said.contains("no batch size would fit"), "{said}");
    // What fits not at all is refused as it stands.
    assert_eq!(auto(&small(1 << 10, u64::MAX)), Some(64));
}

#[test]
fn what_the_cpu_takes_to_widen_f16_counts() {
    let data = sample();
    let spec = SessionSpec {
        batch_size: 64,
        limit_batches: Some(2),
        stored: DType::F16,
        ..spec(None, true)
    };
    let prepared = StepPlans::new(&spec, &data, Limits::NONE).unwrap();
    let fits = |memory| {
        let small = small(memory, u64::MAX);
        prepared.check_memory(&data, &small).is_ok()
    };
    // The gradient of the stem's pooling is 64 × 16 × 16 × 8, and made from a tensor as large and a small one.
    let both = 2 * 4 * 64 * 16 * 16 * 8;
    assert!(!fits(prepared.memory() + both));
    assert!(fits(prepared.memory() + 2 * both));
}

#[test]
fn a_run_that_does_not_fit_is_not_told_to_resume_with_other_settings() {
    let folder = TempDir::new().unwrap();
    let train = |memory, epochs| {
        let device = Box::new(small(memory, u64::MAX));
        train_in(folder.path(), config(None, epochs), device)
    };
    train(u64::MAX, 1).unwrap();
    let said = train(1 << 10, 2).unwrap_err().to_string();
    let init = format!(" train --init {}", folder.path().display());
    for word in [
        "batch size 8 at 32×32 needs",
        "a resumed run keeps its settings",
        "--device",
        &init,
        "weights.safetensors",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
}
