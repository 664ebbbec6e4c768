//! Runs a case's part of the graph and collects what came out. Nothing is judged here.
use super::{golden::Array, layout::Layout};
use crate::backend::{Backend, memory_needed};
use crate::graph::{self, Graph, Kind, TensorId};
use crate::ops::tuning::TuningTable;
use crate::plan::{self, Plan, mib};
use crate::tensor::{DType, Shape};
use anyhow::{Result, ensure};
use std::{collections::BTreeMap, ops::Range};

/// Some nodes, and what is done with them.
pub struct Stage {
    /// The nodes of one plan.
    pub nodes: Range<usize>,
    /// Runs of that plan in order; states go on from one to the next.
    pub runs: Vec<PlanRun>,
}

/// An input or a state, and its bytes.
pub type Write = (TensorId, Vec<u8>);

/// One run of a plan.
#[derive(Clone, Default)]
pub struct PlanRun {
    /// Inputs and states to overwrite before.
    pub writes: Vec<Write>,
    /// Results to read after.
    pub reads: Vec<Read>,
}

/// A result to read.
#[derive(Clone)]
pub struct Read {
    /// What the case calls it.
    pub name: String,
    /// The tensor.
    pub tensor: TensorId,
    /// Its order in PyTorch.
    pub layout: Layout,
}

/// A result as a backend gave it.
#[derive(Clone)]
pub struct Output {
    /// Our dimensions.
    pub shape: Shape,
    dtype: DType,
    layout: Layout,
    bytes: Vec<u8>,
}

/// Results by the names that the case gives them.
pub type Outputs = BTreeMap<String, Output>;

impl Read {
    /// The tensor under a name.
    pub fn new(name: impl Into<String>, tensor: TensorId, layout: Layout) -> Read {
        Read {
            name: name.into(),
            tensor,
            layout,
        }
    }

    /// Our dimensions of what is read.
    pub fn shape(&self, g: &Graph) -> Shape {
        match self.layout {
            Layout::First => Shape::channels(1),
            _ => g.shape(self.tensor),
        }
    }
}

impl Output {
    /// Whether a wanted tensor of PyTorch's has the dimensions of this one.
    pub fn fits<T>(&self, want: &Array<T>) -> bool {
        self.layout
            .shape(&want.shape)
            .is_ok_and(|s| s == self.shape)
    }

    /// Whether the elements are whole numbers: indices and labels.
    pub fn is_u32(&self) -> bool {
        self.dtype == DType::U32
    }

    /// What the elements are stored as.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The elements in PyTorch's order, exactly.
    pub fn to_torch(&self) -> Vec<f64> {
        let ours: Vec<f64> = match self.dtype {
            DType::F32 => widen::<f32>(&self.bytes),
            DType::F16 => self.halves(|bits| half::f16::from_bits(bits).to_f64()),
            DType::Bf16 => self.halves(|bits| half::bf16::from_bits(bits).to_f64()),
            DType::U32 => widen::<u32>(&self.bytes),
            DType::U8 => widen::<u8>(&self.bytes),
        };
        self.layout.to_torch(&ours, self.shape)
    }

    /// Adds `by` times an array in PyTorch's order to an f32 result.
    #[cfg(test)]
    pub fn plant(&mut self, direction: &Array<f64>, by: f64) {
        let mut values: Vec<f32> = bytemuck::pod_collect_to_vec(&self.bytes);
        let direction = self.layout.to_ours(direction).unwrap();
        for (v, direction) in values.iter_mut().zip(direction) {
            *v = (f64::from(*v) + by * direction) as f32;
        }
        self.bytes = bytes(&values);
    }

    /// The elements of 16 bits.
    fn halves(&self, value: impl Fn(u16) -> f64) -> Vec<f64> {
        let bits: Vec<u16> = bytemuck::pod_collect_to_vec(&self.bytes);
        bits.into_iter().map(value).collect()
    }
}

/// Fuses if `fuse` says so, plans, compiles and runs the stages in order.
///
/// # Errors
/// When a plan does not fit the device, or the device fails.
pub fn play(
    g: &mut Graph,
    backend: &mut dyn Backend,
    stages: &[Stage],
    fuse: bool,
) -> Result<Outputs> {
    let mut outputs = Outputs::new();
    for stage in stages {
        let reads = stage.runs.iter().flat_map(|run| &run.reads);
        let keep: Vec<TensorId> = reads.map(|read| read.tensor).collect();
        let mut nodes = stage.nodes.clone();
        if fuse {
            nodes = graph::fuse(g, nodes, &keep, &TuningTable::default())?;
        }
        let plan = plan::plan(g, nodes, &keep, backend.limits())?;
        check_memory(&plan, backend)?;
        let on_device = plan.clone();
        let id = backend.compile(plan)?;
        for run in &stage.runs {
            for (tensor, bytes) in &run.writes {
                // What no wanted result depends on is not on the device.
                if on_device.holds(*tensor) {
                    backend.write(*tensor, bytes)?;
                }
            }
            backend.run(id)?;
            for read in &run.reads {
                let bytes = match g.tensor(read.tensor).kind {
                    Kind::Value => backend.read_value(id, read.tensor)?,
                    Kind::Input | Kind::State => backend.read(read.tensor)?,
                };
                let output = Output {
                    shape: read.shape(g),
                    dtype: g.desc(read.tensor).dtype,
                    layout: read.layout,
                    bytes,
                };
                outputs.insert(read.name.clone(), output);
            }
        }
    }
    Ok(outputs)
}

/// Refuses a plan that would not fit: a few numbers in a file may ask for any amount.
fn check_memory(plan: &Plan, backend: &dyn Backend) -> Result<()> {
    let needed = memory_needed([plan]) + backend.scratch(&[plan]);
    if let Some(memory) = backend.memory()? {
        ensure!(
            needed <= memory,
            "it needs {}, but {} has {}",
            mib(needed),
            backend.device(),
            mib(memory)
        );
    }
    Ok(())
}

/// The bytes of some elements.
pub fn bytes<T: bytemuck::NoUninit>(values: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

fn widen<T: bytemuck::AnyBitPattern + bytemuck::NoUninit + Into<f64>>(bytes: &[u8]) -> Vec<f64> {
    bytemuck::pod_collect_to_vec::<u8, T>(bytes)
        .into_iter()
        .map(Into::into)
        .collect()
}
