//! The updates of all parameters as a few nodes: parameters, momenta and partial gradients are packed,
//! and the second stage of the gradients' reductions is done by the update itself.
use super::rewrite::Rewrite;
use crate::graph::{Kind, Node, TensorId};
use crate::ops::{AnyFlag, Fill, GradientCheck, MAX_SEGMENTS, Op, Segment, Sgd, SgdBucket};
use crate::tensor::DType;
use anyhow::Result;
use std::collections::BTreeSet;

/// The most bytes of a pack that holds more than one tensor: half of what every device can bind.
const MAX_BYTES: usize = 64 << 20;

/// The most rows that an update adds up by itself where they are not partial gradients yet.
const MAX_ROWS: usize = 512;

/// The update of one parameter.
#[derive(Clone)]
struct Update {
    p: TensorId,
    m: Option<TensorId>,
    /// The partial gradients, and how many there are; `None` where the gradient is zero.
    gradient: Option<(TensorId, usize)>,
}

/// Collects the updates by gradient descent, which stand one after another, in buckets.
pub fn bucket(r: &mut Rewrite) -> Result<()> {
    let is_update = |node: &Node| matches!(node.op, Op::Sgd(_));
    let Some(first) = r.nodes.iter().position(is_update) else {
        return Ok(());
    };
    let Op::Sgd(sgd) = r.nodes[first].op else {
        unreachable!("found as such")
    };
    let lr = r.nodes[first].inputs[1];
    let alike = |node: &Node| node.op == Op::Sgd(sgd) && node.inputs[1] == lr;
    let known = |t: TensorId| r.maker(t).is_some() || r.g.tensor(t).kind == Kind::State;
    let count = r.nodes[first..].iter().take_while(|n| is_update(n)).count();
    let nodes = &r.nodes[first..first + count];
    if !nodes.iter().all(|n| alike(n) && known(n.inputs[0])) {
        return Ok(());
    }
    // The gradients are checked where they are packed, and read by the updates alone.
    let rescale = r.nodes.iter().find(|n| matches!(n.op, Op::Rescale(_)));
    let rescale = rescale.cloned();
    let checks = |n: &Node| matches!(n.op, Op::GradientCheck(_) | Op::AnyFlag(_) | Op::Rescale(_));
    r.nodes.retain(|node| !checks(node));
    let first = r.nodes.iter().position(is_update).expect("found before");
    let updates: Vec<Update> = (first..first + count).map(|at| update(r, at)).collect();
    let after = r.nodes.split_off(first + count);
    r.nodes.truncate(first);
    let mut parts = Vec::new();
    for updates in packed(r, updates) {
        parts.extend(by_gradients(r, &updates));
    }
    if let Some(rescale) = rescale {
        check(r, rescale, &parts)?;
    }
    for part in parts {
        let node = node(r, sgd, lr, &part)?;
        r.nodes.push(node);
    }
    r.nodes.extend(after);
    Ok(())
}

/// Checks the packed gradients for overflows before the scale is decided on.
fn check(r: &mut Rewrite, mut rescale: Node, parts: &[Vec<Update>]) -> Result<()> {
    let mut before = None;
    for part in parts {
        let (gradients, segments) = segments(r, part);
        let check =
            r.g.node(GradientCheck { segments }.into(), &[gradients], &[])?;
        let flags: Vec<TensorId> = check.outputs.iter().copied().chain(before).collect();
        let any = r.g.node(AnyFlag.into(), &flags, &[])?;
        before = Some(any.outputs[0]);
        r.nodes.extend([check, any]);
    }
    rescale.inputs[1] = before.expect("there are updates");
    r.nodes.push(rescale);
    Ok(())
}

/// Fills of all the states of a pack, one after another, become one of the pack.
pub fn fill(r: &mut Rewrite) -> Result<()> {
    let filled = |node: &Node| match node.op {
        Op::Fill(_) => r.g.tensor(node.outputs[0]).part_of.map(|(pack, _)| pack),
        _ => None,
    };
    let packs: BTreeSet<TensorId> = r.nodes.iter().filter_map(filled).collect();
    for pack in packs {
        let parts: Vec<TensorId> = r.g.parts(pack).map(|(t, _)| t).collect();
        let of_pack = |n: &Node| matches!(n.op, Op::Fill(_)) && parts.contains(&n.outputs[0]);
        let Some(first) = r.nodes.iter().position(of_pack) else {
            continue;
        };
        let Op::Fill(Fill { value, .. }) = r.nodes[first].op else {
            unreachable!("found as such")
        };
        let alike =
            |n: &&Node| of_pack(n) && matches!(n.op, Op::Fill(Fill { value: v, .. }) if v == value);
        if r.nodes[first..].iter().take_while(alike).count() == parts.len() {
            r.nodes.drain(first + 1..first + parts.len());
            let shape = r.g.shape(pack);
            r.replace(first, Fill { value, shape }, &[], &[pack])?;
        }
    }
    Ok(())
}

fn update(r: &Rewrite, at: usize) -> Update {
    let Node {
        inputs, outputs, ..
    } = &r.nodes[at];
    let g = inputs[0];
    let mut gradient = Some((g, 1));
    if let (Some((Op::SumPartials(_), &[partials])), true) = (r.made_by(g), r.private(g, at)) {
        gradient = Some((partials, r.g.shape(partials).n()));
        if let Some((Op::Conv2dGradBias(_), &[dy])) = r.made_by(partials) {
            let rows = r.g.shape(dy).rows();
            let is_f32 = r.g.desc(dy).dtype == DType::F32;
            if sums_to_zero(r, dy) {
                gradient = None;
            } else if rows <= MAX_ROWS && is_f32 && !r.kept.contains(&dy) {
                gradient = Some((dy, rows));
            }
        }
    }
    Update {
        p: outputs[0],
        m: outputs.get(1).copied(),
        gradient,
    }
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

/// The updates grouped by the packs of their parameters, which are made unless another range of nodes
/// already has them.
fn packed(r: &mut Rewrite, updates: Vec<Update>) -> Vec<Vec<Update>> {
    let mut groups: Vec<Vec<Update>> = Vec::new();
    let pack_of = |r: &Rewrite, u: &Update| r.g.tensor(u.p).part_of.map(|(pack, _)| pack);
    let mut bytes = 0;
    for update in updates {
        let size = r.g.desc(update.p).bytes();
        let joins = groups.last().is_some_and(|group: &Vec<Update>| {
            let known = pack_of(r, &group[0]);
            let fits = bytes + size <= MAX_BYTES && group.len() < MAX_SEGMENTS;
            known == pack_of(r, &update) && (known.is_some() || fits)
        });
        match groups.last_mut().filter(|_| joins) {
            Some(group) => group.push(update),
            None => {
                groups.push(vec![update]);
                bytes = 0;
            }
        }
        bytes += size;
    }
    for group in &groups {
        if pack_of(r, &group[0]).is_none() {
            let params: Vec<TensorId> = group.iter().map(|u| u.p).collect();
            let momenta: Vec<TensorId> = group.iter().filter_map(|u| u.m).collect();
            for members in [params, momenta].iter().filter(|m| !m.is_empty()) {
                let name = format!("pack.{}", r.g.tensor(members[0]).name);
                r.g.pack(&name, members);
            }
        }
    }
    groups
}

/// Cuts a group where its gradients would be too large for one pack, or where a node would read and
/// write one pack, and packs the gradients. Those that are packed already stay together.
fn by_gradients(r: &mut Rewrite, updates: &[Update]) -> Vec<Vec<Update>> {
    let mut groups: Vec<(Vec<Update>, Vec<TensorId>)> = vec![(Vec::new(), Vec::new())];
    let pack_of = |r: &Rewrite, t: TensorId| r.g.tensor(t).part_of.map(|(pack, _)| pack);
    for update in updates {
        let Some((t, _)) = update.gradient else {
            groups[0].0.push(update.clone());
            continue;
        };
        let bytes = |ts: &[TensorId]| ts.iter().map(|&t| r.g.desc(t).bytes()).sum::<usize>();
        let takes = |(_, ts): &(Vec<Update>, Vec<TensorId>)| {
            if let Some(pack) = pack_of(r, t) {
                return ts.iter().all(|&other| pack_of(r, other) == Some(pack));
            }
            let room = ts.is_empty() || bytes(ts) + bytes(&[t]) <= MAX_BYTES;
            ts.contains(&t) || (room && ts.iter().all(|&other| apart(r, t, other)))
        };
        let at = groups.iter().position(takes).unwrap_or(groups.len());
        if at == groups.len() {
            groups.push((Vec::new(), Vec::new()));
        }
        let (group, ts) = &mut groups[at];
        group.push(update.clone());
        if !ts.contains(&t) {
            ts.push(t);
        }
    }
    let mut parts = Vec::new();
    for (group, ts) in groups {
        if ts.first().is_some_and(|&t| pack_of(r, t).is_none()) {
            r.g.pack("gradients", &ts);
        }
        parts.push(group);
    }
    parts
}

/// Whether no node reads one of two values and makes the other.
fn apart(r: &Rewrite, a: TensorId, b: TensorId) -> bool {
    r.nodes.iter().all(|node| {
        let makes = |t| node.outputs.contains(&t);
        let reads = |t| node.inputs.contains(&t);
        !(makes(a) && reads(b) || makes(b) && reads(a))
    })
}

/// The pack of the updates' gradients, and what each of them finds in it.
fn segments(r: &Rewrite, updates: &[Update]) -> (TensorId, Vec<Segment>) {
    let segment = |u: &Update| {
        let (_, p) = r.g.whole(u.p);
        let (g, partials) = u.gradient.map_or((0, 0), |(t, n)| (r.g.whole(t).1, n));
        Segment {
            p: p / 4,
            len: r.g.shape(u.p).len(),
            g: g / 4,
            partials,
        }
    };
    let segments = updates.iter().map(segment).collect();
    let gradients = updates.iter().find_map(|u| u.gradient);
    let (gradients, _) = gradients.expect("not all gradients are zero");
    (r.g.whole(gradients).0, segments)
}

fn node(r: &mut Rewrite, sgd: Sgd, lr: TensorId, updates: &[Update]) -> Result<Node> {
    let (gradients, segments) = segments(r, updates);
    let (p, _) = r.g.whole(updates[0].p);
    let m = updates[0].m.map(|m| r.g.whole(m).0);
    let states: Vec<TensorId> = [p].into_iter().chain(m).collect();
    assert!(states.iter().all(|&t| r.g.tensor(t).kind == Kind::State));
    let len = r.g.shape(p).len();
    let bucket = SgdBucket { sgd, segments, len };
    r.g.node(bucket.into(), &[gradients, lr], &states)
}
