//! Cases of both ends of a training step: batches out of a data set, losses, and optimisers.
use crate::case::{Case, differentiable, plain};
use resnet::graph::TensorId;
use resnet::ops::{AdamW, AdamWCorrection, Sgd, resize_taps};
use resnet::tensor::{DType, Shape, TensorDesc};

/// A batch of `n` out of `images: [m, s, s, c]`, resized to `size`, with its labels. Its indices may
/// be `m`, one beyond the data set, which takes the last image.
pub fn gathers() -> Vec<Case> {
    let gather = |name, images: [usize; 4], n: usize, size: usize, mirrored: bool| {
        plain(name, move |c| {
            let m = images[0];
            let indices = c.below("indices", [n, 1, 1, 1], DType::U32, m as u64 + 1);
            let labels = c.below("labels", [m, 1, 1, 1], DType::U32, 10);
            let (table, t) = resize_taps(images[1], size);
            let images = c.below("images", images, DType::U8, 256);
            let desc = TensorDesc::u32(Shape([size, 1, 1, t]));
            let taps = c.g.input("taps", desc);
            c.data.push((taps, bytemuck::cast_slice(&table).to_vec()));
            let augmentation = mirrored.then(|| c.below("mirrored", [n, 1, 1, 1], DType::U32, 2));
            c.g.gather_images(images, indices, taps, augmentation, size, DType::F32)?;
            c.g.gather_labels(labels, indices)?;
            Ok(())
        })
    };
    vec![
        gather("gather, enlarged", [5, 7, 7, 1], 3, 17, false),
        gather("gather, as it is", [4, 28, 28, 1], 2, 28, false),
        gather(
            "gather, shrunk, three channels",
            [3, 11, 11, 3],
            4,
            5,
            false,
        ),
        gather("gather, mirrored", [4, 8, 8, 3], 6, 9, true),
        gather("gather, few of many", [40, 8, 8, 3], 9, 4, false),
        gather("gather, few of many, mirrored", [40, 8, 8, 3], 9, 5, true),
    ]
}

pub fn losses() -> Vec<Case> {
    let cross_entropy = |name, n: usize, classes: usize, bound: f32, label_smoothing: f32| {
        differentiable(name, move |c| {
            let logits = c.uniform("logits", [n, 1, 1, classes], -bound, bound);
            let labels = c.below("labels", [n, 1, 1, 1], DType::U32, classes as u64);
            let [losses, _] = c.g.cross_entropy(logits, labels, label_smoothing)?;
            Ok(losses)
        })
    };
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

pub fn optimisers() -> Vec<Case> {
    let shape = [3, 3, 5, 7];
    let sgd = |name, momentum: f32, nesterov, weight_decay| {
        plain(name, move |c| {
            let g = c.uniform("g", shape, -1.0, 1.0);
            let lr = c.uniform("lr", [1, 1, 1, 1], 0.05, 0.1);
            let p = c.state("p", shape, -1.0, 1.0);
            let m = (momentum > 0.0).then(|| c.state("m", shape, -1.0, 1.0));
            let states: Vec<TensorId> = [p].into_iter().chain(m).collect();
            let op = Sgd {
                momentum,
                nesterov,
                weight_decay,
            };
            c.g.push_update(op, &[g, lr], &states)?;
            Ok(())
        })
    };
    let adamw = plain("adamw", |c| {
        let (beta1, beta2) = (0.9, 0.999);
        let g = c.uniform("g", shape, -1.0, 1.0);
        let lr = c.uniform("lr", [1, 1, 1, 1], 0.05, 0.1);
        let correction = c.state("correction", [1, 1, 1, 2], 0.1, 0.5);
        let states = [
            c.state("p", shape, -1.0, 1.0),
            c.state("m", shape, -1.0, 1.0),
            c.state("v", shape, 0.0, 1.0),
        ];
        c.g.push_update(AdamWCorrection { beta1, beta2 }, &[], &[correction])?;
        let op = AdamW {
            beta1,
            beta2,
            eps: 1e-8,
            weight_decay: 0.01,
        };
        c.g.push_update(op, &[g, lr, correction], &states)?;
        Ok(())
    });
    vec![
        sgd("sgd", 0.0, false, 0.0),
        sgd("sgd, weight decay", 0.0, false, 0.1),
        sgd("sgd, momentum", 0.9, false, 0.1),
        sgd("sgd, nesterov", 0.9, true, 0.1),
        adamw,
    ]
}
