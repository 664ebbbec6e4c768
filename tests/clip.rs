//! Gradient clipping: its cases, and whole steps whose update it shortens.
use crate::case::{Case, plain};
use crate::micro::batches;
use crate::small::{LR, few, session, shallow, spec};
use crate::training::devices;
use resnet::ops::{AddSquares, Clip, GradientSquares, Segment, Sgd, Update};
use resnet::tensor::DType;
use resnet::train::{Optimizer, Session, SessionSpec};

/// Norms of two packs, with a learning rate alone and with a step that has a scale or is left out.
pub fn cases() -> Vec<Case> {
    let clipped = |name: &str, norm: f32, unscale: Option<f32>| {
        plain(name, move |c| {
            let partials = |partials, s: Segment| Segment { partials, ..s };
            let segments = vec![
                partials(2, Segment::new(0, 1100, 0)),
                Segment::new(1100, 40, 2300),
                partials(0, Segment::new(1140, 60, 0)),
            ];
            let g = c.uniform("g", [1, 1, 1, 2400], -1.0, 1.0);
            let other = c.uniform("other", [1, 1, 1, 3000], -1.0, 1.0);
            let squares = GradientSquares {
                segments: segments.clone(),
            };
            let squares = c.g.push1(squares, &[g])?;
            let first = c.g.push1(AddSquares, &[squares])?;
            let squares = GradientSquares {
                segments: vec![Segment::new(0, 3000, 0)],
            };
            let squares = c.g.push1(squares, &[other])?;
            let all = c.g.push1(AddSquares, &[squares, first])?;
            let step = match unscale {
                None => c.uniform("lr", [1, 1, 1, 1], 0.05, 0.1),
                Some(unscale) => {
                    let step = c.uniform("step", [1, 1, 1, 2], 0.05, 0.1);
                    let (_, bytes) = c.data.last_mut().unwrap();
                    bytes[4..].copy_from_slice(&unscale.to_le_bytes());
                    step
                }
            };
            let step = c.g.push1(Clip { norm }, &[step, all])?;
            let p = c.state("p", [1, 1, 1, 1200], -1.0, 1.0);
            let update = Update {
                rule: Sgd {
                    momentum: 0.0,
                    nesterov: false,
                }
                .into(),
                segments,
                len: 1200,
            };
            c.g.push_update(update, &[g, step], &[p])?;
            Ok(())
        })
    };
    vec![
        clipped("clip", 1.0, None),
        clipped("clip that leaves a short gradient", 1000.0, None),
        clipped("clip of a scaled gradient", 0.01, Some(0.0009765625)),
        clipped("clip of a step that is left out", 1.0, Some(0.0)),
    ]
}

/// The change of all trained parameters by a step on some images without momentum and decay, in units of the learning rate.
fn change(session: &mut Session, batch: &[u32]) -> Vec<f64> {
    let params: Vec<_> = session
        .params()
        .iter()
        .filter(|p| p.trainable())
        .cloned()
        .collect();
    let read = |session: &mut Session| -> Vec<f64> {
        let values = params.iter().flat_map(|p| session.read(p.tensor).unwrap());
        values.map(f64::from).collect()
    };
    let before = read(session);
    session.train(batch).unwrap();
    let after = read(session);
    before
        .iter()
        .zip(after)
        .map(|(a, b)| (a - b) / f64::from(LR))
        .collect()
}

fn norm(of: &[f64]) -> f64 {
    of.iter().map(|v| v * v).sum::<f64>().sqrt()
}

#[test]
fn a_long_gradient_is_shortened_and_a_short_one_is_left_alone() {
    for stored in [DType::F32, DType::F16] {
        for (name, open) in devices(stored) {
            for (micro, fuse) in [(None, true), (None, false), (Some(4), true)] {
                let what = format!("{name}, {stored}, micro-batch {micro:?}, fused {fuse}");
                let step = |clip| {
                    let spec = SessionSpec {
                        arch: shallow(),
                        stored,
                        optimizer: Some(Optimizer {
                            clip,
                            ..Optimizer::sgd(0.0, false, 0.0)
                        }),
                        ..spec(micro, fuse)
                    };
                    change(&mut session(&spec, &few(), open()), &batches()[0])
                };
                let plain = step(None);
                let whole = norm(&plain);
                let long = step(Some(2.0 * whole as f32));
                assert!(long == plain, "{what}");
                let wanted = 0.25 * whole;
                let short = step(Some(wanted as f32));
                assert!((norm(&short) / wanted - 1.0).abs() < 1e-3, "{what}");
                let along: f64 = short.iter().zip(&plain).map(|(a, b)| a * b).sum();
                assert!(
                    along / whole / wanted > 0.99999,
                    "{what}: another direction"
                );
            }
        }
    }
}
