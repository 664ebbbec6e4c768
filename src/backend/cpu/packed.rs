//! Weights as the kernels of convolutions read them, kept from one run to the next where no plan changes them: a small
//! batch would spend more time on preparing them than on its products.
use super::buffer::Buffer;
use crate::graph::TensorId;
use crate::kernels::CpuContext;
use crate::kernels::conv::{self, Form, Geometry};
use crate::ops::Op;
use crate::plan::{Binding, Dispatch, Place, Plan};
use anyhow::Result;
use std::collections::{HashMap, HashSet, hash_map::Entry};

/// How a dispatch is computed, which may be a piece of one.
pub fn context_of(dispatch: &Dispatch, cpu: CpuContext) -> CpuContext {
    CpuContext {
        batch: dispatch.cut_from,
        ..cpu
    }
}

/// Which input of a forward pass is its weight.
pub const WEIGHT: usize = 1;

/// The kept weights of a backend.
#[derive(Default)]
pub struct PackedWeights {
    /// The buffers that some plan writes: what is made of them would not last.
    written: HashSet<TensorId>,
    weights: HashMap<Key, Buffer>,
}

/// The buffer of a weight, its place there, and its form.
type Key = (TensorId, usize, Form);

impl PackedWeights {
    /// Takes note of what a plan writes.
    pub fn compile(&mut self, plan: &Plan) {
        for buffer in written(plan) {
            self.written.insert(buffer);
            self.forget(buffer);
        }
    }

    /// Drops what was made of a buffer that is written.
    pub fn forget(&mut self, buffer: TensorId) {
        self.weights.retain(|&(of, ..), _| of != buffer);
    }

    /// The prepared weight of a dispatch, made now if need be; `None` where it is not to be kept.
    ///
    /// # Errors
    /// When the memory is not there.
    pub fn weight(
        &mut self,
        dispatch: &Dispatch,
        cpu: CpuContext,
        owned: &HashMap<TensorId, Buffer>,
    ) -> Result<Option<&[f32]>> {
        let Some(Weight {
            key,
            len,
            geometry,
            binding,
        }) = Weight::of(dispatch, cpu)
        else {
            return Ok(None);
        };
        if self.written.contains(&key.0) {
            return Ok(None);
        }
        let buffer = match self.weights.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let mut buffer = Buffer::zeroed(4 * len)?;
                let w = &owned[&key.0].bytes()[binding.offset..][..binding.desc.bytes()];
                let prepared = bytemuck::cast_slice_mut(buffer.bytes_mut());
                conv::prepare(&geometry, bytemuck::cast_slice(w), prepared);
                entry.insert(buffer)
            }
        };
        Ok(Some(bytemuck::cast_slice(buffer.bytes())))
    }
}

/// Bytes that a backend with these plans keeps.
pub fn bytes(plans: &[&Plan], cpu: CpuContext) -> u64 {
    let written: HashSet<TensorId> = plans.iter().copied().flat_map(written).collect();
    let dispatches = plans.iter().flat_map(|plan| &plan.dispatches);
    let weights = dispatches.filter_map(|dispatch| Weight::of(dispatch, cpu));
    let kept = weights.filter(|weight| !written.contains(&weight.key.0));
    let each: HashMap<Key, usize> = kept.map(|weight| (weight.key, weight.len)).collect();
    each.into_values().map(|len| 4 * len as u64).sum()
}

/// The buffers of inputs and states that a plan writes.
fn written(plan: &Plan) -> impl Iterator<Item = TensorId> {
    let outputs = plan.dispatches.iter().flat_map(|d| &d.outputs);
    outputs.filter_map(|output| match output.place {
        Place::Own(buffer) => Some(buffer),
        Place::Slot(_) => None,
    })
}

/// A weight that it pays to keep.
struct Weight<'a> {
    key: Key,
    /// f32 numbers, once it is prepared.
    len: usize,
    geometry: Geometry,
    binding: &'a Binding,
}

impl Weight<'_> {
    /// The weight of a dispatch, if that is a forward pass which it pays to keep it for.
    fn of(dispatch: &Dispatch, cpu: CpuContext) -> Option<Weight<'_>> {
        let Op::Conv2d(conv) = &dispatch.op else {
            return None;
        };
        let binding = &dispatch.inputs[WEIGHT];
        let Place::Own(buffer) = binding.place else {
            return None;
        };
        let [x, y] = [&dispatch.inputs[0], &dispatch.outputs[0]].map(|b| b.desc.shape);
        let geometry = conv.geometry(x, binding.desc.shape, y, context_of(dispatch, cpu));
        let (form, len) = conv::form(&geometry)?;
        Some(Weight {
            key: (buffer, binding.offset, form),
            len,
            geometry,
            binding,
        })
    }
}
