//! Cases of both ends of a training step: batches out of a data set, and losses.
use crate::case::{Case, differentiable, plain};
use resnet::data::{Augmentation, Flip};
use resnet::graph::TensorId;
use resnet::ops::{AUGMENTATION_WORDS, GatherImages, Normalise, resize_taps};
use resnet::tensor::{DType, Shape, TensorDesc};

/// All that may happen to `n` images of `size`×`size` pixels.
fn changes(c: &mut Case, n: usize, size: usize) -> TensorId {
    let all = Augmentation {
        seed: 3,
        rotate: 30.0,
        shift: 2,
        flip: Flip::Random,
        erase: 0.5,
        cutout: 3,
    };
    let indices: Vec<u32> = (0..n as u32).collect();
    let words = all.draw(0, &indices, size);
    let input = c.g.input(
        "changes",
        TensorDesc::u32(Shape([n, 1, 1, AUGMENTATION_WORDS])),
    );
    c.data.push((input, bytemuck::cast_slice(&words).to_vec()));
    input
}

/// A batch of `n` out of `images: [m, s, s, c]`, resized to `size`, with its labels. Its indices may
/// be `m`, one beyond the data set, which takes the last image.
pub fn gathers() -> Vec<Case> {
    let gather = |name, images: [usize; 4], n: usize, size: usize, augmented: bool| {
        plain(name, move |c| {
            let m = images[0];
            let indices = c.below("indices", [n, 1, 1, 1], DType::U32, m as u64 + 1);
            let labels = c.below("labels", [m, 1, 1, 1], DType::U32, 10);
            let (table, t) = resize_taps(images[1], size);
            let images = c.below("images", images, DType::U8, 256);
            let desc = TensorDesc::u32(Shape([size, 1, 1, t]));
            let taps = c.g.input("taps", desc);
            c.data.push((taps, bytemuck::cast_slice(&table).to_vec()));
            let augmentation = augmented.then(|| changes(c, n, size));
            c.g.gather_images(images, indices, taps, augmentation, size, DType::F32)?;
            c.g.gather_labels(labels, indices)?;
            Ok(())
        })
    };
    let normalised = |name, channels: usize, augmented: bool| {
        plain(name, move |c| {
            let indices = c.below("indices", [4, 1, 1, 1], DType::U32, 4);
            let (table, t) = resize_taps(7, 10);
            let images = c.below("images", [3, 7, 7, channels], DType::U8, 256);
            let taps = c.g.input("taps", TensorDesc::u32(Shape([10, 1, 1, t])));
            c.data.push((taps, bytemuck::cast_slice(&table).to_vec()));
            let mut inputs = vec![images, indices, taps];
            if augmented {
                inputs.push(changes(c, 4, 10));
            }
            let gather = GatherImages {
                size: 10,
                stored: DType::F32,
                normalise: Some(Normalise {
                    mean: [0.485, 0.456, 0.406, 0.125],
                    std: [0.229, 0.224, 0.225, 0.75],
                }),
                augmented,
                shard: None,
            };
            c.g.push1(gather, &inputs)?;
            Ok(())
        })
    };
    vec![
        normalised("gather, one channel, normalised", 1, false),
        normalised("gather, four channels, normalised, augmented", 4, true),
        gather("gather, enlarged", [5, 7, 7, 1], 3, 17, false),
        gather("gather, as it is", [4, 28, 28, 1], 2, 28, false),
        gather(
            "gather, shrunk, three channels",
            [3, 11, 11, 3],
            4,
            5,
            false,
        ),
        gather("gather, augmented", [4, 8, 8, 3], 6, 9, true),
        gather("gather, few of many", [40, 8, 8, 3], 9, 4, false),
        gather("gather, few of many, augmented", [40, 8, 8, 3], 9, 5, true),
    ]
}

pub fn losses() -> Vec<Case> {
    let loss = |name, [n, classes]: [usize; 2], bound: f32, label_smoothing: f32, weighted| {
        differentiable(name, move |c| {
            let logits = c.uniform("logits", [n, 1, 1, classes], -bound, bound);
            let labels = c.below("labels", [n, 1, 1, 1], DType::U32, classes as u64);
            let weights: Option<TensorId> = Some([1, 1, 1, classes])
                .filter(|_| weighted)
                .map(|shape| c.state("weights", shape, 0.1, 3.0));
            let [losses, _] =
                c.g.cross_entropy(logits, labels, weights, label_smoothing)?;
            Ok(losses)
        })
    };
    let cross_entropy =
        |name, n, classes, bound, smoothing| loss(name, [n, classes], bound, smoothing, false);
    let weighted = |name, n, classes, smoothing| loss(name, [n, classes], 2.0, smoothing, true);
    let log = |name, n: usize, cursor: u32| {
        plain(name, move |c| {
            let losses = c.uniform("losses", [n, 1, 1, 1], 0.0, 3.0);
            let correct = c.below("correct", [n, 1, 1, 1], DType::U32, 2);
            let states = c.g.log_loss(losses, correct)?;
            c.data.push((states.cursor, cursor.to_le_bytes().to_vec()));
            Ok(())
        })
    };
    vec![
        cross_entropy("cross_entropy", 4, 10, 2.0, 0.0),
        cross_entropy("cross_entropy, smoothed", 7, 5, 2.0, 0.1),
        cross_entropy("cross_entropy, one workgroup and more", 300, 3, 2.0, 0.0),
        weighted("cross_entropy, weighted", 6, 4, 0.0),
        weighted("cross_entropy, weighted and smoothed", 300, 5, 0.1),
        Case {
            // The loss is piecewise linear here, and its kinks are where the largest logit changes.
            seed: None,
            ..cross_entropy("cross_entropy, large logits", 6, 10, 90.0, 0.0)
        },
        log("loss log", 4, 0),
        log(
            "loss log, around the ring and more examples than invocations",
            300,
            1030,
        ),
    ]
}
