//! From a range of nodes to a list of dispatches over a pool of buffers, all of it plain data:
//! liveness decides which values share a buffer, so the memory is known before it is allocated.
mod chunk;
mod dump;
mod roofline;

pub use roofline::Roofline;

use crate::graph::{Graph, Kind, TensorId};
use crate::ops::{Cooperative, Launch, Op};
use crate::tensor::TensorDesc;
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

/// What a device allows a dispatch to bind, and what it multiplies with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The largest part of a buffer that one binding may cover, in bytes.
    pub max_binding: usize,
    /// What the offset of a binding must be a multiple of, in bytes.
    pub offset_alignment: usize,
    /// The unit for products of images of f16 that kernels may use.
    pub cooperative: Option<Cooperative>,
}

impl Limits {
    /// No limits: the CPU.
    pub const NONE: Limits = Limits {
        max_binding: usize::MAX,
        offset_alignment: 1,
        cooperative: None,
    };
}

/// Where a tensor's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Place {
    /// A buffer of its own, shared by all plans: inputs and states.
    Own(TensorId),
    /// A buffer of the plan's pool, shared with values that are not alive at the same time.
    Slot(usize),
}

/// A tensor, or the part of it along N that one dispatch works on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Binding {
    /// The whole tensor's name in the graph.
    pub tensor: TensorId,
    /// The buffer.
    pub place: Place,
    /// First byte of the part, counted from the start of the buffer.
    pub offset: usize,
    /// Description of the part.
    pub desc: TensorDesc,
}

/// One kernel call.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// What is done.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<Binding>,
    /// What it writes.
    pub outputs: Vec<Binding>,
    /// What its kernel may multiply with, where it is a convolution's.
    pub cooperative: Option<Cooperative>,
}

impl Dispatch {
    /// The dispatch on a GPU as plain data.
    pub fn launch(&self) -> Launch {
        let (inputs, outputs) = (descs(&self.inputs), descs(&self.outputs));
        let launch = self.op.def().launch(&inputs, &outputs);
        launch.multiplied_by(self.cooperative)
    }

    /// Floating-point operations.
    pub fn flops(&self) -> u64 {
        self.op
            .def()
            .flops(&descs(&self.inputs), &descs(&self.outputs))
    }

    /// Bytes moved when every element that can be touched is touched once.
    pub fn bytes(&self) -> u64 {
        self.op
            .def()
            .bytes(&descs(&self.inputs), &descs(&self.outputs))
    }
}

/// The descriptions of some bindings, as [`crate::ops::OpDef`] takes them.
pub fn descs(bindings: &[Binding]) -> Vec<TensorDesc> {
    bindings.iter().map(|b| b.desc).collect()
}

/// A value that outlives the run that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The pool buffer that holds it.
    pub slot: usize,
    /// Its first byte there.
    pub offset: usize,
    /// Its size, which may be less than the buffer's.
    pub bytes: usize,
}

/// An input or a state that lies in another one's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// Whose buffer it is.
    pub of: TensorId,
    /// Its first byte there.
    pub offset: usize,
    /// Its size.
    pub bytes: usize,
}

/// A list of dispatches and the buffers they need.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Kernel calls in execution order.
    pub dispatches: Vec<Dispatch>,
    /// Size of each pool buffer in bytes.
    pub slots: Vec<usize>,
    /// The values that can be read after a run.
    pub kept: BTreeMap<TensorId, Kept>,
    /// Inputs and states that the plan touches and that have a buffer, with their sizes in bytes.
    pub owned: BTreeMap<TensorId, usize>,
    /// Inputs and states in the buffers of others.
    pub parts: BTreeMap<TensorId, Part>,
}

impl Plan {
    /// Whether an input or a state is on the device once the plan is compiled.
    pub fn holds(&self, tensor: TensorId) -> bool {
        self.owned.contains_key(&tensor) || self.parts.contains_key(&tensor)
    }

    /// Bytes of all pool buffers.
    pub fn pool_bytes(&self) -> u64 {
        self.slots.iter().map(|&s| s as u64).sum()
    }

    /// Bytes of the plan's inputs and states.
    pub fn owned_bytes(&self) -> u64 {
        self.owned.values().map(|&s| s as u64).sum()
    }

    /// Bytes that running this plan needs in all.
    pub fn memory_bytes(&self) -> u64 {
        self.pool_bytes() + self.owned_bytes()
    }

    /// Floating-point operations of one run.
    pub fn flops(&self) -> u64 {
        self.dispatches.iter().map(Dispatch::flops).sum()
    }

    /// Bytes moved by one run, each dispatch touching its tensors once.
    pub fn bytes(&self) -> u64 {
        self.dispatches.iter().map(Dispatch::bytes).sum()
    }
}

/// Plans the nodes of `range` that the values in `keep` or any state depend on.
///
/// Values in `keep` can be read after a run; all others share buffers by liveness.
///
/// # Errors
/// When a tensor exceeds a limit and its dispatch cannot be cut along N.
pub fn plan(g: &Graph, range: Range<usize>, keep: &[TensorId], limits: Limits) -> Result<Plan> {
    let nodes = g.live(&g.nodes()[range], keep);
    let buffer = |t: TensorId| g.whole(t).0;
    let mut last_use = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for &t in node.inputs.iter().chain(&node.outputs) {
            last_use.insert(buffer(t), i);
        }
    }
    for &t in keep {
        last_use.insert(buffer(t), usize::MAX);
    }

    let mut pool = Pool::default();
    let mut plan = Plan {
        dispatches: Vec::new(),
        slots: Vec::new(),
        kept: BTreeMap::new(),
        owned: BTreeMap::new(),
        parts: BTreeMap::new(),
    };
    let mut places = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        let touched = node.inputs.iter().chain(&node.outputs);
        let touched: BTreeSet<TensorId> = touched.map(|&t| buffer(t)).collect();
        for &t in &touched {
            let bytes = g.desc(t).bytes();
            places.entry(t).or_insert_with(|| match g.tensor(t).kind {
                Kind::Value => Place::Slot(pool.take(bytes)),
                Kind::Input | Kind::State => {
                    plan.owned.insert(t, bytes);
                    Place::Own(t)
                }
            });
        }
        let whole = |&t: &TensorId| {
            let (buffer, offset) = g.whole(t);
            Binding {
                tensor: t,
                place: places[&buffer],
                offset,
                desc: g.desc(t),
            }
        };
        let dispatch = Dispatch {
            op: node.op.clone(),
            inputs: node.inputs.iter().map(whole).collect(),
            outputs: node.outputs.iter().map(whole).collect(),
            cooperative: limits.cooperative,
        };
        assert!(
            dispatch
                .inputs
                .iter()
                .all(|i| dispatch.outputs.iter().all(|o| i.place != o.place)),
            "{} reads a buffer that it writes",
            node.op.def().name()
        );
        plan.dispatches
            .extend(chunk::chunk(dispatch, limits).with_context(|| {
                format!(
                    "{} cannot run on this device",
                    g.tensor(node.outputs[0]).name
                )
            })?);
        // Outputs were placed before anything is given back, so no dispatch reads what it writes.
        for t in touched.into_iter().filter(|t| last_use[t] == i) {
            if let Place::Slot(slot) = places[&t] {
                pool.free.push(slot);
            }
        }
    }
    for &t in keep {
        let (buffer, offset) = g.whole(t);
        if let Some(&Place::Slot(slot)) = places.get(&buffer) {
            let bytes = g.desc(t).bytes();
            plan.kept.insert(
                t,
                Kept {
                    slot,
                    offset,
                    bytes,
                },
            );
        }
    }
    for &of in plan.owned.keys() {
        for (t, tensor) in g.parts(of) {
            let (_, offset) = g.whole(t);
            let bytes = tensor.desc.bytes();
            plan.parts.insert(t, Part { of, offset, bytes });
        }
    }
    plan.slots = pool.slots;
    Ok(plan)
}

/// Buffers that grow to the largest tensor they ever hold.
#[derive(Default)]
struct Pool {
    slots: Vec<usize>,
    free: Vec<usize>,
}

impl Pool {
    /// The free slot that wastes least: the smallest that is large enough, else the largest, grown.
    fn take(&mut self, bytes: usize) -> usize {
        let key = |&k: &usize| {
            let size = self.slots[self.free[k]];
            if size >= bytes {
                (0, size)
            } else {
                (1, usize::MAX - size)
            }
        };
        let Some(best) = (0..self.free.len()).min_by_key(key) else {
            self.slots.push(bytes);
            return self.slots.len() - 1;
        };
        let slot = self.free.swap_remove(best);
        self.slots[slot] = self.slots[slot].max(bytes);
        slot
    }
}
