//! Convolutions with what is fused into them: their cases, and their values against plain sums in f64.
use crate::case::{Case, plain};
use crate::device::{self, floats};
use crate::partials;
use resnet::backend::{Backend, cpu::Cpu, gpu::Options};
use resnet::graph::TensorId;
use resnet::kernels::Window;
use resnet::ops::{Conv2d, Conv2dGradInput, Conv2dGradWeight, Mask, Op, Tile};
use resnet::tensor::Shape;

/// The dimensions of one convolution.
#[derive(Clone, Copy)]
struct Dims {
    x: [usize; 4],
    window: Window,
    c_out: usize,
}

impl Dims {
    fn new(x: [usize; 4], [kernel, stride, pad]: [usize; 3], c_out: usize) -> Dims {
        let window = Window {
            kernel,
            stride,
            pad,
        };
        Dims { x, window, c_out }
    }

    fn w(self) -> [usize; 4] {
        [
            self.window.kernel,
            self.window.kernel,
            self.x[3],
            self.c_out,
        ]
    }

    fn y(self) -> [usize; 4] {
        let [n, h, w, _] = self.x;
        let out = |size| self.window.out(size).unwrap();
        [n, out(h), out(w), self.c_out]
    }
}

/// Every flag alone on one shape; all of them on shapes that take every other way through the kernels.
pub fn cases() -> Vec<Case> {
    let dims = Dims::new([4, 16, 16, 16], [3, 1, 1], 64);
    let name = "one image a unit";
    let mut cases = vec![
        forward(name, dims, true, false, true),
        forward(name, dims, false, true, false),
        grad_input(name, dims, true, Mask::None),
        grad_input(name, dims, false, Mask::Activation),
        grad_input(name, dims, false, Mask::Output),
    ];
    for (name, dims) in [
        ("stride 2", Dims::new([4, 16, 16, 16], [3, 2, 1], 32)),
        ("1x1/2", Dims::new([2, 9, 9, 32], [1, 2, 0], 68)),
        ("ragged", Dims::new([3, 7, 5, 6], [3, 2, 1], 5)),
        ("stem", Dims::new([2, 14, 14, 1], [7, 2, 3], 64)),
        (
            "stem, several tiles an image",
            Dims::new([4, 32, 64, 1], [7, 2, 3], 64),
        ),
        (
            "stem, ragged, three channels",
            Dims::new([3, 9, 19, 3], [3, 1, 1], 68),
        ),
    ] {
        cases.extend([
            forward(name, dims, true, true, true),
            grad_input(name, dims, true, Mask::Output),
            grad_weight(name, dims),
        ]);
    }
    // Every tile, with more than one of them each way, and with the ways of loading that the shapes above
    // take in the smallest one only.
    for tile in Tile::ALL {
        for (name, dims) in [
            ("wide", Dims::new([2, 11, 12, 144], [3, 1, 1], 144)),
            ("wide, ragged", Dims::new([3, 11, 5, 131], [3, 2, 1], 133)),
        ] {
            let name = format!("{name}, {}x{}", tile.rows, tile.columns);
            cases.extend([
                forward_in(tile, &name, dims, [true; 3]),
                grad_input_in(tile, &name, dims, true, Mask::Activation),
                grad_weight_in(tile, &name, dims),
            ]);
        }
    }
    cases
}

fn norm(c: &mut Case, channels: usize) -> TensorId {
    c.uniform("norm", [1, 1, 4, channels], -1.5, 1.5)
}

fn forward(shape: &str, dims: Dims, bias: bool, activate: bool, moments: bool) -> Case {
    let y = Shape(dims.y());
    let tile = Tile::of(y.rows(), y.c());
    forward_in(tile, shape, dims, [bias, activate, moments])
}

fn forward_in(tile: Tile, shape: &str, dims: Dims, flags: [bool; 3]) -> Case {
    let [bias, activate, moments] = flags;
    let flags = [(bias, "bias"), (activate, "activate"), (moments, "moments")];
    let flags = flags.iter().filter(|f| f.0).map(|f| f.1);
    let name = format!("conv, {shape}: {}", flags.collect::<Vec<&str>>().join(", "));
    plain(&name, |c| {
        let mut inputs = vec![
            c.uniform("x", dims.x, -1.0, 1.0),
            c.uniform("w", dims.w(), -1.0, 1.0),
        ];
        if bias {
            inputs.push(c.uniform("b", [1, 1, 1, dims.c_out], -1.0, 1.0));
        }
        if activate {
            inputs.push(norm(c, dims.x[3]));
        }
        let op = Conv2d {
            window: dims.window,
            bias,
            activate,
            moments,
            tile,
        };
        c.g.push(op, &inputs)?;
        Ok(())
    })
}

fn grad_input(shape: &str, dims: Dims, add: bool, mask: Mask) -> Case {
    let tile = Conv2dGradInput::new(dims.window, Shape(dims.x)).tile;
    grad_input_in(tile, shape, dims, add, mask)
}

fn grad_input_in(tile: Tile, shape: &str, dims: Dims, add: bool, mask: Mask) -> Case {
    let name = format!("conv grad_input, {shape}: add {add}, mask {mask:?}");
    plain(&name, |c| {
        let mut inputs = vec![
            c.uniform("dy", dims.y(), -1.0, 1.0),
            c.uniform("w", dims.w(), -1.0, 1.0),
        ];
        if add {
            inputs.push(c.uniform("skip", dims.x, -1.0, 1.0));
        }
        if mask != Mask::None {
            inputs.push(c.uniform("pre", dims.x, -1.0, 1.0));
            inputs.push(norm(c, dims.x[3]));
        }
        if mask == Mask::Output {
            inputs.push(c.uniform("out", dims.x, -1.0, 1.0));
        }
        let op = Conv2dGradInput {
            add,
            mask,
            tile,
            ..Conv2dGradInput::new(dims.window, Shape(dims.x))
        };
        c.g.push(op, &inputs)?;
        Ok(())
    })
}

fn grad_weight(shape: &str, dims: Dims) -> Case {
    grad_weight_in(Tile::SQUARE, shape, dims)
}

fn grad_weight_in(tile: Tile, shape: &str, dims: Dims) -> Case {
    plain(&format!("conv grad_weight, {shape}: activate"), |c| {
        let inputs = [
            c.uniform("x", dims.x, -1.0, 1.0),
            c.uniform("dy", dims.y(), -1.0, 1.0),
            norm(c, dims.x[3]),
        ];
        let op = Conv2dGradWeight {
            activate: true,
            tile,
            ..Conv2dGradWeight::new(dims.window, Shape(dims.x), Shape(dims.w()))
        };
        c.g.push(op, &inputs)?;
        Ok(())
    })
}

#[test]
fn values_are_those_of_plain_sums_on_the_cpu() {
    agree_with_f64(&mut || Box::new(Cpu::new().unwrap()));
}

#[test]
#[ignore = "minutes on a software adapter: scripts/test.sh --all"]
fn values_are_those_of_plain_sums_on_the_gpu() {
    if let Some(adapter) = device::adapter() {
        agree_with_f64(&mut || Box::new(device::open(adapter, Options::default())));
    }
}

fn agree_with_f64(open: &mut dyn FnMut() -> Box<dyn Backend>) {
    let mut wrong = Vec::new();
    for case in cases() {
        let mut backend = open();
        let plan = device::whole(&case, &case.values(), backend.as_ref()).unwrap();
        let after = device::run(&case, plan, backend.as_mut()).unwrap();
        let node = &case.g.nodes()[0];
        let got: Vec<Vec<f64>> = node
            .outputs
            .iter()
            .enumerate()
            .map(|(i, t)| match &node.op {
                Op::Conv2dGradWeight(op) => partials::sums(&floats(&after[t]), op.w.len()),
                op => partials::merged(op, i, &floats(&after[t]), case.g.shape(*t).c())
                    .unwrap_or_else(|| floats(&after[t]).iter().map(|&v| v.into()).collect()),
            })
            .collect();
        for (i, (got, want)) in got.iter().zip(reference(&case)).enumerate() {
            let rows = got.chunks(want[0].0.len()).zip(want);
            for (row, (got, (want, tolerance))) in rows.enumerate() {
                let error = got.iter().zip(&want).map(|(a, b)| (a - b).abs());
                let error = error.fold(0.0, |m: f64, e| if e.is_nan() { e } else { m.max(e) });
                if error.is_nan() || error > tolerance {
                    wrong.push(format!(
                        "{}: output {i}, row {row} is off by {error:.1e} (± {tolerance:.1e})",
                        case.name
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Values, and how far rounding may take a result from them.
type Want = (Vec<f64>, f64);

/// Rounding errors of a sum of K terms grow like √K times the unit roundoff 2⁻²⁴, relative to the
/// largest sum; 8 of them are granted.
fn rounding(terms: usize, largest: f64) -> f64 {
    8.0 * 2.0_f64.powi(-24) * (terms as f64).sqrt() * largest
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |m, v| m.max(v.abs()))
}

/// The outputs of a case's node by the formulas of its op, partials merged, row by row.
fn reference(case: &Case) -> Vec<Vec<Want>> {
    let node = &case.g.nodes()[0];
    let input = |i: usize| -> Vec<f64> {
        let t = node.inputs[i];
        let bytes = &case.data.iter().find(|(known, _)| *known == t).unwrap().1;
        floats(bytes).iter().map(|&v| v.into()).collect()
    };
    let shape = |i: usize| case.g.shape(node.inputs[i]);
    let activated = |i: usize, norm: Option<Vec<f64>>| -> Vec<f64> {
        let Some(norm) = norm else { return input(i) };
        let c = norm.len() / 4;
        let z = |(j, x): (usize, f64)| (x * norm[j % c] + norm[c + j % c]).max(0.0);
        input(i).into_iter().enumerate().map(z).collect()
    };
    let last = node.inputs.len() - 1;
    match &node.op {
        Op::Conv2d(op) => {
            let x = activated(0, op.activate.then(|| input(last)));
            let (w, y_shape) = (input(1), case.g.shape(node.outputs[0]));
            let c_out = y_shape.c();
            let mut y = vec![0.0; y_shape.len()];
            if op.bias {
                let b = input(2);
                y.iter_mut()
                    .enumerate()
                    .for_each(|(i, y)| *y = b[i % c_out]);
            }
            products(
                shape(0),
                shape(1),
                y_shape,
                op.window,
                |x_at, w_at, y_at| {
                    y[y_at] += x[x_at] * w[w_at];
                },
            );
            let terms = shape(1).rows();
            let error = rounding(terms, largest(&y));
            let rows = y_shape.rows();
            let mean: Vec<f64> = (0..c_out)
                .map(|ch| y.iter().skip(ch).step_by(c_out).sum::<f64>() / rows as f64)
                .collect();
            let m2: Vec<f64> = (0..c_out)
                .map(|ch| {
                    let squares = y
                        .iter()
                        .skip(ch)
                        .step_by(c_out)
                        .map(|y| (y - mean[ch]).powi(2));
                    squares.sum()
                })
                .collect();
            let count = vec![rows as f64; c_out];
            let m2_error = 2.0 * error * (largest(&m2) * rows as f64).sqrt();
            let moments = vec![(count, 0.0), (mean, error), (m2, m2_error)];
            let mut wants = vec![vec![(y, error)]];
            if op.moments {
                wants.push(moments);
            }
            wants
        }
        Op::Conv2dGradInput(op) => {
            let (dy, w, c) = (input(0), input(1), op.x.c());
            let mut v = vec![0.0; op.x.len()];
            products(op.x, shape(1), shape(0), op.window, |x_at, w_at, y_at| {
                v[x_at] += dy[y_at] * w[w_at];
            });
            if op.add {
                v.iter_mut().zip(input(2)).for_each(|(v, skip)| *v += skip);
            }
            let terms = shape(1).len() / c;
            let error = rounding(terms, largest(&v));
            if op.mask == Mask::None {
                return vec![vec![(v, error)]];
            }
            let at = 2 + usize::from(op.add);
            let (pre, norm) = (input(at), input(at + 1));
            let (mut sums, mut with_xhat) = (vec![0.0; c], vec![0.0; c]);
            for (i, v) in v.iter_mut().enumerate() {
                let ch = i % c;
                let kept = match op.mask {
                    Mask::Output => input(at + 2)[i],
                    _ => pre[i] * norm[ch] + norm[c + ch],
                };
                *v = if kept > 0.0 { *v } else { 0.0 };
                sums[ch] += *v;
                with_xhat[ch] += *v * (pre[i] - norm[2 * c + ch]) * norm[3 * c + ch];
            }
            // |x̂| is at most (1 + 1.5)·1.5 with the numbers that the cases draw.
            let sum_error = rounding(op.x.rows(), largest(&v) * (op.x.rows() as f64).sqrt())
                + error * (op.x.rows() as f64).sqrt();
            let sums = vec![(sums, sum_error), (with_xhat, 3.75 * sum_error)];
            vec![vec![(v, error)], sums]
        }
        Op::Conv2dGradWeight(op) => {
            let x = activated(0, op.activate.then(|| input(last)));
            let dy = input(1);
            let mut dw = vec![0.0; op.w.len()];
            products(shape(0), op.w, shape(1), op.window, |x_at, w_at, y_at| {
                dw[w_at] += x[x_at] * dy[y_at];
            });
            let error = rounding(shape(1).rows(), largest(&dw));
            vec![vec![(dw, error)]]
        }
        op => panic!("{} is no convolution", op.def().name()),
    }
}

/// Calls `product` with the places in x, w and y of every product of a convolution.
fn products(
    x: Shape,
    w: Shape,
    y: Shape,
    window: Window,
    mut product: impl FnMut(usize, usize, usize),
) {
    let [_, height, width, c_in] = x.0;
    let [n, h_out, w_out, c_out] = y.0;
    for row in 0..n * h_out * w_out {
        let (image, oy, ox) = (row / w_out / h_out, row / w_out % h_out, row % w_out);
        for tap in 0..w.0[0] * w.0[1] {
            let (iy, ix) = (
                window.tap(oy, tap / w.0[1], height),
                window.tap(ox, tap % w.0[1], width),
            );
            let (Some(iy), Some(ix)) = (iy, ix) else {
                continue;
            };
            for ci in 0..c_in {
                let x_at = ((image * height + iy) * width + ix) * c_in + ci;
                for co in 0..c_out {
                    product(x_at, (tap * c_in + ci) * c_out + co, row * c_out + co);
                }
            }
        }
    }
}
