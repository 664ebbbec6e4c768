//! The table of cases, one or more for every op. What is asked of them is in the neighbouring files.
//! A new op is a new row, here or in the file of its kind.
mod ends;
mod layers;

use crate::case::{Case, differentiable, plain};
use crate::{clip, fused, fused_norm, loss_scale, update};
use resnet::kernels::Window;
use resnet::ops::{BatchNorm, Fill, SumPartials};
use resnet::tensor::{DType, Shape};

/// Every case.
pub fn all() -> Vec<Case> {
    let mut cases = elementwise();
    cases.extend(layers::convolutions());
    cases.extend(fused::cases());
    cases.extend(fused_norm::cases());
    cases.extend(layers::batch_norms());
    cases.extend(layers::pools());
    cases.extend(ends::losses());
    cases.extend(update::cases());
    cases.extend(loss_scale::cases());
    cases.extend(clip::cases());
    cases.extend(ends::gathers());
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
        let [losses, correct] = c.g.cross_entropy(y, labels, None, 0.0)?;
        c.g.log_loss(losses, correct)?;
        Ok(losses)
    });
    Case {
        seed: None,
        ..network
    }
}
