//! The intermediate representation: a list of nodes in execution order over named tensors.
//! A node reads only tensors that already exist, so no topological sort is ever needed.
use crate::ops::Op;
use crate::tensor::{DType, Shape, TensorDesc};
use anyhow::{Context, Result, ensure};
use std::{
    collections::{HashMap, HashSet},
    ops::Range,
};

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
    /// The tensor that it is a part of, and its first byte there; see [`Graph::pack`].
    pub part_of: Option<(TensorId, usize)>,
}

/// The most elements of a tensor, 1 TiB of f32: no device holds more, and no product of sizes wraps below.
const MOST_ELEMENTS: usize = if usize::BITS < 64 { 1 << 29 } else { 1 << 38 };

/// Refuses tensors of which nothing larger could be computed.
fn check_sizes(op: &str, descs: &[TensorDesc]) -> Result<()> {
    for desc in descs {
        ensure!(
            desc.shape.len() <= MOST_ELEMENTS,
            "{op}: a tensor of {} has more than the {MOST_ELEMENTS} elements that any device could hold: take a \
             smaller batch or smaller images",
            desc.shape
        );
    }
    Ok(())
}

/// Parts of a packed tensor begin at multiples of this many bytes, which every device can bind.
const PACK_ALIGNMENT: usize = 1024;

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
    /// The most bytes of a pack that holds more than one tensor: half of what every device can bind.
    pub const MAX_PACK_BYTES: usize = 64 << 20;

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

    /// The tensor whose bytes hold this one's, and the first of them: the tensor itself, or its pack.
    pub fn whole(&self, id: TensorId) -> (TensorId, usize) {
        self.tensor(id).part_of.unwrap_or((id, 0))
    }

    /// Lays f32 tensors of one kind one after another in a new tensor, so that one node can work on
    /// all of them. They keep their names and are used as before; no node may write one of them
    /// while it reads another.
    pub fn pack(&mut self, name: &str, members: &[TensorId]) -> TensorId {
        let mut bytes = 0_usize;
        let mut offsets = Vec::new();
        for &t in members {
            bytes = bytes.next_multiple_of(PACK_ALIGNMENT);
            offsets.push(bytes);
            bytes += self.desc(t).bytes();
        }
        let desc = TensorDesc::f32(Shape::channels(bytes / 4));
        let pack = match self.tensor(members[0]).kind {
            Kind::State => self.state(name, desc),
            kind => self.new_tensor(name.to_string(), desc, kind),
        };
        for (&t, offset) in members.iter().zip(offsets) {
            let kind = self.tensor(pack).kind;
            let tensor = &mut self.tensors[t.0 as usize];
            assert!(
                tensor.part_of.is_none() && tensor.kind == kind && tensor.desc.dtype == DType::F32,
                "{} cannot be packed",
                tensor.name
            );
            tensor.part_of = Some((pack, offset));
        }
        pack
    }

    /// A new value like another one, which may be packed with others.
    pub(super) fn twin(&mut self, t: TensorId) -> TensorId {
        let Tensor { name, desc, .. } = self.tensor(t).clone();
        self.new_tensor(name, desc, Kind::Value)
    }

    /// The tensors packed into this one, in the order of their bytes.
    pub fn parts(&self, pack: TensorId) -> impl Iterator<Item = (TensorId, &Tensor)> {
        let of_pack = |t: &Tensor| t.part_of.filter(|(whole, _)| *whole == pack);
        let mut parts: Vec<_> = self
            .tensors()
            .filter_map(|(id, t)| Some((of_pack(t)?.1, id, t)))
            .collect();
        parts.sort_by_key(|(offset, ..)| *offset);
        parts.into_iter().map(|(_, id, t)| (id, t))
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
        let mut inferred = self.infer(&op, inputs)?;
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
        let values = self.new_values(name, inferred);
        let outputs = values.iter().chain(states).copied().collect();
        self.nodes.push(Node {
            op,
            inputs: inputs.to_vec(),
            outputs,
        });
        Ok(values)
    }

    /// A node that is not yet in the graph: its first outputs are `known`, the others new values.
    pub(super) fn node(&mut self, op: Op, inputs: &[TensorId], known: &[TensorId]) -> Result<Node> {
        let mut inferred = self.infer(&op, inputs)?;
        let name = op.def().name();
        let of_known: Vec<TensorDesc> = inferred.drain(..known.len()).collect();
        for (&t, want) in known.iter().zip(of_known) {
            assert!(
                self.desc(t) == want,
                "{name}: {} is {want}",
                self.tensor(t).name
            );
        }
        let values = self.new_values(name, inferred);
        Ok(Node {
            op,
            inputs: inputs.to_vec(),
            outputs: known.iter().chain(&values).copied().collect(),
        })
    }

    /// Appends nodes whose tensors are in the graph, and returns their range.
    pub(super) fn append(&mut self, nodes: Vec<Node>) -> Range<usize> {
        let start = self.nodes.len();
        self.nodes.extend(nodes);
        start..self.nodes.len()
    }

    /// Those of the nodes that a kept value or a state's update depends on, in order.
    pub fn live<'n>(&self, nodes: &'n [Node], keep: &[TensorId]) -> Vec<&'n Node> {
        let mut needed: HashSet<TensorId> = keep.iter().copied().collect();
        let mut live = Vec::new();
        for node in nodes.iter().rev() {
            let updates = |t: &TensorId| self.tensor(*t).kind == Kind::State;
            let is_needed = |t: &TensorId| needed.contains(t) || needed.contains(&self.whole(*t).0);
            if node.outputs.iter().any(|t| is_needed(t) || updates(t)) {
                needed.extend(&node.inputs);
                live.push(node);
            }
        }
        live.reverse();
        live
    }

    /// Gives a value a name that people recognise in dumps and messages.
    pub fn label(&mut self, id: TensorId, name: impl Into<String>) {
        assert!(
            self.tensor(id).kind == Kind::Value,
            "inputs and states keep their names"
        );
        self.tensors[id.0 as usize].name = name.into();
    }

    fn infer(&self, op: &Op, inputs: &[TensorId]) -> Result<Vec<TensorDesc>> {
        let descs: Vec<TensorDesc> = inputs.iter().map(|&t| self.desc(t)).collect();
        let name = op.def().name();
        check_sizes(name, &descs)?;
        let outputs = op.def().infer(&descs);
        let outputs = outputs.with_context(|| format!("{name}: the inputs do not fit"))?;
        check_sizes(name, &outputs)?;
        Ok(outputs)
    }

    fn new_values(&mut self, op: &str, descs: Vec<TensorDesc>) -> Vec<TensorId> {
        let value = |desc| {
            let name = format!("{op}.{}", self.tensors.len());
            self.new_tensor(name, desc, Kind::Value)
        };
        descs.into_iter().map(value).collect()
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
        self.tensors.push(Tensor {
            name,
            desc,
            kind,
            part_of: None,
        });
        TensorId((self.tensors.len() - 1) as u32)
    }
}
