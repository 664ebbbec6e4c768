//! What a plan is made of: kernel calls, and the parts of buffers that they read and write.
use crate::graph::TensorId;
use crate::ops::{Cooperative, Launch, Op};
use crate::tensor::TensorDesc;
use std::collections::BTreeMap;

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
    /// Images of the whole, where this is a piece of them.
    pub cut_from: Option<usize>,
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
pub struct KeptValue {
    /// The pool buffer that holds it.
    pub slot: usize,
    /// Its first byte there.
    pub offset: usize,
    /// Its size, which may be less than the buffer's.
    pub bytes: usize,
}

/// An input or a state that lies in another one's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Aliased {
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
    pub kept: BTreeMap<TensorId, KeptValue>,
    /// Inputs and states that the plan touches and that have a buffer, with their sizes in bytes.
    pub owned: BTreeMap<TensorId, usize>,
    /// Inputs and states in the buffers of others.
    pub parts: BTreeMap<TensorId, Aliased>,
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
