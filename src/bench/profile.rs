//! A step's dispatches by kernel, and as a trace over time.
use crate::graph::Graph;
use crate::plan::{Dispatch, Roofline};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// All calls of one kernel in a step.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Row {
    /// The op.
    pub op: &'static str,
    /// The kernel that a GPU runs for it.
    pub kernel: String,
    /// Calls per step.
    pub calls: usize,
    /// Seconds per step.
    pub seconds: f64,
    /// Floating-point operations per step.
    pub flops: u64,
    /// Bytes moved per step when every call touches its tensors once.
    pub bytes: u64,
    /// Seconds that the card would take at its peaks, where they are known.
    pub bound_seconds: Option<f64>,
}

/// The kernels of dispatches that took these `seconds`, the slowest first.
pub fn rows(dispatches: &[Dispatch], seconds: &[f64], roofline: Option<Roofline>) -> Vec<Row> {
    let mut rows: BTreeMap<(&str, String), Row> = BTreeMap::new();
    for (dispatch, seconds) in dispatches.iter().zip(seconds) {
        let (op, kernel) = (dispatch.op.def().name(), kernel(dispatch));
        let row = rows.entry((op, kernel.clone())).or_insert(Row {
            op,
            kernel,
            ..Row::default()
        });
        row.calls += 1;
        row.seconds += seconds;
        row.flops += dispatch.flops();
        row.bytes += dispatch.bytes();
        if let Some(roofline) = roofline {
            *row.bound_seconds.get_or_insert(0.0) += roofline.bound(dispatch);
        }
    }
    let mut rows: Vec<Row> = rows.into_values().collect();
    rows.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    rows
}

/// The dispatches one after the other as a trace in Chrome's format, which ui.perfetto.dev opens.
pub fn trace(dispatches: &[Dispatch], graph: &Graph, seconds: &[f64]) -> Value {
    let mut start = 0.0;
    let mut events = Vec::with_capacity(seconds.len());
    for (dispatch, seconds) in dispatches.iter().zip(seconds) {
        let outputs = dispatch.outputs.iter();
        let outputs: Vec<String> = outputs
            .map(|b| format!("{} {}", graph.tensor(b.tensor).name, b.desc))
            .collect();
        // Times are in microseconds; `X` is an event with a duration.
        events.push(json!({
            "name": dispatch.op.def().name(),
            "ph": "X",
            "ts": start * 1e6,
            "dur": seconds * 1e6,
            "pid": 1,
            "tid": 1,
            "args": {
                "kernel": kernel(dispatch),
                "outputs": outputs,
                "flops": dispatch.flops(),
                "bytes": dispatch.bytes(),
            },
        }));
        start += seconds;
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}

fn kernel(dispatch: &Dispatch) -> String {
    dispatch.launch().kernel.label()
}
