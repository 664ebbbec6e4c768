//! Reverse-mode differentiation as a graph-to-graph step: it appends ordinary nodes to the same graph.
use super::{Graph, Kind, TensorId};
use crate::ops::Add;
use anyhow::Result;
use std::{collections::HashMap, ops::Range};

/// For each tensor that the seeds depend on, the tensor that holds its gradient.
pub type Gradients = HashMap<TensorId, TensorId>;

/// Appends the backward pass of `nodes` and returns every gradient it made.
///
/// `seeds` pairs a tensor with the gradient of the final scalar with respect to it. Nodes whose
/// gradients nobody reads are left for the planner to drop. This is the one place where the
/// gradients of a tensor with several readers are summed.
///
/// # Errors
/// When an op on the way has no gradient.
pub fn backward(
    g: &mut Graph,
    nodes: Range<usize>,
    seeds: &[(TensorId, TensorId)],
) -> Result<Gradients> {
    let forward = g.nodes()[nodes].to_vec();
    let mut grads: Gradients = seeds.iter().copied().collect();
    for node in forward.iter().rev() {
        let dy: Vec<_> = node.outputs.iter().map(|t| grads.get(t).copied()).collect();
        if dy.iter().all(Option::is_none) {
            continue;
        }
        let dx = node.op.def().backward(g, node, &dy)?;
        assert_eq!(
            dx.len(),
            node.inputs.len(),
            "{}: one gradient per input",
            node.op.def().name()
        );
        for (&x, dx) in node.inputs.iter().zip(dx) {
            let Some(dx) = dx else { continue };
            let total = match grads.get(&x) {
                Some(&sum) => g.push1(Add, &[sum, dx])?,
                None => dx,
            };
            if g.tensor(total).kind == Kind::Value {
                g.label(total, format!("d.{}", g.tensor(x).name));
            }
            grads.insert(x, total);
        }
    }
    Ok(grads)
}
