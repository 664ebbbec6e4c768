//! Replays golden cases on a device and judges them: whether this machine's driver computes right.
//! What a folder of cases holds is said in `tests/golden/README.md`.
mod golden;
mod judge;
mod layout;
mod manifest;
mod network;
mod ops;
mod replay;
mod resize;

pub use golden::Set;
pub use judge::{Case, Check, Rule, worst};

use crate::backend::Backend;
use crate::graph::Graph;
use crate::tensor::DType;
use network::NetworkCase;
use ops::OpCase;
use resize::Resize;
use serde::Serialize;

/// Verdicts over all cases of a set.
#[derive(Serialize)]
pub struct Report {
    /// The device's name.
    pub device: String,
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// One verdict per case, in the order of the manifest.
    pub cases: Vec<Case>,
}

/// A case as far as it got before the device saw it.
enum Ready<'a> {
    Op(OpCase<'a>),
    Network(NetworkCase<'a>),
    Resize(Resize),
    Refused(Case),
}

/// Runs every case of the set on the device and hands each verdict to `told` as it comes.
///
/// A backend serves one graph, so all cases are parts of one, fused if `fuse` says so. With f16 or bfloat16 for
/// `stored` the cases that have images are replayed with these stored so too, after they were in f32. What cannot be
/// replayed is a failed case.
pub fn run(
    set: &Set,
    backend: &mut dyn Backend,
    fuse: bool,
    stored: DType,
    mut told: impl FnMut(&Case),
) -> Report {
    let mut g = Graph::default();
    let mut ready = Vec::new();
    for (number, entry) in set.manifest.ops.iter().enumerate() {
        let scope = format!("{number}.{}/", entry.case);
        ready.push(match OpCase::build(&mut g, set, entry, &scope, stored) {
            Ok(case) => Ready::Op(case),
            Err(why) => Ready::Refused(Case::refused(&entry.case, &entry.op, &why)),
        });
    }
    for (number, entry) in set.manifest.networks.iter().enumerate() {
        let scope = format!("{number}.{}/", entry.name());
        ready.push(
            match NetworkCase::build(&mut g, set, entry, &scope, stored, backend.factor_error()) {
                Ok(case) => Ready::Network(case),
                Err(why) => Ready::Refused(Case::refused(entry.name(), "network", &why)),
            },
        );
    }
    g.set_scope("resize/");
    match resize::build(&mut g, set, stored) {
        Ok(sizes) => ready.extend(sizes.into_iter().map(Ready::Resize)),
        Err(why) => ready.push(Ready::Refused(Case::refused("resize", "resize", &why))),
    }
    let cases: Vec<Case> = ready
        .into_iter()
        .map(|case| {
            let verdict = match case {
                Ready::Op(case) => case.run(&mut g, backend, fuse),
                Ready::Network(case) => case.run(&mut g, backend, fuse),
                Ready::Resize(case) => case.run(&mut g, backend, fuse),
                Ready::Refused(case) => case,
            };
            told(&verdict);
            verdict
        })
        .collect();
    let passed = cases.iter().filter(|case| case.passed).count();
    Report {
        device: backend.device().to_string(),
        passed,
        failed: cases.len() - passed,
        cases,
    }
}
