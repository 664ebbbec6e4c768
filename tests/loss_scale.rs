//! Training with activations and gradients in f16: the cases of the loss's scale, and whole steps.
use crate::case::{Case, plain};
use crate::training::{self, devices, resnet18};
use resnet::data::Preprocess;
use resnet::graph::TensorId;
use resnet::model::initialise;
use resnet::ops::{
    AdamW, AnyFlag, BiasCorrection, Fill, GradientCheck, Rescale, Rule, SCALING, Segment, Sgd,
    Update,
};
use resnet::tensor::{DType, Shape};
use resnet::train::{Feed, Optimizer, Session, SessionSpec, StepPlans, checkpoint};
use std::sync::Arc;
use tempfile::TempDir;

pub const ADAMW: AdamW = AdamW {
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
};

/// What a step does with its scale: as usual, after enough steps without an overflow, and with one in a
/// partial gradient.
pub fn cases() -> Vec<Case> {
    vec![
        step("scaled step", 5.0, None),
        step("scaled step that doubles the scale", 1999.0, None),
        step("scaled step with an overflow", 5.0, Some(f32::INFINITY)),
        step("scaled step with a NaN", 1999.0, Some(f32::NAN)),
    ]
}

fn step(name: &str, clean: f32, overflow: Option<f32>) -> Case {
    plain(name, |c| {
        let scaling = c.g.state("scaling", SCALING);
        let contents = bytemuck::cast_slice(&[1024.0_f32, clean]).to_vec();
        c.data.push((scaling, contents));
        let seed = Fill {
            value: 0.25,
            shape: Shape([3, 1, 1, 1]),
        };
        c.g.push1(seed, &[scaling])?;
        let g = c.uniform("g", [1, 1, 1, 2400], -1.0, 1.0);
        if let (Some(value), Some((_, bytes))) = (overflow, c.data.last_mut()) {
            bytes[4 * 2150..4 * 2151].copy_from_slice(&value.to_le_bytes());
        }
        let segment = |p, len, g, partials| Segment {
            partials,
            weight_decay: 0.03125,
            ..Segment::new(p, len, g)
        };
        let segments = vec![segment(0, 1100, 0, 2), segment(1100, 40, 2300, 1)];
        let check = GradientCheck {
            segments: segments.clone(),
        };
        let flags = c.g.push1(check, &[g])?;
        let any = c.g.push1(AnyFlag, &[flags])?;
        let segments_of_none = vec![segment(0, 40, 2300, 1)];
        let none = GradientCheck {
            segments: segments_of_none,
        };
        let none = c.g.push1(none, &[g])?;
        let overflow = c.g.push1(AnyFlag, &[none, any])?;
        let lr = c.uniform("lr", [1, 1, 1, 1], 0.05, 0.1);
        let step = c.g.push_update(Rescale, &[lr, overflow], &[scaling])?[0];
        let sgd = |momentum, nesterov| Rule::from(Sgd { momentum, nesterov });
        let correction = c.state("correction", [1, 1, 1, 2], 0.1, 0.5);
        let rates = vec![0.1, 0.001];
        c.g.push_update(BiasCorrection { rates }, &[step], &[correction])?;
        for rule in [sgd(0.0, false), sgd(0.9, true), ADAMW.into()] {
            let formula = rule.def().formula();
            let tensor = |name: &&str| {
                let name = format!("{}.{name}", formula.name);
                c.state(&name, [1, 1, 1, 1140], 0.0, 1.0)
            };
            let states: Vec<TensorId> = ["p"].iter().chain(formula.states).map(tensor).collect();
            let update = Update {
                rule,
                segments: segments.clone(),
                len: 1140,
            };
            let inputs = [g, step, correction];
            let count = if formula.averages > 0 { 3 } else { 2 };
            c.g.push_update(update, &inputs[..count], &states)?;
        }
        Ok(())
    })
}

/// The state of the scale.
pub fn scaling(session: &Session) -> TensorId {
    let of_scale = |(name, _): &&(String, TensorId)| name == "loss_scale";
    session.optimizer_state().iter().find(of_scale).unwrap().1
}

/// The parameters that are trained, and the optimiser's states but for the scale.
pub fn params(session: &mut Session) -> Vec<Vec<f32>> {
    let trainable: Vec<TensorId> = session
        .params()
        .iter()
        .filter(|p| p.trainable())
        .map(|p| p.tensor)
        .collect();
    let states = session.optimizer_state().iter();
    let states: Vec<TensorId> = states
        .filter(|(name, _)| name != "loss_scale")
        .map(|state| state.1)
        .collect();
    let all = trainable.into_iter().chain(states);
    all.map(|t| session.read(t).unwrap()).collect()
}

/// f16 keeps 11 digits: the first loss is within a few units of the last of them. Where rounding flips the sign
/// that a ReLU sees, a whole gradient comes or goes. That happens to about 2⁻¹⁰ of the values of each of the
/// ten layers, so the updates are √(10·2⁻¹⁰) of their length apart: in the mean of some batches, since in a single one
/// few flips of late layers decide. The scale itself changes next to nothing.
#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn a_step_in_f16_is_close_to_one_in_f32() {
    let batches = [0, 32, 64, 96].map(|first| (first..first + 32).collect::<Vec<u32>>());
    for (name, open) in devices(DType::F16) {
        for fuse in [false, true] {
            let step = |indices: &[u32], stored, scale: f32| {
                let mut session = training::session_on(open(), 32, stored, fuse);
                session.set_learning_rate(1.0).unwrap();
                if stored == DType::F16 {
                    let scaling = scaling(&session);
                    session.write(scaling, &[scale, 0.0]).unwrap();
                }
                let before = params(&mut session).concat();
                session.train(indices).unwrap();
                let after = params(&mut session).concat();
                let update: Vec<f32> = after.iter().zip(before).map(|(a, b)| a - b).collect();
                (session.results().unwrap()[0].loss, update)
            };
            let mut squares = Vec::new();
            for indices in &batches {
                let (single, of_single) = step(indices, DType::F32, 1.0);
                let (half, of_half) = step(indices, DType::F16, 256.0);
                assert!(
                    (half - single).abs() <= 2.0_f32.powi(-9) * single,
                    "{name}, fused {fuse}: {half}, not {single}"
                );
                squares.push(distance(&of_half, &of_single).powi(2));
                let apart = distance(&step(indices, DType::F16, 64.0).1, &of_half);
                assert!(
                    apart <= 2.0_f64.powi(-10),
                    "{name}, fused {fuse}: with other scales the updates are {apart} apart"
                );
            }
            let mean = squares.iter().sum::<f64>() / squares.len() as f64;
            assert!(
                mean > 0.0 && mean <= 10.0 * 2.0_f64.powi(-10),
                "{name}, fused {fuse}: the updates are apart by the roots of {squares:?}"
            );
        }
    }
}

/// The length of the difference, relative to that of `want`.
pub fn distance(got: &[f32], want: &[f32]) -> f64 {
    let squares = |(a, b): (&f32, &f32)| (f64::from(*a) - f64::from(*b)).powi(2);
    let error: f64 = got.iter().zip(want).map(squares).sum();
    let length: f64 = want.iter().map(|&v| f64::from(v).powi(2)).sum();
    (error / length).sqrt()
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn an_overflow_leaves_the_update_out_and_halves_the_scale() {
    let adamw = Optimizer {
        rule: ADAMW.into(),
        ..Optimizer::sgd(0.0, false, 0.01)
    };
    for (name, open) in devices(DType::F16) {
        let optimizers = [Optimizer::sgd(0.9, false, 0.0), adamw];
        for (fuse, optimizer) in [false, true]
            .into_iter()
            .flat_map(|fuse| optimizers.map(|optimizer| (fuse, optimizer)))
        {
            let mut session = training::session_with(optimizer, open(), 4, DType::F16, fuse);
            session.set_learning_rate(1e-2).unwrap();
            let scale = scaling(&session);
            assert_eq!(session.read(scale).unwrap(), [256.0, 0.0], "{name}");
            let huge = 2.0_f32.powi(40);
            session.write(scale, &[huge, 7.0]).unwrap();
            let before = params(&mut session);
            session.train(&[0, 1, 2, 3]).unwrap();
            assert!(params(&mut session) == before, "{name}, fused {fuse}");
            assert_eq!(session.read(scale).unwrap(), [huge / 2.0, 0.0], "{name}");
            session.write(scale, &[64.0, 7.0]).unwrap();
            session.train(&[0, 1, 2, 3]).unwrap();
            assert!(params(&mut session) != before, "{name}, fused {fuse}");
            assert_eq!(session.read(scale).unwrap(), [64.0, 8.0], "{name}");
            let losses = session.results().unwrap();
            let finite = losses.iter().all(|r| r.loss.is_finite() && r.loss < 10.0);
            assert!(finite, "{name}: {losses:?}");
        }
    }
}

/// The chapter's network, with the batch that has the largest gradients.
#[test]
#[ignore = "a minute on a software adapter: scripts/test.sh --all"]
fn the_first_steps_are_not_wasted() {
    let data = training::sample();
    let spec = SessionSpec {
        arch: resnet18(1),
        batch_size: 4,
        micro_batch: None,
        preprocess: Preprocess::of_size(28),
        feed: Feed::Resident,
        augmentation: None,
        views: false,
        limit_batches: Some(1),
        optimizer: Some(Optimizer::sgd(0.0, false, 0.0)),
        fuse: true,
        stored: DType::F16,
        tilings: Default::default(),
    };
    for (name, open) in devices(DType::F16) {
        let backend = open();
        let prepared = StepPlans::new(&spec, &data, backend.limits()).unwrap();
        let mut session = Session::open(prepared, Arc::new(data.clone()), backend).unwrap();
        for (tensor, values) in initialise(session.params(), 0) {
            session.write(tensor, &values).unwrap();
        }
        session.set_learning_rate(0.05).unwrap();
        let scale = scaling(&session);
        for step in 0..4 {
            let indices: Vec<u32> = (4 * step..4 * step + 4).collect();
            session.train(&indices).unwrap();
        }
        assert_eq!(session.read(scale).unwrap(), [256.0, 4.0], "{name}");
    }
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn a_resumed_run_in_f16_has_the_bits_of_an_unbroken_one() {
    for (name, open) in devices(DType::F16) {
        let (unbroken, broken) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        training::train(unbroken.path(), open(), 2, DType::F16);
        training::train(broken.path(), open(), 1, DType::F16);
        training::train(broken.path(), open(), 2, DType::F16);
        for file in ["weights.safetensors", "state.safetensors"] {
            let tensors = |folder: &TempDir| {
                let newest = checkpoint::latest(folder.path()).unwrap();
                training::tensors(&newest.join(file))
            };
            let (unbroken, broken) = (tensors(&unbroken), tensors(&broken));
            assert!(unbroken == broken, "{name}: {file} differs");
            let scaled = unbroken.contains_key("loss_scale");
            assert_eq!(scaled, file == "state.safetensors");
        }
    }
}
