//! Ops that make each element of their output of the elements at its place in their inputs. What such an op says here
//! makes it an [`OpDef`], for any element type of images and cut along N anywhere.
use super::rows::map_rows;
use super::wgsl::Wgsl;
use super::{Batched, Launch, OpDef, Shader, View, ViewMut};
use crate::graph::{Graph, Node, TensorId};
use crate::kernels::CpuContext;
use crate::tensor::TensorDesc;
use anyhow::{Result, bail, ensure};
use std::array;

/// An op of tensors that are all alike.
pub trait Elementwise: Sync {
    /// See [`OpDef::name`].
    const NAME: &'static str;

    /// The file of the kernel. Its uniform block begins with the number of elements.
    const SHADER: Wgsl;

    /// The kernel's entry point.
    const ENTRY: &'static str;

    /// `[f32; N]` for an op of N inputs.
    type Inputs: Elements;

    /// An element of the output. To be inlined, so that it becomes vector code.
    fn element(&self, inputs: Self::Inputs) -> f32;

    /// The gradients of the inputs, as [`OpDef::backward`] returns them, from that of the output.
    ///
    /// # Errors
    /// When the op has no gradient.
    fn gradients(&self, _: &mut Graph, _: &Node, _dy: TensorId) -> Result<Vec<Option<TensorId>>> {
        bail!("{} has no gradient", Self::NAME)
    }

    /// What follows the number of elements in the kernel's uniform block.
    fn params(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// The elements at one place of an op's inputs.
pub trait Elements: Sized {
    /// Number of inputs.
    const COUNT: usize;

    /// Makes every element of y.
    fn map(y: &mut ViewMut, inputs: &[View], element: impl Fn(Self) -> f32 + Sync);
}

impl<const N: usize> Elements for [f32; N] {
    const COUNT: usize = N;

    fn map(y: &mut ViewMut, inputs: &[View], element: impl Fn([f32; N]) -> f32 + Sync) {
        map_rows(
            y,
            array::from_fn(|k| Some(&inputs[k])),
            #[inline(always)]
            |y, inputs: [&[f32]; N]| {
                // Of equal lengths, so that no element's place is checked.
                let inputs = inputs.map(|x| &x[..y.len()]);
                for (i, y) in y.iter_mut().enumerate() {
                    *y = element(inputs.map(|x| x[i]));
                }
            },
        );
    }
}

impl<T: Elementwise> OpDef for T {
    fn name(&self) -> &'static str {
        T::NAME
    }

    fn infer(&self, inputs: &[TensorDesc]) -> Result<Vec<TensorDesc>> {
        let count = T::Inputs::COUNT;
        ensure!(
            inputs.len() == count,
            "takes {count} inputs, not {}",
            inputs.len()
        );
        for x in inputs {
            ensure!(*x == inputs[0], "{} and {x} differ", inputs[0]);
        }
        Ok(vec![inputs[0]])
    }

    fn backward(
        &self,
        g: &mut Graph,
        node: &Node,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        match dy[0] {
            Some(dy) => self.gradients(g, node, dy),
            None => Ok(vec![None; T::Inputs::COUNT]),
        }
    }

    fn takes_bf16(&self) -> bool {
        true
    }

    fn run_cpu(&self, _: CpuContext, inputs: &[View], outputs: &mut [ViewMut]) {
        T::Inputs::map(
            &mut outputs[0],
            inputs,
            #[inline(always)]
            |x| self.element(x),
        );
    }

    fn launch(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Launch {
        let TensorDesc { shape, dtype } = inputs[0];
        let shader = Shader::Stored(T::SHADER, dtype);
        Launch::elements(shader, T::ENTRY, shape.len(), &self.params())
    }

    fn batched(&self, inputs: &[TensorDesc], _: &[TensorDesc]) -> Option<Batched> {
        Batched::images(inputs[0].shape.n(), &vec![1; inputs.len()], &[1])
    }
}
