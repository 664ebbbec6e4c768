//! Steps in micro-batches with gradients in f16: all passes of a step have one scale, their gradients are added
//! in f32, and an overflow in any of them leaves the update out.
use crate::loss_scale::{ADAMW, distance, params, scaling};
use crate::micro::{Outcome, batches, by_hand, outcome};
use crate::small::{BATCH, OPTIMIZER, few, session, spec};
use crate::training::devices;
use resnet::backend::cpu::Cpu;
use resnet::tensor::DType;
use resnet::train::{Optimizer, Session, SessionSpec};

/// A step's change of all parameters and the optimiser's states, one after another.
fn update(after: &Outcome, before: &Outcome) -> Vec<f32> {
    let states = after.0.iter().filter(|(name, _)| !is_statistic(name));
    let change = |(name, after): (&String, &Vec<f32>)| -> Vec<f32> {
        let before = before.0.get(name).map(|v| v.as_slice());
        let before = before.unwrap_or(&[]).iter().copied();
        let before = before.chain(std::iter::repeat(0.0));
        after.iter().zip(before).map(|(a, b)| a - b).collect()
    };
    states.flat_map(change).collect()
}

/// The running statistics know how many passes there were, and the scale is no part of an update.
fn is_statistic(name: &str) -> bool {
    name.contains("running_") || name == "loss_scale"
}

fn half(micro: Option<usize>, fuse: bool) -> SessionSpec {
    SessionSpec {
        stored: DType::F16,
        ..spec(micro, fuse)
    }
}

fn before() -> Outcome {
    outcome(&half(None, false), &[], Box::new(Cpu::new().unwrap()))
}

/// Another device, and fused kernels, round at other places. Where that flips the sign that a ReLU sees, which
/// happens to 2⁻¹⁰ of the values of each of the five layers, a whole gradient comes or goes: the updates
/// are √(5·2⁻¹⁰) of their length apart.
#[test]
fn passes_in_f16_add_up_to_the_sum_by_hand() {
    let before = before();
    for micro in [4, 6] {
        let wanted = by_hand(micro, 1, DType::F16);
        for (device, open) in devices(DType::F16) {
            for fuse in [false, true] {
                let ours = outcome(&half(Some(micro), fuse), &batches()[..1], open());
                let what = format!("{device}, micro-batch {micro}, fused: {fuse}");
                let apart = distance(&update(&ours, &before), &update(&wanted, &before));
                assert!(apart <= (5.0 * 2.0_f64.powi(-10)).sqrt(), "{what}: {apart}");
                assert_eq!(ours.0["loss_scale"], wanted.0["loss_scale"], "{what}");
            }
        }
    }
}

/// Where all passes have the same examples, BatchNorm's statistics of each are those of the whole batch, which
/// is all that sets them apart: what is stored differs where a sum in another order is rounded the other way,
/// by 2⁻¹⁰ at most.
#[test]
fn passes_alike_add_up_to_the_whole_batch() {
    let before = before();
    let alike: Vec<u32> = (0..4).chain(0..4).collect();
    for (device, open) in devices(DType::F16) {
        for fuse in [false, true] {
            let update = |micro| {
                let after = outcome(&half(micro, fuse), std::slice::from_ref(&alike), open());
                update(&after, &before)
            };
            let apart = distance(&update(Some(4)), &update(None));
            assert!(
                apart <= 2.0_f64.powi(-10),
                "{device}, fused {fuse}: {apart}"
            );
        }
    }
}

/// A network that is certain of class 0: examples of that class have next to no gradient, however it is
/// scaled, and those of others one that overflows.
fn certain(session: &mut Session) {
    let params = session.params();
    let bias = params.iter().find(|p| p.name == "fc.bias").unwrap();
    let (tensor, len) = (bias.tensor, bias.shape.len());
    let values: Vec<f32> = (0..len).map(|c| if c == 0 { 40.0 } else { 0.0 }).collect();
    session.write(tensor, &values).unwrap();
}

#[test]
fn an_overflow_in_any_pass_leaves_the_one_update_out() {
    let adamw = Optimizer {
        rule: ADAMW.into(),
        ..OPTIMIZER
    };
    for optimizer in [OPTIMIZER, adamw] {
        left_out(optimizer);
    }
}

fn left_out(optimizer: Optimizer) {
    let half = |micro, fuse| SessionSpec {
        optimizer: Some(optimizer),
        ..half(micro, fuse)
    };
    let huge = 2.0_f32.powi(40);
    let batch: Vec<u32> = (0..BATCH as u32).collect();
    for (device, open) in devices(DType::F16) {
        for fuse in [false, true] {
            // The labels of the first and of the second pass.
            for (labels, overflows) in [([0, 0], false), ([0, 1], true), ([1, 0], true)] {
                let what = format!("{device}, fused {fuse}, labels {labels:?}");
                let mut data = few();
                for (i, label) in data.train.labels.iter_mut().take(BATCH).enumerate() {
                    *label = labels[i / 4];
                }
                let mut ours = session(&half(Some(4), fuse), &data, open());
                certain(&mut ours);
                let scale = scaling(&ours);
                ours.write(scale, &[huge, 7.0]).unwrap();
                let before = params(&mut ours);
                ours.train(&batch).unwrap();
                let left_out = params(&mut ours) == before;
                assert_eq!(left_out, overflows, "{what}");
                let next = if overflows {
                    [huge / 2.0, 0.0]
                } else {
                    [huge, 8.0]
                };
                assert_eq!(ours.read(scale).unwrap(), next, "{what}");
                if !overflows {
                    continue;
                }
                // Nothing of it is left in the sums of the next step.
                ours.write(scale, &[64.0, 0.0]).unwrap();
                ours.train(&batch).unwrap();
                let mut other = session(&half(Some(4), fuse), &data, open());
                certain(&mut other);
                let scale = scaling(&other);
                other.write(scale, &[64.0, 0.0]).unwrap();
                other.train(&batch).unwrap();
                assert!(params(&mut ours) == params(&mut other), "{what}");
                assert!(params(&mut ours) != before, "{what}");
            }
        }
    }
}
