//! Max-pooling and its gradient, for any window: padding never wins, of equals the first in row-major
//! order does, and a NaN beats all before it, earlier NaNs too, as in PyTorch.
use super::wgsl::{Wgsl, wgsl};
use super::{Batched, Launch, OpDef, Shader, View, ViewMut, arity};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::kernels::Window;
use crate::tensor::{Shape, TensorDesc};
use anyhow::{Result, ensure};
use rayon::prelude::*;

const SHADER: Wgsl = wgsl!("max_pool");

/// `[x] → [y, indices]`: the largest value of each window, and where it is, as `h·W + w` in its plane
/// of `x` (u32).
#[derive(Clone, PartialEq, Debug)]
pub struct MaxPool {
    /// The window.
    pub window: Window,
}

/// `[indices, dy] → [dx]`: every pixel of `x` gathers the gradients of the windows that it won.
#[derive(Clone, PartialEq, Debug)]
pub struct MaxPoolGrad {
    /// The window.
    pub window: Window,
    /// Dimensions of the forward's input.
    pub x: Shape,
}

impl Graph {
    /// The maxima of the windows of `x`.
    ///
    /// # Errors
    /// When the window does not fit, or its padding is more than half of it.
    pub fn max_pool(&mut self, x: TensorId, window: Window) -> Result<TensorId> {
        Ok(self.push(MaxPool { window }, &[x])?[0])
    }
}

impl OpDef for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [x] = arity(inputs)?;
        ensure!(
            2 * self.window.pad <= self.window.kernel,
            "some windows would see padding only"
        );
        let Shape([n, h, w, c]) = x.shape;
        let y = Shape([n, self.window.out(h)?, self.window.out(w)?, c]);
        Ok(vec![x.with_shape(y), TensorDesc::u32(y)])
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: &Node,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        let Some(dy) = dy[0] else {
            return Ok(vec![None]);
        };
        let grad = MaxPoolGrad {
            window: self.window,
            x: g.shape(node.inputs[0]),
        };
        Ok(vec![Some(g.push1(grad, &[node.outputs[1], dy])?)])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let Shape([_, h, w, c]) = inputs[0].shape();
        let [y, indices] = outputs else {
            unreachable!("two outputs")
        };
        let Shape([_, h_out, w_out, _]) = y.shape();
        let images = inputs[0].f32().par_chunks(h * w * c);
        let results = y
            .f32()
            .par_chunks_mut(h_out * w_out * c)
            .zip(indices.u32().par_chunks_mut(h_out * w_out * c));
        images.zip(results).for_each(|(x, (y, indices))| {
            let pixels = y.chunks_exact_mut(c).zip(indices.chunks_exact_mut(c));
            for (o, (y, indices)) in pixels.enumerate() {
                let mut taps = self.taps(o / w_out, o % w_out, h, w);
                let (i, j) = taps.next().expect("no window sees padding only");
                y.copy_from_slice(&x[(i * w + j) * c..][..c]);
                indices.fill((i * w + j) as u32);
                for (i, j) in taps {
                    let pixel = i * w + j;
                    take_larger(y, indices, &x[pixel * c..][..c], pixel as u32);
                }
            }
        });
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let y = outputs[0].shape;
        Launch::elements(
            Shader::Stored(SHADER, inputs[0].dtype),
            "forward",
            y.len(),
            &geometry(self.window, inputs[0].shape, y),
        )
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1], &[1, 1])
    }

    fn flops(&self, _: &[TensorDesc], outputs: &[TensorDesc]) -> u64 {
        (outputs[0].shape.len() * self.window.kernel * self.window.kernel) as u64
    }
}

/// Puts the values of `pixel` in place of the smaller ones of `y`; a NaN replaces any.
fn take_larger(y: &mut [f32], indices: &mut [u32], x: &[f32], pixel: u32) {
    for ((y, index), &x) in y.iter_mut().zip(indices).zip(x) {
        // Masks instead of branches: the compiler turns an if into stores that defeat SIMD.
        let wins = (x > *y) | x.is_nan();
        let mask = u32::from(wins).wrapping_neg();
        *y = f32::from_bits((x.to_bits() & mask) | (y.to_bits() & !mask));
        *index = (pixel & mask) | (*index & !mask);
    }
}

impl MaxPool {
    /// The pixels under the window of one output pixel, in row-major order.
    fn taps(&self, p: usize, q: usize, h: usize, w: usize) -> impl Iterator<Item = (usize, usize)> {
        // Of a window larger than the image, the part on it.
        let on = move |o: usize, size: usize| {
            let first = o * self.window.stride;
            let end = (first + self.window.kernel).saturating_sub(self.window.pad);
            first.saturating_sub(self.window.pad)..end.min(size)
        };
        on(p, h).flat_map(move |i| on(q, w).map(move |j| (i, j)))
    }
}

impl OpDef for MaxPoolGrad {
    fn name(&self) -> &'static str {
        "max_pool_grad"
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let [indices, dy] = arity(inputs)?;
        ensure!(
            indices.shape == dy.shape,
            "indices {indices} and gradient {dy} differ"
        );
        Ok(vec![dy.with_shape(self.x)])
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        let Shape([_, h, w, c]) = self.x;
        let Shape([_, h_out, w_out, _]) = inputs[1].shape();
        let (indices, dy) = (inputs[0].u32(), inputs[1].f32());
        let image = h_out * w_out * c;
        let gradients = indices.par_chunks(image).zip(dy.par_chunks(image));
        outputs[0]
            .f32()
            .par_chunks_mut(h * w * c)
            .zip(gradients)
            .for_each(|(dx, (indices, dy))| {
                for (pixel, dx) in dx.chunks_exact_mut(c).enumerate() {
                    dx.fill(0.0);
                    for (p, _) in self.window.around(pixel / w, h_out) {
                        for (q, _) in self.window.around(pixel % w, w_out) {
                            let o = (p * w_out + q) * c;
                            let won = indices[o..o + c].iter().zip(&dy[o..o + c]);
                            for (dx, (&index, &dy)) in dx.iter_mut().zip(won) {
                                *dx += if index == pixel as u32 { dy } else { 0.0 };
                            }
                        }
                    }
                }
            });
    }

    fn launch(&self, inputs: &[TensorDesc], outputs: &[TensorDesc]) -> Launch {
        let (dx, dy) = (outputs[0].shape, inputs[1].shape);
        Launch::elements(
            Shader::Stored(SHADER, inputs[1].dtype),
            "grad_input",
            dx.len(),
            &geometry(self.window, dx, dy),
        )
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &[1, 1], &[1])
    }
}

/// The kernels' parameters after the number of elements.
fn geometry(window: Window, x: Shape, y: Shape) -> [u32; 8] {
    let (Shape([_, h, w, c]), Shape([_, h_out, w_out, _])) = (x, y);
    [
        h,
        w,
        c,
        h_out,
        w_out,
        window.kernel,
        window.stride,
        window.pad,
    ]
    .map(|p| p as u32)
}
