//! The intermediate representation: a list of nodes in execution order over named tensors.
//! A node reads only tensors that already exist, so no topological sort is ever needed.
mod autodiff;
mod tensor;

pub use autodiff::{Gradients, backward};
pub use tensor::{DType, Shape, TensorDesc};

use crate::ops::Op;
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;

/// Names a tensor of one [`Graph`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TensorId(u32);

/// Who owns a tensor's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Written by the host between steps, only read by nodes.
    Input,
    /// Lives across steps: parameters, running statistics, the data set, counters.
    State,
    /// Made by a node and dead after its last reader.
    Value,
}

/// A tensor of the graph.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// For people: PyTorch's name for a parameter, otherwise the layer and the op.
    pub name: String,
    /// Shape and element type.
    pub desc: TensorDesc,
    /// Who owns it.
    pub kind: Kind,
}

/// One op applied to tensors. Outputs that are states are rewritten in place.
#[derive(Clone, Debug)]
pub struct Node {
    /// What is done.
    pub op: Op,
    /// Tensors it reads.
    pub inputs: Vec<TensorId>,
    /// Tensors it writes: new values first, then states that it updates in place.
    pub outputs: Vec<TensorId>,
}

/// A static graph. Training and evaluation are ranges of nodes of one graph and so share their states.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    tensors: Vec<Tensor>,
    nodes: Vec<Node>,
    interned: HashMap<String, TensorId>,
    scope: String,
}

impl Graph {
    /// All nodes in execution order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All tensors with their ids, in order of creation.
    pub fn tensors(&self) -> impl Iterator<Item = (TensorId, &Tensor)> {
        self.tensors
            .iter()
            .enumerate()
            .map(|(i, t)| (TensorId(i as u32), t))
    }

    /// The tensor behind an id.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.0 as usize]
    }

    /// Shape and element type of a tensor.
    pub fn desc(&self, id: TensorId) -> TensorDesc {
        self.tensor(id).desc
    }

    /// Shape of a tensor.
    pub fn shape(&self, id: TensorId) -> Shape {
        self.desc(id).shape
    }

    /// Looks an input or a state up by its name, with its scope.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.interned.get(name).copied()
    }

    /// Puts `scope` before the names of the inputs and states that are declared from now on, so that
    /// parts with the same names can stand in one graph.
    pub fn set_scope(&mut self, scope: impl Into<String>) {
        self.scope = scope.into();
    }

    /// An input, interned by name. Asking again with another description is an error of the caller.
    pub fn input(&mut self, name: &str, desc: TensorDesc) -> TensorId {
        self.intern(name, desc, Kind::Input)
    }

    /// A state, interned by name, so that training and evaluation share it.
    pub fn state(&mut self, name: &str, desc: TensorDesc) -> TensorId {
        self.intern(name, desc, Kind::State)
    }

    /// Appends a node that makes new values; returns them.
    ///
    /// # Errors
    /// When the shapes do not fit the op.
    pub fn push(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> Result<Vec<TensorId>> {
        self.push_update(op, inputs, &[])
    }

    /// [`Graph::push`] for an op with exactly one output.
    pub fn push1(&mut self, op: impl Into<Op>, inputs: &[TensorId]) -> Result<TensorId> {
        let outputs = self.push(op, inputs)?;
        assert_eq!(outputs.len(), 1, "push1 is for ops with one output");
        Ok(outputs[0])
    }

    /// Appends a node that makes new values and rewrites `states` in place; returns the new values.
    ///
    /// The op's inferred outputs are the values first, then one description per state.
    ///
    /// # Errors
    /// When the shapes do not fit the op or a state's description is not what the op infers.
    pub fn push_update(
        &mut self,
        op: impl Into<Op>,
        inputs: &[TensorId],
        states: &[TensorId],
    ) -> Result<Vec<TensorId>> {
        let op = op.into();
        let name = op.def().name();
        for &s in states {
            assert!(
                self.tensor(s).kind == Kind::State,
                "{name}: only states are updated in place"
            );
            assert!(
                !inputs.contains(&s),
                "{name}: a state cannot be read and updated by one node"
            );
        }
        let descs: Vec<TensorDesc> = inputs.iter().map(|&t| self.desc(t)).collect();
        let mut inferred = op
            .def()
            .infer(&descs)
            .with_context(|| format!("{name}: the inputs do not fit"))?;
        assert!(
            inferred.len() >= states.len(),
            "{name}: more states than outputs"
        );
        let of_states = inferred.split_off(inferred.len() - states.len());
        for (&s, want) in states.iter().zip(of_states) {
            let Tensor {
                name: state, desc, ..
            } = self.tensor(s);
            ensure!(
                *desc == want,
                "{name}: state {state} is {desc}, but {want} is needed"
            );
        }
        let values: Vec<TensorId> = inferred
            .into_iter()
            .map(|desc| {
                self.new_tensor(format!("{name}.{}", self.tensors.len()), desc, Kind::Value)
            })
            .collect();
        let outputs = values.iter().chain(states).copied().collect();
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs,
        });
        Ok(values)
    }

    /// Gives a value a name that people recognise in dumps and messages.
    pub fn label(&mut self, id: TensorId, name: impl Into<String>) {
        assert!(
            self.tensor(id).kind == Kind::Value,
            "inputs and states keep their names"
        );
        self.tensors[id.0 as usize].name = name.into();
    }

    fn intern(&mut self, name: &str, desc: TensorDesc, kind: Kind) -> TensorId {
        let name = format!("{}{name}", self.scope);
        if let Some(&id) = self.interned.get(&name) {
            let known = self.tensor(id);
            assert!(
                known.desc == desc && known.kind == kind,
                "{name} is declared twice, differently"
            );
            return id;
        }
        let id = self.new_tensor(name.clone(), desc, kind);
        self.interned.insert(name, id);
        id
    }

    fn new_tensor(&mut self, name: String, desc: TensorDesc, kind: Kind) -> TensorId {
        self.tensors.push(Tensor { name, desc, kind });
        TensorId((self.tensors.len() - 1) as u32)
    }
}
