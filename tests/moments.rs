//! BatchNorm of channels whose mean is far larger than their spread: the running variance keeps its digits.
use crate::case::{Case, plain};
use crate::device::{self, floats};
use resnet::backend::Backend;
use resnet::backend::cpu::Cpu;
use resnet::backend::gpu::Options;
use resnet::graph::TensorId;
use resnet::kernels::Window;
use resnet::ops::BatchNorm;
use resnet::ops::tuning::TuningTable;

/// Means per spread of the channels.
const RATIOS: [f32; 4] = [300.0, -1000.0, 10_000.0, 0.5];

/// What the variance may be off by, relative to it. Its sums have a few hundred terms in a block and a few dozen
/// blocks, of which each rounds by 6e-8.
const BOUND: f64 = 1e-6;

/// A BatchNorm, behind the 1×1 convolution that changes nothing where `convolved` says so, and its running variance,
/// which is the batch's.
fn case(shape: [usize; 4], convolved: bool) -> (Case, TensorId, Vec<f64>) {
    let c = shape[3];
    let mut var = None;
    let mut wanted = Vec::new();
    let case = plain("large means", |case| {
        let mut x = case.uniform("x", shape, -1.7, 1.7);
        let bytes = &mut case.data.last_mut().expect("just made").1;
        let mut values: Vec<f32> = bytemuck::pod_collect_to_vec(bytes);
        // Images differ, as those of a data set do.
        let image = shape[1] * shape[2] * c;
        for (i, v) in values.iter_mut().enumerate() {
            *v += RATIOS[i % c % RATIOS.len()] + 0.3 * (i / image % 5) as f32;
        }
        *bytes = bytemuck::cast_slice(&values).to_vec();
        wanted = (0..c).map(|ch| variance(&values, c, ch)).collect();
        if convolved {
            let w = case.uniform("w", [1, 1, c, c], 0.0, 0.0);
            let bytes = &mut case.data.last_mut().expect("just made").1;
            let unit = |i| f32::from(i / c == i % c);
            let unit: Vec<f32> = (0..c * c).map(unit).collect();
            *bytes = bytemuck::cast_slice(&unit).to_vec();
            let (kernel, stride, pad) = (1, 1, 0);
            let window = Window {
                kernel,
                stride,
                pad,
            };
            x = case.g.conv2d(x, w, None, window)?;
        }
        let [gamma, beta, running_mean, running_var] =
            ["gamma", "beta", "mean", "var"].map(|name| case.state(name, [1, 1, 1, c], 0.5, 1.5));
        var = Some(running_var);
        let bn = BatchNorm {
            gamma,
            beta,
            running_mean,
            running_var,
        };
        case.g.batch_norm_train(x, &bn, 1e-5, 1.0)?;
        Ok(())
    });
    (case, var.expect("the case has a BatchNorm"), wanted)
}

/// The unbiased variance of a channel, in two passes of f64.
fn variance(values: &[f32], c: usize, ch: usize) -> f64 {
    let of_channel = || values.iter().skip(ch).step_by(c).map(|v| f64::from(*v));
    let count = of_channel().count() as f64;
    let mean = of_channel().sum::<f64>() / count;
    of_channel().map(|v| (v - mean).powi(2)).sum::<f64>() / (count - 1.0)
}

fn keep_their_digits(open: impl Fn() -> Box<dyn Backend>) {
    // Some images, one large image, more images than blocks, and rows that fill no tile.
    for shape in [[9, 7, 7, 4], [2, 40, 40, 4], [300, 3, 2, 8], [5, 13, 9, 32]] {
        for convolved in [false, true] {
            let (mut case, var, wanted) = case(shape, convolved);
            let nodes = 0..case.g.nodes().len();
            let keep = case.results();
            let mut backend = open();
            let table = TuningTable::default();
            let nodes = match convolved {
                true => resnet::graph::fuse(&mut case.g, nodes, &keep, &table).unwrap(),
                false => nodes,
            };
            let plan = resnet::plan::plan(&case.g, nodes, &keep, backend.limits()).unwrap();
            let after = device::run(&case, plan, backend.as_mut()).unwrap();
            for (ch, (got, want)) in floats(&after[&var]).iter().zip(&wanted).enumerate() {
                let error = (f64::from(*got) - want).abs() / want;
                assert!(
                    error <= BOUND,
                    "channel {ch} of {shape:?}, convolved: {convolved}: off by {error:.1e}"
                );
            }
        }
    }
}

#[test]
fn large_means_keep_the_variance_on_the_cpu() {
    keep_their_digits(|| Box::new(Cpu::new().unwrap()));
}

#[test]
fn large_means_keep_the_variance_on_the_gpu() {
    if let Some(adapter) = device::adapter() {
        keep_their_digits(|| Box::new(device::open(adapter, Options::default())));
    }
}
