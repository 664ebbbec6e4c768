//! A convolution in every tiling that is worth timing, as one plan on buffers of its own.
use super::Gpu;
use crate::backend::Backend;
use crate::graph::{Graph, TensorId};
use crate::ops::tuning::{Convolution, Tiling};
use crate::ops::{BatchNormFinish, BatchNormGradSum, Fill, Mask, Op, SumPartials};
use crate::plan::{Binding, Dispatch, Limits, Place, Plan, plan};
use crate::tensor::{Shape, TensorDesc};
use anyhow::Result;
use std::ops::Range;

/// What all operands are filled with: as f16 it is twice 0.5, as f32 it is 3e-5. Neither it nor a sum of
/// its products is zero or denormal, which some devices compute faster or slower than anything else.
const OPERAND: u32 = 0x3800_3800;

/// The most bytes that one dispatch fills.
const FILL: usize = 64 << 20;

/// A convolution that is to be timed.
pub struct Trial {
    pub key: String,
    /// The first is what its shapes decide.
    pub candidates: Vec<Tiling>,
    /// Dispatches that fill the operands, and then those of each candidate; `None` where there is no
    /// room, or where the first cannot run alone.
    pub plan: Option<Plan>,
    /// The dispatches of each candidate, counted behind those that fill.
    ranges: Vec<Range<usize>>,
}

/// The trials of these convolutions, with all their kernels compiled and their buffers allocated, which
/// take at most `room` bytes.
///
/// # Errors
/// When the device fails.
pub fn all(
    gpu: &mut Gpu,
    convolutions: Vec<(String, &Convolution)>,
    room: u64,
) -> Result<Vec<Trial>> {
    let (limits, most) = (gpu.limits(), gpu.max_buffer());
    let mut whole = empty();
    let mut trials = Vec::new();
    for (key, convolution) in convolutions {
        let mut trial = Trial::new(key, convolution, limits);
        if let Some(plan) = trial.plan.take() {
            let slots = larger(&whole.slots, &plan.slots);
            let bytes: u64 = slots.iter().map(|&s| s as u64).sum();
            if bytes <= room && slots.iter().all(|&s| s as u64 <= most) {
                whole.slots = slots;
                whole.dispatches.extend(plan.dispatches.clone());
                trial.plan = Some(plan);
            }
        }
        trials.push(trial);
    }
    gpu.compile(whole)?;
    Ok(trials)
}

/// Whether the device's clock goes on while it works: an adapter may offer one that does not.
///
/// # Errors
/// When the device fails.
pub fn has_clock(gpu: &mut Gpu) -> Result<bool> {
    if !gpu.has_timestamps() {
        return Ok(false);
    }
    let mut plan = empty();
    let mut g = Graph::default();
    let t = g.input("0", TensorDesc::f32(Shape::channels(1 << 20)));
    plan.slots = vec![g.desc(t).bytes()];
    plan.dispatches = fill(t, 0, plan.slots[0], gpu.limits());
    let id = gpu.compile(plan)?;
    let seconds = gpu.profile(id)?;
    gpu.forget()?;
    Ok(seconds.iter().all(|&s| s > 0.0))
}

impl Trial {
    pub fn new(key: String, convolution: &Convolution, limits: Limits) -> Trial {
        let mut candidates = Vec::new();
        let mut all: Option<Plan> = None;
        let mut ranges = Vec::new();
        let mut dispatches = Vec::new();
        for tiling in convolution.candidates() {
            let op = convolution.cut(tiling);
            let alone = alone(&op, &convolution.inputs, limits);
            if alone.is_ok() || candidates.is_empty() {
                candidates.push(tiling);
            }
            // Partial results that exceed what may be bound cannot be reduced.
            let Ok((plan, operands)) = alone else {
                continue;
            };
            let start = dispatches.len();
            dispatches.extend(plan.dispatches);
            ranges.push(start..dispatches.len());
            match &mut all {
                Some(all) => all.slots = larger(&all.slots, &plan.slots),
                None => {
                    let operands = operands.into_iter().enumerate();
                    let fills = operands
                        .flat_map(|(slot, t)| fill(t, slot, plan.slots[slot], limits))
                        .collect();
                    all = Some(Plan {
                        dispatches: fills,
                        slots: plan.slots,
                        ..empty()
                    });
                }
            }
        }
        if let Some(all) = &mut all {
            all.dispatches.extend(dispatches);
        }
        // Without the first there is nothing to compare with.
        let plan = all.filter(|_| ranges.len() == candidates.len());
        Trial {
            key,
            candidates,
            plan,
            ranges,
        }
    }

    /// Dispatches that fill the operands.
    fn fills(&self, plan: &Plan) -> usize {
        plan.dispatches.len() - self.ranges.last().map_or(0, |range| range.end)
    }

    /// The plan that runs every candidate so many times, in turns.
    pub fn rounds(&self, rounds: usize) -> Plan {
        let mut plan = self.plan.clone().unwrap_or_else(empty);
        let round = plan.dispatches[self.fills(&plan)..].to_vec();
        for _ in 1..rounds {
            plan.dispatches.extend(round.clone());
        }
        plan
    }

    /// From the seconds of each dispatch of [`Self::rounds`] the median of each candidate's, but for its
    /// first `warm_ups`.
    pub fn medians(&self, seconds: &[f64], warm_ups: usize) -> Vec<f64> {
        let fills = self.plan.as_ref().map_or(0, |plan| self.fills(plan));
        let round = self.ranges.last().map_or(0, |range| range.end).max(1);
        let median = |range: &Range<usize>| {
            let rounds = seconds[fills..].chunks_exact(round).skip(warm_ups);
            let mut times: Vec<f64> = rounds
                .map(|round| round[range.clone()].iter().sum())
                .collect();
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        };
        self.ranges.iter().map(median).collect()
    }
}

/// The plan of a convolution and of what reduces its partial results, since a tiling decides how many there
/// are. All tensors lie in slots, those that it reads and the states first; these are returned too.
fn alone(op: &Op, inputs: &[TensorDesc], limits: Limits) -> Result<(Plan, Vec<TensorId>)> {
    let mut g = Graph::default();
    let inputs = inputs.iter().enumerate();
    let inputs: Vec<TensorId> = inputs.map(|(i, d)| g.input(&i.to_string(), *d)).collect();
    let mut keep = g.push(op.clone(), &inputs)?;
    let partials = keep[keep.len() - 1];
    let c = g.shape(partials).c();
    let per_channel = TensorDesc::f32(Shape::channels(c));
    let reduced = match op {
        Op::Conv2d(op) if op.moments => {
            let finish = BatchNormFinish {
                eps: 1e-5,
                momentum: 0.1,
                bias: false,
            };
            let [gamma, beta] = ["gamma", "beta"].map(|name| g.input(name, per_channel));
            let running = ["mean", "var"].map(|name| g.state(name, per_channel));
            g.push_update(finish, &[partials, gamma, beta], &running)?
        }
        Op::Conv2dGradInput(op) if op.mask != Mask::None => {
            g.push(BatchNormGradSum, &[partials])?
        }
        Op::Conv2dGradWeight(op) => g.push(SumPartials { shape: op.w }, &[partials])?,
        _ => Vec::new(),
    };
    keep.extend(reduced);
    let mut plan = plan(&g, 0..g.nodes().len(), &keep, limits)?;
    let operands: Vec<TensorId> = plan.owned.keys().copied().collect();
    let bindings = plan.dispatches.iter_mut();
    for b in bindings.flat_map(|d| d.inputs.iter_mut().chain(&mut d.outputs)) {
        b.place = match b.place {
            Place::Slot(slot) => Place::Slot(operands.len() + slot),
            Place::Own(t) => Place::Slot(
                operands
                    .iter()
                    .position(|&o| o == t)
                    .expect("one of the operands"),
            ),
        };
    }
    let slots = plan.owned.values().chain(&plan.slots).copied().collect();
    let plan = Plan {
        dispatches: plan.dispatches,
        slots,
        ..empty()
    };
    Ok((plan, operands))
}

/// Dispatches that fill a slot of so many bytes, whatever its elements are.
fn fill(tensor: TensorId, slot: usize, bytes: usize, limits: Limits) -> Vec<Dispatch> {
    let piece = limits.max_binding.min(FILL) / limits.offset_alignment * limits.offset_alignment;
    let dispatch = |offset: usize| {
        let shape = Shape::channels((bytes - offset).min(piece).div_ceil(4));
        let value = f32::from_bits(OPERAND);
        Dispatch {
            op: Fill { value, shape }.into(),
            inputs: Vec::new(),
            outputs: vec![Binding {
                tensor,
                place: Place::Slot(slot),
                offset,
                desc: TensorDesc::f32(shape),
            }],
            cooperative: None,
            cut_from: None,
        }
    };
    (0..bytes).step_by(piece).map(dispatch).collect()
}

fn empty() -> Plan {
    Plan {
        dispatches: Vec::new(),
        slots: Vec::new(),
        kept: Default::default(),
        owned: Default::default(),
        parts: Default::default(),
    }
}

/// Slots that serve for both.
fn larger(a: &[usize], b: &[usize]) -> Vec<usize> {
    let size = |slots: &[usize], i| slots.get(i).copied().unwrap_or(0);
    let all = 0..a.len().max(b.len());
    all.map(|i| size(a, i).max(size(b, i))).collect()
}
