//! Cases of layers: convolutions, batch normalisation and pooling.
use crate::case::{Case, differentiable};
use resnet::kernels::Window;
use resnet::ops::BatchNorm;

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

pub fn convolutions() -> Vec<Case> {
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

pub fn batch_norms() -> Vec<Case> {
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

pub fn pools() -> Vec<Case> {
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
