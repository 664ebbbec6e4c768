//! From a range of nodes to a list of dispatches over a pool of buffers, all of it plain data:
//! liveness decides which values share a buffer, so the memory is known before it is allocated.
mod chunk;
mod dispatch;
mod dump;
mod roofline;

pub use dispatch::{Aliased, Binding, Dispatch, KeptValue, Limits, Place, Plan, descs};
pub use roofline::Roofline;

use crate::graph::{Graph, Kind, TensorId};
use anyhow::{Context, Result};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
};

/// Bytes for people.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
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
            cut_from: None,
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
                KeptValue {
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
            plan.parts.insert(t, Aliased { of, offset, bytes });
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
