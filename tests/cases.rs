//! The table of cases, one or more for every op. What is asked of them is in the neighbouring files.
//! A new op is a new row of `all`.
use crate::case::{Case, differentiable, plain};
use crate::{fused, fused_norm, loss_scale};
use resnet::graph::{DType, Shape, TensorDesc, TensorId};
use resnet::ops::{AdamW, AdamWCorrection, BatchNorm, Fill, Sgd, SumPartials, Window, resize_taps};

/// Every case.
pub fn all() -> Vec<Case> {
    let mut cases = elementwise();
    cases.extend(convolutions());
    cases.extend(fused::cases());
    cases.extend(fused_norm::cases());
    cases.extend(batch_norms());
    cases.extend(pools());
    cases.extend(losses());
    cases.extend(optimisers());
    cases.extend(loss_scale::cases());
    cases.extend(gathers());
    cases.extend(not_numbers());
    cases.push(network());
    cases
}

fn elementwise() -> Vec<Case> {
    let relu = |name, shape| {
        differentiable(name, move |c| {
            let x = c.nonzero("x", shape);
            c.g.relu(x)
        })
    };
    let sum = |name, partials: [usize; 4], shape| {
        plain(name, move |c| {
            let x = c.uniform("partials", partials, -1.0, 1.0);
            c.g.push1(
                SumPartials {
                    shape: Shape(shape),
                },
                &[x],
            )?;
            Ok(())
        })
    };
    vec![
        relu("relu ragged", [2, 3, 5, 7]),
        relu("relu, more than one workgroup", [4, 8, 8, 16]),
        differentiable("add", |c| {
            let (a, b) = (
                c.uniform("a", [4, 4, 4, 16], -1.0, 1.0),
                c.uniform("b", [4, 4, 4, 16], -1.0, 1.0),
            );
            c.g.add(a, b)
        }),
        differentiable("a tensor with three readers", |c| {
            let x = c.nonzero("x", [3, 2, 2, 5]);
            let y = c.g.relu(x)?;
            let doubled = c.g.add(x, y)?;
            c.g.add(doubled, x)
        }),
        plain("fill", |c| {
            let shape = Shape([3, 5, 7, 11]);
            c.g.push1(
                Fill {
                    value: -0.375,
                    shape,
                },
                &[],
            )?;
            Ok(())
        }),
        sum("sum of partials", [9, 3, 2, 5], [3, 2, 5, 1]),
        sum("sum of one partial", [1, 1, 1, 300], [1, 1, 1, 300]),
    ]
}

/// A convolution of `x` with `[kernel, stride, pad]` to `c_out` channels.
fn conv(name: &str, x: [usize; 4], window: [usize; 3], c_out: usize, bias: bool) -> Case {
    let [kernel, stride, pad] = window;
    differentiable(name, move |c| {
        let w = [kernel, kernel, x[3], c_out];
        let x = c.uniform("x", x, -1.0, 1.0);
        let w = c.state("w", w, -1.0, 1.0);
        let b = bias.then(|| c.state("b", [1, 1, 1, c_out], -1.0, 1.0));
        c.g.conv2d(
            x,
            w,
            b,
            Window {
                kernel,
                stride,
                pad,
            },
        )
    })
}

fn convolutions() -> Vec<Case> {
    vec![
        conv("conv 3x3", [4, 8, 8, 16], [3, 1, 1], 8, true),
        conv(
            "conv 3x3 ragged, no bias",
            [2, 7, 5, 3],
            [3, 1, 1],
            5,
            false,
        ),
        conv("conv 3x3/2", [2, 9, 9, 8], [3, 2, 1], 12, true),
        conv("conv 3x3/2, no bias", [3, 6, 8, 4], [3, 2, 1], 4, false),
        conv(
            "conv 3x3, several tiles",
            [2, 6, 6, 72],
            [3, 1, 1],
            68,
            true,
        ),
        conv(
            "conv 3x3/2, several ragged tiles",
            [3, 7, 7, 67],
            [3, 2, 1],
            70,
            true,
        ),
        conv("conv 1x1/2", [2, 8, 8, 8], [1, 2, 0], 16, true),
        conv(
            "conv 1x1/2 ragged, odd image",
            [3, 5, 7, 6],
            [1, 2, 0],
            9,
            false,
        ),
        conv("conv 7x7/2", [2, 14, 14, 1], [7, 2, 3], 8, true),
        conv(
            "conv 7x7/2, three channels, several tiles",
            [2, 20, 37, 3],
            [7, 2, 3],
            68,
            false,
        ),
        conv(
            "conv 3x3, one channel, ragged",
            [3, 9, 17, 1],
            [3, 1, 1],
            12,
            true,
        ),
        conv(
            "conv 3x3/2, three channels",
            [4, 8, 32, 3],
            [3, 2, 1],
            64,
            true,
        ),
        conv(
            "conv 6x6/3 without padding, two channels",
            [2, 17, 12, 2],
            [6, 3, 0],
            4,
            true,
        ),
        conv("conv 2x2/2, one channel", [2, 6, 7, 1], [2, 2, 0], 4, false),
        conv(
            "conv 5x5/3 without padding",
            [2, 11, 11, 2],
            [5, 3, 0],
            3,
            true,
        ),
        differentiable("linear", |c| {
            let x = c.uniform("x", [4, 1, 1, 33], -1.0, 1.0);
            let w = c.state("w", [1, 1, 33, 10], -1.0, 1.0);
            let b = c.state("b", [1, 1, 1, 10], -1.0, 1.0);
            c.g.linear(x, w, b)
        }),
    ]
}

/// Batch normalisation of an image between two bounds.
fn batch_norm(name: &str, shape: [usize; 4], bounds: [f32; 2], train: bool) -> Case {
    differentiable(name, move |c| {
        let channels = [1, 1, 1, shape[3]];
        let x = c.uniform("x", shape, bounds[0], bounds[1]);
        let bn = BatchNorm {
            gamma: c.state("gamma", channels, 0.5, 1.5),
            beta: c.state("beta", channels, -0.5, 0.5),
            running_mean: c.state("running_mean", channels, -0.5, 0.5),
            running_var: c.state("running_var", channels, 0.5, 1.5),
        };
        if train {
            c.g.batch_norm_train(x, &bn, 1e-5, 0.1)
        } else {
            c.g.batch_norm_eval(x, &bn, 1e-5)
        }
    })
}

fn batch_norms() -> Vec<Case> {
    vec![
        batch_norm("batch_norm", [4, 8, 8, 16], [-2.0, 2.0], true),
        batch_norm("batch_norm ragged", [3, 5, 3, 7], [-1.0, 3.0], true),
        batch_norm("batch_norm, 33 channels", [2, 4, 4, 33], [-2.0, 2.0], true),
        batch_norm("batch_norm, evaluation", [3, 5, 3, 7], [-1.0, 3.0], false),
        batch_norm("batch_norm, one pixel", [4, 1, 1, 5], [-2.0, 2.0], true),
        Case {
            // Moving x moves the mean far more than the differences can resolve.
            seed: None,
            ..batch_norm(
                "batch_norm, mean/std = 100",
                [4, 6, 6, 10],
                [57.0, 59.0],
                true,
            )
        },
    ]
}

/// The largest of windows `[kernel, stride, pad]`.
fn max_pool(name: &str, x: [usize; 4], window: [usize; 3]) -> Case {
    let [kernel, stride, pad] = window;
    differentiable(name, move |c| {
        let x = c.distinct("x", x);
        c.g.max_pool(
            x,
            Window {
                kernel,
                stride,
                pad,
            },
        )
    })
}

fn pools() -> Vec<Case> {
    let average = |name, shape| {
        differentiable(name, move |c| {
            let x = c.uniform("x", shape, -1.0, 1.0);
            c.g.global_avg_pool(x)
        })
    };
    vec![
        max_pool("max_pool 3x3/2", [4, 8, 8, 16], [3, 2, 1]),
        max_pool("max_pool 3x3/2 ragged", [2, 7, 9, 5], [3, 2, 1]),
        max_pool("max_pool 2x2/2", [2, 6, 6, 3], [2, 2, 0]),
        max_pool("max_pool 3x3, overlapping", [2, 5, 5, 4], [3, 1, 1]),
        average("global_avg_pool", [4, 3, 3, 64]),
        average("global_avg_pool ragged", [3, 5, 7, 19]),
        average("global_avg_pool of one pixel", [2, 1, 1, 6]),
    ]
}

fn losses() -> Vec<Case> {
    let cross_entropy = |name, n: usize, classes: usize, bound: f32, label_smoothing: f32| {
        differentiable(name, move |c| {
            let logits = c.uniform("logits", [n, 1, 1, classes], -bound, bound);
            let labels = c.below("labels", [n, 1, 1, 1], DType::U32, classes as u64);
            let [losses, _] = c.g.cross_entropy(logits, labels, label_smoothing)?;
            Ok(losses)
        })
    };
    let record = |name, n: usize, cursor: u32| {
        plain(name, move |c| {
            let losses = c.uniform("losses", [n, 1, 1, 1], 0.0, 3.0);
            let correct = c.below("correct", [n, 1, 1, 1], DType::U32, 2);
            let states = c.g.record(losses, correct)?;
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
        record("record", 4, 0),
        record(
            "record, around the ring and more examples than invocations",
            300,
            1030,
        ),
    ]
}

fn optimisers() -> Vec<Case> {
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

/// A batch of `n` out of `images: [m, s, s, c]`, resized to `size`, with its labels. Its indices may
/// be `m`, one beyond the data set, which takes the last image.
fn gathers() -> Vec<Case> {
    let gather = |name, images: [usize; 4], n: usize, size: usize| {
        plain(name, move |c| {
            let m = images[0];
            let indices = c.below("indices", [n, 1, 1, 1], DType::U32, m as u64 + 1);
            let labels = c.below("labels", [m, 1, 1, 1], DType::U32, 10);
            let (table, t) = resize_taps(images[1], size);
            let images = c.below("images", images, DType::U8, 256);
            let desc = TensorDesc::u32(Shape([size, 1, 1, t]));
            let taps = c.g.input("taps", desc);
            c.data.push((taps, bytemuck::cast_slice(&table).to_vec()));
            c.g.gather_images(images, indices, taps, size, DType::F32)?;
            c.g.gather_labels(labels, indices)?;
            Ok(())
        })
    };
    vec![
        gather("gather, enlarged", [5, 7, 7, 1], 3, 17),
        gather("gather, as it is", [4, 28, 28, 1], 2, 28),
        gather("gather, shrunk, three channels", [3, 11, 11, 3], 4, 5),
    ]
}

/// What is not a number must stay so: a diverged training is to be seen, not hidden.
fn not_numbers() -> Vec<Case> {
    let image = |c: &mut Case| {
        let x = c.nonzero("x", [2, 6, 6, 4]);
        let mut values: Vec<f32> = bytemuck::pod_collect_to_vec(&c.data[0].1);
        values[17] = f32::NAN;
        values[100] = f32::INFINITY;
        values[200] = f32::NEG_INFINITY;
        c.data[0].1 = bytemuck::cast_slice(&values).to_vec();
        x
    };
    let window = Window {
        kernel: 3,
        stride: 2,
        pad: 1,
    };
    vec![
        plain("relu of NaN", |c| {
            let x = image(c);
            c.g.relu(x)?;
            Ok(())
        }),
        plain("max_pool of NaN", |c| {
            let x = image(c);
            c.g.max_pool(x, window)?;
            Ok(())
        }),
        plain("global_avg_pool of NaN", |c| {
            let x = image(c);
            c.g.global_avg_pool(x)?;
            Ok(())
        }),
        plain("conv of NaN", |c| {
            let x = image(c);
            let w = c.state("w", [3, 3, 4, 4], -1.0, 1.0);
            c.g.conv2d(x, w, None, window)?;
            Ok(())
        }),
    ]
}

/// The stem, a residual connection and the head of a small network: values that live long, tensors
/// with several readers. Its kinks are everywhere, so its gradient is not compared with differences.
fn network() -> Case {
    let network = differentiable("network", |c| {
        let window = |kernel, stride, pad| Window {
            kernel,
            stride,
            pad,
        };
        let x = c.uniform("x", [4, 16, 16, 1], -1.0, 1.0);
        let w = c.state("stem.w", [7, 7, 1, 8], -0.3, 0.3);
        let b = c.state("stem.b", [1, 1, 1, 8], -0.1, 0.1);
        let bn = BatchNorm {
            gamma: c.state("gamma", [1, 1, 1, 8], 0.5, 1.5),
            beta: c.state("beta", [1, 1, 1, 8], -0.5, 0.5),
            running_mean: c.state("running_mean", [1, 1, 1, 8], 0.0, 0.0),
            running_var: c.state("running_var", [1, 1, 1, 8], 1.0, 1.0),
        };
        let y = c.g.conv2d(x, w, Some(b), window(7, 2, 3))?;
        let y = c.g.batch_norm_train(y, &bn, 1e-5, 0.1)?;
        let y = c.g.relu(y)?;
        let skip = c.g.max_pool(y, window(3, 2, 1))?;
        let w = c.state("block.w", [3, 3, 8, 8], -0.3, 0.3);
        let y = c.g.conv2d(skip, w, None, window(3, 1, 1))?;
        let y = c.g.add(y, skip)?;
        let y = c.g.relu(y)?;
        let y = c.g.global_avg_pool(y)?;
        let w = c.state("linear.w", [1, 1, 8, 10], -0.5, 0.5);
        let b = c.state("linear.b", [1, 1, 1, 10], -0.1, 0.1);
        let y = c.g.linear(y, w, b)?;
        let labels = c.below("labels", [4, 1, 1, 1], DType::U32, 10);
        let [losses, correct] = c.g.cross_entropy(y, labels, 0.0)?;
        c.g.record(losses, correct)?;
        Ok(losses)
    });
    Case {
        seed: None,
        ..network
    }
}
