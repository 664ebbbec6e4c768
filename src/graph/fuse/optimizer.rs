//! The second stage of the gradients' reductions goes into the nodes that read the gradients: updates, sums over
//! micro-batches, checks for overflows and norms. What they read is packed anew for it.
use super::rewrite::Rewrite;
use crate::graph::{Graph, Kind, Node, TensorId};
use crate::ops::{Op, Segment};
use crate::tensor::DType;
use anyhow::Result;
use std::collections::{BTreeSet, HashMap};

/// The most rows that an update adds up by itself where they are not partial gradients yet.
const MAX_ROWS: usize = 512;

/// Where a gradient comes from: a tensor with so many partial gradients in it, or nowhere as it is zero.
type Source = Option<(TensorId, usize)>;

/// Gradients in one pack.
#[derive(Default)]
struct Group {
    /// The tensors that hold them.
    sources: Vec<TensorId>,
    /// By the places in the old pack.
    gradients: HashMap<usize, Source>,
}

/// Lets the readers of packed gradients read what those are the sums of.
pub fn gradients(r: &mut Rewrite) -> Result<()> {
    let of_values = |node: &Node| {
        segments(&node.op)?;
        let pack = node.inputs[0];
        (r.g.tensor(pack).kind == Kind::Value).then_some(pack)
    };
    let packs: BTreeSet<TensorId> = r.nodes.iter().filter_map(of_values).collect();
    for pack in packs {
        let groups = grouped(r, pack);
        let mut at = 0;
        while at < r.nodes.len() {
            let node = &r.nodes[at];
            if segments(&node.op).is_none() || node.inputs[0] != pack {
                at += 1;
                continue;
            }
            let mut nodes = Vec::new();
            for group in &groups {
                nodes.extend(of_group(r, &r.nodes[at].clone(), group)?);
            }
            if let Op::GradientCheck(_) | Op::GradientSquares(_) = r.nodes[at].op {
                nodes = combined(r, at, nodes)?;
            }
            let count = nodes.len();
            r.nodes.splice(at..=at, nodes);
            at += count;
        }
    }
    Ok(())
}

/// The segments of an op that has some.
fn segments(op: &Op) -> Option<&[Segment]> {
    match op {
        Op::Accumulate(op) => Some(&op.segments),
        Op::GradientCheck(op) => Some(&op.segments),
        Op::GradientSquares(op) => Some(&op.segments),
        Op::Update(op) => Some(&op.segments),
        _ => None,
    }
}

/// The part of a node whose gradients are in a group.
fn of_group(r: &mut Rewrite, node: &Node, group: &Group) -> Result<Option<Node>> {
    let mut op = node.op.clone();
    let segments = match &mut op {
        Op::Accumulate(op) => &mut op.segments,
        Op::GradientCheck(op) => &mut op.segments,
        Op::GradientSquares(op) => &mut op.segments,
        Op::Update(op) => &mut op.segments,
        _ => unreachable!("found as one of these"),
    };
    segments.retain(|s| group.gradients.contains_key(&s.g));
    if segments.is_empty() {
        return Ok(None);
    }
    for s in segments {
        (s.g, s.partials) = match group.gradients[&s.g] {
            Some((t, partials)) => (r.g.whole(t).1 / 4, partials),
            None => (0, 0),
        };
    }
    let mut inputs = node.inputs.clone();
    inputs[0] = r.g.whole(group.sources[0]).0;
    let states: Vec<TensorId> = node
        .outputs
        .iter()
        .copied()
        .filter(|&t| is_state(r, t))
        .collect();
    r.g.node(op, &inputs, &states).map(Some)
}

fn is_state(r: &Rewrite, t: TensorId) -> bool {
    r.g.tensor(t).kind == Kind::State
}

/// The checks in the place of the one at `at`, or the sums of squares, each followed by the op that combines its results with
/// those before; the last of these is made where there was one before.
fn combined(r: &mut Rewrite, at: usize, checks: Vec<Node>) -> Result<Vec<Node>> {
    let results = r.nodes[at].outputs[0];
    let end = r.readers(results)[0];
    let mut before = r.nodes[end].inputs.get(1).copied();
    let mut nodes = Vec::new();
    let last = checks.len() - 1;
    for (i, check) in checks.into_iter().enumerate() {
        let inputs: Vec<TensorId> = [check.outputs[0]].into_iter().chain(before).collect();
        nodes.push(check);
        if i == last {
            r.nodes[end].inputs = inputs;
        } else {
            let all = r.g.node(r.nodes[end].op.clone(), &inputs, &[])?;
            before = Some(all.outputs[0]);
            nodes.push(all);
        }
    }
    Ok(nodes)
}

/// The gradients of a pack in new packs: as few as there can be where none is too large, and no node reads and
/// writes one of them. Gradients that are kept stay in the old one.
fn grouped(r: &mut Rewrite, pack: TensorId) -> Vec<Group> {
    let parts: Vec<TensorId> = r.g.parts(pack).map(|(t, _)| t).collect();
    let mut sources: Vec<(usize, Source)> = Vec::new();
    for t in parts {
        sources.push((r.g.whole(t).1 / 4, source(r, t)));
    }
    let mut twins: HashMap<TensorId, TensorId> = HashMap::new();
    for (t, _) in sources.iter_mut().filter_map(|(_, source)| source.as_mut()) {
        if stays(r, *t) {
            continue;
        }
        *t = *twins.entry(*t).or_insert_with(|| r.replace_by_twin(*t));
    }
    let mut groups = vec![Group::default()];
    for (place, source) in sources {
        let at = match source {
            Some((t, _)) => {
                let fitting = groups.iter().position(|group| takes(r, group, t));
                fitting.unwrap_or(groups.len())
            }
            None => 0,
        };
        if at == groups.len() {
            groups.push(Group::default());
        }
        let group = &mut groups[at];
        group.gradients.insert(place, source);
        if let Some((t, _)) = source
            && !group.sources.contains(&t)
        {
            group.sources.push(t);
        }
    }
    for Group { sources, .. } in &groups {
        if r.g.tensor(sources[0]).part_of.is_none() {
            r.g.pack("gradients", sources);
        }
    }
    groups
}

/// Whether a source is read under its own name: it is in no pack yet, or kept in the old one.
fn stays(r: &Rewrite, t: TensorId) -> bool {
    r.g.tensor(t).part_of.is_none() || r.kept.contains(&t)
}

/// Whether a group has room for a source.
fn takes(r: &Rewrite, group: &Group, t: TensorId) -> bool {
    let pack_of = |t: TensorId| r.g.tensor(t).part_of.map(|(pack, _)| pack);
    let mut others = group.sources.iter();
    if let Some(pack) = pack_of(t) {
        return others.all(|&other| pack_of(other) == Some(pack));
    }
    let bytes = |ts: &[TensorId]| ts.iter().map(|&t| r.g.desc(t).bytes()).sum::<usize>();
    let room =
        group.sources.is_empty() || bytes(&group.sources) + bytes(&[t]) <= Graph::MAX_PACK_BYTES;
    group.sources.contains(&t)
        || (room && others.all(|&other| pack_of(other).is_none() && apart(r, t, other)))
}

/// Whether no node reads one of two values and makes the other.
fn apart(r: &Rewrite, a: TensorId, b: TensorId) -> bool {
    r.nodes.iter().all(|node| {
        let makes = |t| node.outputs.contains(&t);
        let reads = |t| node.inputs.contains(&t);
        !(makes(a) && reads(b) || makes(b) && reads(a))
    })
}

/// What a packed gradient is the sum of, if nothing but the readers of the pack needs it.
fn source(r: &Rewrite, t: TensorId) -> Source {
    let itself = Some((t, 1));
    let Some((Op::SumPartials(_), &[partials])) = r.made_by(t) else {
        return itself;
    };
    if r.kept.contains(&t) || !r.readers(t).is_empty() {
        return itself;
    }
    let sum = Some((partials, r.g.shape(partials).n()));
    let Some((Op::Conv2dGradBias(_), &[dy])) = r.made_by(partials) else {
        return sum;
    };
    if let Some(dbeta) = same_sum(r, dy) {
        return Some((dbeta, 1));
    }
    let rows = r.g.shape(dy).rows();
    if sums_to_zero(r, dy) {
        None
    } else if rows <= MAX_ROWS && r.g.desc(dy).dtype == DType::F32 && !r.kept.contains(&dy) {
        Some((dy, rows))
    } else {
        sum
    }
}

/// A bias beside a BatchNorm, such as a projecting shortcut's, has the gradient of BatchNorm's beta:
/// both are the sum of one gradient over all pixels.
fn same_sum(r: &Rewrite, dy: TensorId) -> Option<TensorId> {
    let of_dy = |node: &&Node| {
        let Op::BatchNormGradSum(_) = node.op else {
            return false;
        };
        r.maker(node.inputs[0]).is_some_and(|maker| {
            let node = &r.nodes[maker];
            match &node.op {
                Op::BatchNormGradPartials(_) => node.inputs[1] == dy,
                _ => node.outputs[0] == dy,
            }
        })
    };
    r.nodes.iter().find(of_dy).map(|node| node.outputs[0])
}

/// The gradient that comes out of a training BatchNorm has no mean: a shift of all values of a channel
/// changes nothing.
fn sums_to_zero(r: &Rewrite, dy: TensorId) -> bool {
    match r.made_by(dy) {
        Some((Op::BatchNormGradInput(op), _)) => op.training && !op.add,
        Some((Op::BatchNormMaxPoolGrad(_), _)) => true,
        _ => false,
    }
}
