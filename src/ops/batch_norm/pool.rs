//! The stem's max-pooling on the side of BatchNorm and ReLU where there are fewer pixels. Both keep or
//! reverse the order of a channel's values, so that the winner of a window is found by its normalised
//! value, but kept as it was: whoever reads it normalises it, and the large tensor is read only once.
use super::BatchNormGradInput;
use super::grad::Affine;
use super::reduction::per_channel;
use crate::kernels::CpuContext;
use crate::kernels::Norm;
use crate::kernels::Window;
use crate::kernels::simd::vectorized;
use crate::ops::wgsl::{Wgsl, wgsl};
use crate::ops::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::tensor::{DType, Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

const SHADER: Wgsl = wgsl!("batch_norm_pool");

/// `[x, norm] → [y, winner]`: of each window the value of x with the largest `x·scale + shift`, and the
/// number of its tap, `k·kernel + l` (u8). Padding never wins; of equals the first in row-major order
/// does, and a NaN beats all before it.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormMaxPool {
    /// The window, of at most 255 taps.
    pub window: Window,
}

/// `[dz, winner, x, norm, dbeta, dgamma] → [dx]`: every pixel gathers from `dz`, the gradient of what the
/// winners were normalised to, those of the windows that it won, and goes back through a training
/// BatchNorm: `dx = scale · (Σ dz − dbeta/count − x̂·dgamma/count)`.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchNormMaxPoolGrad {
    /// The window.
    pub window: Window,
    /// Values per channel in the whole batch, of which a dispatch may see a part.
    pub count: usize,
}

impl OpDef for BatchNormMaxPool {
    fn name(&self) -> &'static str {
        "batch_norm_max_pool"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x, norm] = arity(inputs)?;
        Norm::check(norm, x)?;
        let Window { kernel, pad, .. } = self.window;
        ensure!(2 * pad <= kernel, "some windows would see padding only");
        ensure!(kernel * kernel <= 255, "a window of {kernel} is too large");
        let Shape([n, h, w, c]) = x.shape;
        let y = Shape([n, self.window.out(h)?, self.window.out(w)?, c]);
        Ok(vec![x.with_shape(y), TensorDesc::u8(y)])
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let Shape([_, h, w, c]) = inputs[0].shape();
        let Norm { scale, shift, .. } = Norm::of(inputs[1].f32());
        let [y, winner] = outputs else {
            unreachable!("two outputs")
        };
        let Shape([_, h_out, w_out, _]) = y.shape();
        let Window { kernel, .. } = self.window;
        let (x, pooled) = (inputs[0].floats(), h_out * w_out * c);
        y.floats()
            .chunks(pooled)
            .into_par_iter()
            .zip(winner.bytes.par_chunks_mut(pooled))
            .enumerate()
            .for_each(|(n, (mut y, winner))| {
                let (mut best, mut room, mut y_room) = (vec![0.0; c], vec![0.0; c], vec![0.0; c]);
                vectorized(
                    #[inline(always)]
                    || {
                        for (o, winner) in winner.chunks_exact_mut(c).enumerate() {
                            y.write(
                                o * c..(o + 1) * c,
                                &mut y_room,
                                #[inline(always)]
                                |y| {
                                    let mut first = true;
                                    for tap in 0..kernel * kernel {
                                        let i = self.window.tap(o / w_out, tap / kernel, h);
                                        let j = self.window.tap(o % w_out, tap % kernel, w);
                                        let (Some(i), Some(j)) = (i, j) else { continue };
                                        let at = ((n * h + i) * w + j) * c;
                                        let x = x.row(at..at + c, &mut room);
                                        let (tap, best) = (tap as u8, &mut best[..]);
                                        challenge(x, scale, shift, tap, first, best, y, winner);
                                        first = false;
                                    }
                                },
                            );
                        }
                    },
                );
            });
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let y = outputs[0].shape;
        let (shader, width) = Shader::lanes(SHADER, inputs[0]);
        let mut params = geometry(self.window, inputs[0].shape, y, width);
        params.insert(0, (y.len() / width) as u32);
        // The gradient's share.
        params.push(0);
        // One invocation writes four elements, of which the winners share a word.
        Launch::new(shader, "forward", params, y.len().div_ceil(4 * 256))
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1, 0], &[1, 1])
    }

    fn flops(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        (3 * outputs[0].shape.len() * self.window.kernel * self.window.kernel) as u64
    }
}

impl OpDef for BatchNormMaxPoolGrad {
    fn name(&self) -> &'static str {
        "batch_norm_max_pool_grad"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [dz, winner, x, norm, dbeta, dgamma] = arity(inputs)?;
        ensure!(
            winner.dtype == DType::U8 && winner.shape == dz.shape,
            "winners {winner} and gradient {dz} differ"
        );
        ensure!(dz.dtype == x.dtype, "gradient {dz} is not like {x}");
        Norm::check(norm, x)?;
        per_channel(x, &[dbeta, dgamma])?;
        Ok(vec![x])
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let Shape([_, h, w, c]) = inputs[2].shape();
        let Shape([_, h_out, w_out, _]) = inputs[0].shape();
        let share = BatchNormGradInput::share(true, self.count);
        let affine = Affine::new(inputs[3], inputs[4], inputs[5], share);
        let (dz, winner, x) = (inputs[0].floats(), inputs[1].bytes, inputs[2].floats());
        let images = outputs[0].floats().chunks(h * w * c);
        images.into_par_iter().enumerate().for_each(|(n, mut dx)| {
            let (mut room, mut dx_room) = (vec![0.0; c], vec![0.0; c]);
            vectorized(
                #[inline(always)]
                || {
                    for pixel in 0..h * w {
                        dx.write(
                            pixel * c..(pixel + 1) * c,
                            &mut dx_room,
                            #[inline(always)]
                            |dx| {
                                dx.fill(0.0);
                                for (p, k) in self.window.around(pixel / w, h_out) {
                                    for (q, l) in self.window.around(pixel % w, w_out) {
                                        let tap = (k * self.window.kernel + l) as u8;
                                        let o = ((n * h_out + p) * w_out + q) * c;
                                        let dz = dz.row(o..o + c, &mut room);
                                        add_won(dx, &winner[o..o + c], tap, dz);
                                    }
                                }
                                let at = (n * h * w + pixel) * c;
                                affine.apply(dx, x.row(at..at + c, &mut room));
                            },
                        );
                    }
                },
            );
        });
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let dx = outputs[0].shape;
        let (shader, width) = Shader::lanes(SHADER, outputs[0]);
        let mut params = geometry(self.window, dx, inputs[0].shape, width);
        let share = BatchNormGradInput::share(true, self.count);
        params.push(share.to_bits());
        Launch::elements(shader, "grad_input", dx.len() / width, &params)
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1, 1, 1, 0, 0, 0], &[1])
    }

    fn flops(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        6 * outputs[0].shape.len() as u64
    }
}

/// The kernels' parameters after the count, with so many channels as one.
fn geometry(window: Window, x: Shape, y: Shape, width: usize) -> Vec<u32> {
    let (Shape([_, h, w, c]), Shape([_, h_out, w_out, _])) = (x, y);
    let Window {
        kernel,
        stride,
        pad,
    } = window;
    [h, w, c / width, h_out, w_out, kernel, stride, pad]
        .map(|p| p as u32)
        .to_vec()
}

/// Adds the gradients of the channels that tap `tap` won. A function of its own, so that the compiler knows the slices
/// to be apart.
#[inline(always)]
fn add_won(dx: &mut [f32], winner: &[u8], tap: u8, dz: &[f32]) {
    for (dx, (&winner, &dz)) in dx.iter_mut().zip(winner.iter().zip(dz)) {
        *dx += if winner == tap { dz } else { 0.0 };
    }
}

/// Lets tap `tap` take the channels where it beats the best before it. A function of its own, so that the compiler
/// knows the slices to be apart.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "slices side by side")]
fn challenge(
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    tap: u8,
    first: bool,
    best: &mut [f32],
    y: &mut [f32],
    winner: &mut [u8],
) {
    let c = x.len();
    let (scale, shift) = (&scale[..c], &shift[..c]);
    let (best, y, winner) = (&mut best[..c], &mut y[..c], &mut winner[..c]);
    for ch in 0..c {
        let z = x[ch] * scale[ch] + shift[ch];
        // Without short cuts, which would be branches.
        let wins = first | (z > best[ch]) | z.is_nan();
        best[ch] = if wins { z } else { best[ch] };
        y[ch] = if wins { x[ch] } else { y[ch] };
        winner[ch] = if wins { tap } else { winner[ch] };
    }
}
