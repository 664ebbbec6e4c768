//! The plan as text: one line per dispatch, totals at the end.
use super::{Binding, Place, Plan};
use crate::graph::Graph;
use std::fmt::Write;

impl Plan {
    /// One line per dispatch with its buffers, FLOPs and bytes, then the totals.
    pub fn dump(&self, g: &Graph) -> String {
        let mut text = String::new();
        let list = |bindings: &[Binding]| {
            let one = |b: &Binding| {
                let place = match b.place {
                    Place::Own(_) => "own".to_string(),
                    Place::Slot(slot) => format!("#{slot}"),
                };
                let offset = if b.offset > 0 {
                    format!("+{}", b.offset)
                } else {
                    String::new()
                };
                format!("{} {} @{place}{offset}", g.tensor(b.tensor).name, b.desc)
            };
            bindings.iter().map(one).collect::<Vec<_>>().join(", ")
        };
        for (i, d) in self.dispatches.iter().enumerate() {
            let (name, flops, bytes) = (d.op.def().name(), d.flops(), d.bytes());
            let (inputs, outputs) = (list(&d.inputs), list(&d.outputs));
            writeln!(
                text,
                "{i:4} {name:22} {flops:>14} FLOP {bytes:>12} B  {inputs} → {outputs}"
            )
            .expect("writing to a string");
        }
        writeln!(
            text,
            "{} dispatches, {} FLOP, {} B moved; {} pool buffers of {} B, inputs and states {} B",
            self.dispatches.len(),
            self.flops(),
            self.bytes(),
            self.slots.len(),
            self.pool_bytes(),
            self.owned_bytes()
        )
        .expect("writing to a string");
        text
    }
}
