//! The nodes of a graph while rules of fusion look at them and replace them.
use crate::graph::{Graph, Node, TensorId};
use crate::ops::Op;
use anyhow::Result;
use std::{collections::HashSet, ops::Range};

/// The nodes while they are rewritten.
pub struct Rewrite<'g> {
    pub g: &'g mut Graph,
    pub nodes: Vec<Node>,
    pub kept: HashSet<TensorId>,
}

impl<'g> Rewrite<'g> {
    pub fn new(g: &'g mut Graph, nodes: Range<usize>, keep: &[TensorId]) -> Rewrite<'g> {
        Rewrite {
            nodes: g.nodes()[nodes].to_vec(),
            kept: keep.iter().copied().collect(),
            g,
        }
    }

    /// Position of the node that makes a value.
    pub fn maker(&self, t: TensorId) -> Option<usize> {
        self.nodes.iter().position(|node| node.outputs.contains(&t))
    }

    /// The op that makes a value, and its inputs.
    pub fn made_by(&self, t: TensorId) -> Option<(&Op, &[TensorId])> {
        let node = &self.nodes[self.maker(t)?];
        Some((&node.op, &node.inputs))
    }

    /// Positions of the nodes that read a value.
    pub fn readers(&self, t: TensorId) -> Vec<usize> {
        (0..self.nodes.len())
            .filter(|&i| self.nodes[i].inputs.contains(&t))
            .collect()
    }

    /// Whether nothing but the node at `reader` needs a value.
    pub fn private(&self, t: TensorId, reader: usize) -> bool {
        !self.kept.contains(&t) && self.readers(t) == [reader]
    }

    /// Puts a node in the place of another; its first outputs are `outputs`, the others new values.
    pub fn replace(
        &mut self,
        at: usize,
        op: impl Into<Op>,
        inputs: &[TensorId],
        outputs: &[TensorId],
    ) -> Result<()> {
        self.nodes[at] = self.g.node(op.into(), inputs, outputs)?;
        Ok(())
    }

    /// Lets the nodes that read `from` read `to` instead.
    pub fn redirect(&mut self, from: TensorId, to: TensorId) {
        let inputs = self.nodes.iter_mut().flat_map(|node| &mut node.inputs);
        inputs.filter(|t| **t == from).for_each(|t| *t = to);
    }

    /// Lets the nodes make and read another value in the place of this one, and returns it.
    pub fn replace_by_twin(&mut self, t: TensorId) -> TensorId {
        let twin = self.g.twin(t);
        let outputs = self.nodes.iter_mut().flat_map(|node| &mut node.outputs);
        outputs
            .filter(|made| **made == t)
            .for_each(|made| *made = twin);
        self.redirect(t, twin);
        twin
    }

    /// Forgets the nodes that nothing kept and no state depends on.
    pub fn drop_dead(&mut self) {
        let keep: Vec<TensorId> = self.kept.iter().copied().collect();
        let live = self.g.live(&self.nodes, &keep);
        self.nodes = live.into_iter().cloned().collect();
    }
}
