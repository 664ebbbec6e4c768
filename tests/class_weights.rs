//! Classes that count by their weights in the loss: PyTorch's values, and what becomes of them in a step.
use crate::case::plain;
use crate::device;
use crate::micro::outcome;
use crate::small::{BATCH, LR, few, session, shallow, spec};
use crate::training::devices;
use resnet::data::Dataset;
use resnet::graph::backward;
use resnet::ops::Fill;
use resnet::tensor::{DType, Shape, TensorDesc};
use resnet::train::{Optimizer, SessionSpec};

const LOGITS: [f32; 12] = [
    1.0, -2.0, 0.5, 3.0, 0.25, 4.0, -1.0, 2.0, -3.0, 0.0, 1.5, -0.5,
];
const LABELS: [u32; 3] = [0, 1, 3];
const WEIGHTS: [f32; 4] = [0.5, 2.0, 0.0, 1.25];

/// Label smoothing; `CrossEntropyLoss(weight=WEIGHTS, reduction="none", label_smoothing=…)` in float64, and the gradient of
/// its mean over the examples.
const WANTED: [(f32, [f32; 3], [f32; 12]); 2] = [
    (
        0.0,
        [1.101_126_7, 0.306_456_47, 2.893_125],
        [
            -0.148_241_04,
            0.000_917_358,
            0.011_175_707,
            0.136_147_98,
            0.013_451_114,
            -0.094_710_74,
            0.003_853_809,
            0.077_405_82,
            0.003_379_698,
            0.067_883_06,
            0.304_230_76,
            -0.375_493_5,
        ],
    ),
    (
        0.1,
        [1.284_975_3, 0.399_550_97, 2.827_047],
        [
            -0.134_128_8,
            -0.015_669_04,
            0.012_153_581,
            0.137_644_26,
            0.008_569_857,
            -0.075_095_9,
            0.003_649_075,
            0.062_876_97,
            -0.000_871_461,
            0.049_519_31,
            0.296_625,
            -0.345_272_84,
        ],
    ),
];

#[test]
fn a_weighted_loss_and_its_gradient_are_pytorchs() {
    for (smoothing, losses, gradients) in WANTED {
        let mut made = None;
        let case = plain("weighted", |c| {
            let g = &mut c.g;
            let logits = g.input("logits", TensorDesc::f32(Shape([3, 1, 1, 4])));
            let labels = g.input("labels", TensorDesc::u32(Shape::examples(3)));
            let weights = g.state("weights", TensorDesc::f32(Shape::channels(4)));
            let [losses, _] = g.cross_entropy(logits, labels, Some(weights), smoothing)?;
            let (value, shape) = (1.0 / 3.0, Shape::examples(3));
            let seed = g.push1(Fill { value, shape }, &[])?;
            let nodes = 0..g.nodes().len();
            let dlogits = backward(g, nodes, &[(losses, seed)])?[&logits];
            c.data = vec![
                (logits, bytemuck::cast_slice(&LOGITS).to_vec()),
                (labels, bytemuck::cast_slice(&LABELS).to_vec()),
                (weights, bytemuck::cast_slice(&WEIGHTS).to_vec()),
            ];
            made = Some([losses, dlogits]);
            Ok(())
        });
        let made = made.unwrap();
        for (name, open) in devices(DType::F32) {
            let mut backend = open();
            let plan = device::whole(&case, &made, backend.as_ref()).unwrap();
            let after = device::run(&case, plan, backend.as_mut()).unwrap();
            for (t, wanted) in made.iter().zip([&losses[..], &gradients[..]]) {
                for (got, wanted) in device::floats(&after[t]).iter().zip(wanted) {
                    assert!((got - wanted).abs() < 1e-6, "{name}: {got}, not {wanted}");
                }
            }
        }
    }
}

/// Twelve images of class 0 in front, and two of class 1.
fn uneven() -> Dataset {
    let mut data = few();
    data.train.labels = vec![0; 14];
    data.train.labels[12..].fill(1);
    data
}

fn balanced(micro_batch: Option<usize>, balanced: bool, fuse: bool) -> SessionSpec {
    SessionSpec {
        arch: shallow(),
        optimizer: Some(Optimizer {
            balanced,
            ..Optimizer::sgd(0.0, false, 0.0)
        }),
        ..spec(micro_batch, fuse)
    }
}

#[test]
fn an_image_counts_inversely_to_the_images_of_its_class() {
    for (name, open) in devices(DType::F32) {
        for fuse in [false, true] {
            let loss = |weighted: bool, batch: &[u32]| {
                let mut session = session(&balanced(None, weighted, fuse), &uneven(), open());
                session.train(batch).unwrap();
                session.results().unwrap()[0].loss
            };
            // 14 images of two classes, of which twelve are of this one.
            let batch: Vec<u32> = (0..BATCH as u32).collect();
            let ratio = loss(true, &batch) / loss(false, &batch);
            let wanted = 14.0 / (2.0 * 12.0);
            assert!((ratio - wanted).abs() < 1e-5, "{name}, {fuse}: {ratio}");
        }
    }
}

/// Whatever the classes of its images, each pass counts by their number: the step is the mean of two on half of them.
#[test]
fn micro_batches_of_weighted_classes_add_up() {
    let data = few();
    let batch: Vec<u32> = (0..8).collect();
    for (name, open) in devices(DType::F32) {
        let before = outcome(&balanced(None, true, true), &[], open()).0;
        let halves = SessionSpec {
            batch_size: 4,
            ..balanced(None, true, true)
        };
        let half = |of: &[u32]| outcome(&halves, &[of.to_vec()], open());
        let [(first, one), (second, two)] = [half(&batch[..4]), half(&batch[4..])];
        let (whole, results) = outcome(
            &balanced(Some(4), true, true),
            std::slice::from_ref(&batch),
            open(),
        );
        let mean = (one[0].0 + two[0].0) / 2.0;
        assert!((results[0].0 - mean).abs() < 1e-5 * mean, "{name}");
        for (param, was) in &before {
            if param.contains("running") {
                continue;
            }
            let moved = first[param].iter().zip(&second[param]).zip(was);
            for (((a, b), was), now) in moved.zip(&whole[param]) {
                let wanted = (a + b) / 2.0 - was;
                let moved = now - was;
                let close = 1e-4 * wanted.abs() + 1e-5 * LR;
                assert!(
                    (moved - wanted).abs() <= close,
                    "{name}, {param}: {moved}, not {wanted}"
                );
            }
        }
        assert_ne!(data.train.labels[..4], data.train.labels[4..8]);
    }
}
