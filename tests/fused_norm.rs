//! Cases of the fused ops around BatchNorm and of the loss with its gradient.
use crate::case::{Case, plain};
use resnet::graph::TensorId;
use resnet::kernels::{MOMENTS, Window};
use resnet::ops::{
    Activate, BatchNormFinish, BatchNormFold, BatchNormGradInput, BatchNormMaxPool,
    BatchNormMaxPoolGrad, CrossEntropy, GlobalAvgPoolGrad, Mask, SCALING, Skip,
};
use resnet::tensor::{DType, Shape, TensorDesc};

/// Every case.
pub fn cases() -> Vec<Case> {
    let mut cases = norms();
    cases.extend(activations());
    cases.extend(pools());
    cases.extend(heads());
    cases
}

fn norm(c: &mut Case, name: &str, channels: usize) -> TensorId {
    c.uniform(name, [1, 1, 4, channels], -1.5, 1.5)
}

fn channels(c: &mut Case, name: &str, count: usize) -> TensorId {
    c.uniform(name, [1, 1, 1, count], 0.5, 1.5)
}

/// Blocks of moments, of which the third and, if there is one, the first have no rows.
fn partials(c: &mut Case, blocks: usize, count: usize) -> TensorId {
    let t = c.uniform("partials", [blocks, 1, MOMENTS, count], 1.0, 3.0);
    let bytes = &mut c.data.last_mut().expect("just made").1;
    let mut values: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
    for (b, block) in values.chunks_exact_mut(MOMENTS * count).enumerate() {
        let rows = if b == 2 || (b == 0 && blocks > 1) {
            0.0
        } else {
            7.0
        };
        block[..count].fill(rows);
    }
    *bytes = bytemuck::cast_slice(&values).to_vec();
    t
}

fn norms() -> Vec<Case> {
    let finish = |name, blocks: usize, count: usize, bias: bool| {
        plain(name, move |c| {
            let mut inputs = vec![
                partials(c, blocks, count),
                channels(c, "gamma", count),
                channels(c, "beta", count),
            ];
            if bias {
                inputs.push(channels(c, "b", count));
            }
            let states = ["mean", "var"].map(|name| c.state(name, [1, 1, 1, count], 0.5, 1.5));
            let op = BatchNormFinish {
                eps: 1e-5,
                momentum: 0.1,
                bias,
            };
            c.g.push_update(op, &inputs, &states)?;
            Ok(())
        })
    };
    let fold = |name, count: usize, bias: bool| {
        plain(name, move |c| {
            let names = ["mean", "var", "gamma", "beta", "b"];
            let inputs = names.map(|name| channels(c, name, count));
            c.g.push(
                BatchNormFold { eps: 1e-5, bias },
                &inputs[..4 + usize::from(bias)],
            )?;
            Ok(())
        })
    };
    let grad = |name, count: usize| {
        plain(name, move |c| {
            let shape = [3, 5, 3, count];
            let inputs = [
                c.uniform("x", shape, -1.0, 1.0),
                c.uniform("dy", shape, -1.0, 1.0),
                norm(c, "norm", count),
                channels(c, "dbeta", count),
                channels(c, "dgamma", count),
                c.uniform("skip", shape, -1.0, 1.0),
            ];
            let op = BatchNormGradInput {
                training: true,
                count: 45,
                add: true,
            };
            c.g.push(op, &inputs)?;
            Ok(())
        })
    };
    vec![
        finish("batch_norm_finish, one block", 1, 5, false),
        finish(
            "batch_norm_finish, more blocks than invocations",
            70,
            19,
            false,
        ),
        finish("batch_norm_finish, with a bias", 40, 8, true),
        fold("batch_norm_fold", 300, false),
        fold("batch_norm_fold, with a bias", 7, true),
        grad("batch_norm_grad_input, with another gradient", 12),
        grad("batch_norm_grad_input, with another gradient, ragged", 7),
    ]
}

fn activations() -> Vec<Case> {
    let activate = |name, shape: [usize; 4], skip: Skip| {
        plain(name, move |c| {
            let mut inputs = vec![c.uniform("x", shape, -1.0, 1.0), norm(c, "norm", shape[3])];
            if skip != Skip::None {
                inputs.push(c.uniform("skip", shape, -1.0, 1.0));
            }
            if matches!(skip, Skip::Norm | Skip::Activation) {
                inputs.push(norm(c, "skip_norm", shape[3]));
            }
            c.g.push(Activate { skip }, &inputs)?;
            Ok(())
        })
    };
    let nan = |name, count: usize| {
        plain(name, move |c| {
            let x = c.uniform("x", [2, 3, 3, count], -1.0, 1.0);
            let bytes = &mut c.data.last_mut().expect("just made").1;
            bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
            let norm = norm(c, "norm", count);
            c.g.push(Activate { skip: Skip::None }, &[x, norm])?;
            Ok(())
        })
    };
    vec![
        activate("activate", [3, 5, 3, 8], Skip::None),
        activate("activate ragged", [3, 5, 3, 7], Skip::None),
        activate("activate with a shortcut", [2, 4, 4, 16], Skip::Plain),
        activate(
            "activate with a shortcut, ragged",
            [2, 3, 5, 9],
            Skip::Plain,
        ),
        activate(
            "activate with a normalised shortcut",
            [2, 4, 4, 16],
            Skip::Norm,
        ),
        activate(
            "activate with an activated shortcut",
            [2, 3, 5, 6],
            Skip::Activation,
        ),
        activate(
            "activate with an activated shortcut, four channels at once",
            [2, 3, 5, 12],
            Skip::Activation,
        ),
        nan("activate of NaN", 4),
        nan("ragged activate of NaN", 5),
    ]
}

/// The stem's pooling and its gradient, on one window.
fn pools() -> Vec<Case> {
    let pool = |name, shape: [usize; 4], [kernel, stride, pad]: [usize; 3], nan: bool| {
        plain(name, move |c| {
            let (window, count) = (
                Window {
                    kernel,
                    stride,
                    pad,
                },
                shape[3],
            );
            let x = c.distinct("x", shape);
            if nan {
                // In its channel it wins all four windows that it is in.
                let at = 4 * (shape[2] + 1) * shape[3];
                let bytes = &mut c.data.last_mut().expect("just made").1;
                bytes[at..at + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            }
            let norm = norm(c, "norm", count);
            let pooled = c.g.push(BatchNormMaxPool { window }, &[x, norm])?;
            let dz = c.uniform("dz", c.g.shape(pooled[0]).0, -1.0, 1.0);
            let (dbeta, dgamma) = (channels(c, "dbeta", count), channels(c, "dgamma", count));
            let op = BatchNormMaxPoolGrad {
                window,
                count: Shape(shape).rows(),
            };
            c.g.push(op, &[dz, pooled[1], x, norm, dbeta, dgamma])?;
            Ok(())
        })
    };
    vec![
        pool("batch_norm_max_pool 3x3/2", [4, 8, 8, 16], [3, 2, 1], false),
        pool(
            "batch_norm_max_pool 3x3/2 ragged",
            [2, 7, 9, 5],
            [3, 2, 1],
            false,
        ),
        pool(
            "batch_norm_max_pool 2x2, overlapping",
            [1, 4, 4, 3],
            [2, 1, 0],
            false,
        ),
        pool("batch_norm_max_pool of NaN", [1, 4, 4, 4], [2, 1, 0], true),
        pool(
            "ragged batch_norm_max_pool of NaN",
            [1, 4, 4, 3],
            [2, 1, 0],
            true,
        ),
    ]
}

fn heads() -> Vec<Case> {
    let gap = |name, x: [usize; 4], mask: Mask| {
        plain(name, move |c| {
            let mut inputs = vec![
                c.uniform("dy", [x[0], 1, 1, x[3]], -1.0, 1.0),
                c.uniform("pre", x, -1.0, 1.0),
                norm(c, "norm", x[3]),
            ];
            if mask == Mask::Output {
                inputs.push(c.uniform("out", x, -1.0, 1.0));
            }
            let x = TensorDesc::f32(Shape(x));
            c.g.push(GlobalAvgPoolGrad { x, mask }, &inputs)?;
            Ok(())
        })
    };
    let loss = |name: &str, scaled: bool, weighted: bool| {
        plain(name, |c| {
            let logits = c.uniform("logits", [7, 1, 1, 5], -2.0, 2.0);
            let labels = c.below("labels", [7, 1, 1, 1], DType::U32, 5);
            let op = CrossEntropy {
                label_smoothing: 0.1,
                weighted,
                grad: Some(0.25),
            };
            let mut inputs = vec![logits, labels];
            if weighted {
                inputs.push(c.state("weights", [1, 1, 1, 5], 0.1, 3.0));
            }
            if scaled {
                let scaling = c.g.state("scaling", SCALING);
                let contents = bytemuck::cast_slice(&[1024.0_f32, 5.0]).to_vec();
                c.data.push((scaling, contents));
                inputs.push(scaling);
            }
            c.g.push(op, &inputs)?;
            Ok(())
        })
    };
    vec![
        gap(
            "global_avg_pool_grad, masked",
            [4, 3, 3, 40],
            Mask::Activation,
        ),
        gap(
            "global_avg_pool_grad, masked by its output, two images a block",
            [300, 2, 1, 5],
            Mask::Output,
        ),
        loss("cross_entropy with its gradient", false, false),
        loss("cross_entropy with its scaled gradient", true, false),
        loss("cross_entropy with its gradient, weighted", false, true),
        loss(
            "cross_entropy with its scaled gradient, weighted",
            true,
            true,
        ),
    ]
}
