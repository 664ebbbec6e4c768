//! Fusion as a graph-to-graph step, measured in bytes that are not moved and in dispatches that are not
//! made: BatchNorm, ReLU and sums move into the ops beside them. The nodes that it replaces stay in the
//! graph and can be planned as before; they are the reference for the fused ones.
//!
//! Every rule is local and careful: a value that is kept, or read by a node that the rule does not
//! know, is made as before. The rules are in the order in which they build on each other:
//! `batch_norm` and `stem` on the way forward, `backward`, then `head`, then `optimizer`. Before the last,
//! `tile` cuts the convolutions as they were found to be fastest.
mod backward;
mod batch_norm;
mod head;
mod optimizer;
mod rewrite;
mod stem;
mod tile;

use super::{Graph, TensorId};
use crate::ops::tuning::TuningTable;
use anyhow::Result;
use rewrite::Rewrite;
use std::ops::Range;

/// Appends nodes that do what `nodes` do, and returns their range. Every value in `keep` and every
/// state is made by both; other values of the fused nodes may be missing or new. Convolutions are cut by
/// their shapes but where `tilings` has them.
///
/// # Errors
/// Never for nodes that fit each other.
pub fn fuse(
    g: &mut Graph,
    nodes: Range<usize>,
    keep: &[TensorId],
    tilings: &TuningTable,
) -> Result<Range<usize>> {
    let mut rewrite = Rewrite::new(g, nodes, keep);
    rewrite.drop_dead();
    batch_norm::leave_out_biases(&mut rewrite)?;
    stem::pool(&mut rewrite)?;
    batch_norm::activate(&mut rewrite)?;
    backward::mask(&mut rewrite)?;
    backward::add(&mut rewrite)?;
    batch_norm::into_convolutions(&mut rewrite)?;
    head::loss(&mut rewrite)?;
    rewrite.drop_dead();
    tile::cut(&mut rewrite, tilings)?;
    optimizer::gradients(&mut rewrite)?;
    rewrite.drop_dead();
    let nodes = rewrite.nodes;
    Ok(g.append(nodes))
}

/// The same for nodes that stay as they are but for their `tilings`.
///
/// # Errors
/// Never for nodes that fit each other.
pub fn retile(
    g: &mut Graph,
    nodes: Range<usize>,
    keep: &[TensorId],
    tilings: &TuningTable,
) -> Result<Range<usize>> {
    if tilings.is_empty() {
        return Ok(nodes);
    }
    let mut rewrite = Rewrite::new(g, nodes, keep);
    tile::cut(&mut rewrite, tilings)?;
    let nodes = rewrite.nodes;
    Ok(g.append(nodes))
}
