//! The devices that cases run on, and one run of a case.
use crate::case::Case;
use anyhow::Result;
use resnet::backend::Backend;
use resnet::backend::gpu::{AdapterReport, Gpu, Options, adapters};
use resnet::graph::{Kind, TensorId};
use resnet::plan::{Plan, plan};
use std::collections::HashMap;
use std::sync::OnceLock;

/// What tensors hold after a run.
pub type Contents = HashMap<TensorId, Vec<u8>>;

/// The best adapter. Without one the caller's test is skipped with a word on stderr, or fails
/// where `RESNET_REQUIRE_GPU=1` says that there must be one.
pub fn adapter() -> Option<&'static AdapterReport> {
    static BEST: OnceLock<Option<AdapterReport>> = OnceLock::new();
    let best = BEST.get_or_init(|| adapters().into_iter().min_by_key(AdapterReport::rank));
    if best.is_none() {
        let required = std::env::var("RESNET_REQUIRE_GPU").is_ok_and(|v| v == "1");
        assert!(!required, "RESNET_REQUIRE_GPU=1, but there is no adapter");
        eprintln!("SKIPPED: no GPU adapter, and no software one either (mesa-vulkan-drivers)");
    }
    best.as_ref()
}

/// A fresh backend on an adapter; a backend serves one graph.
pub fn open(adapter: &AdapterReport, options: Options) -> Gpu {
    Gpu::open(adapter, options).expect("opening the adapter")
}

/// Plans all nodes of a case for a device.
pub fn whole(case: &Case, keep: &[TensorId], backend: &dyn Backend) -> Result<Plan> {
    plan(&case.g, 0..case.g.nodes().len(), keep, backend.limits())
}

/// Runs a plan of a case once and returns the kept values and the states.
pub fn run(case: &Case, plan: Plan, backend: &mut dyn Backend) -> Result<Contents> {
    let (on_device, kept) = (plan.clone(), plan.kept.clone());
    let id = backend.compile(plan)?;
    for (t, bytes) in case.data.iter().filter(|(t, _)| on_device.holds(*t)) {
        backend.write(*t, bytes)?;
    }
    backend.run(id)?;
    let mut contents = Contents::new();
    for t in kept.into_keys() {
        contents.insert(t, backend.read_value(id, t)?);
    }
    for t in on_device
        .owned
        .into_keys()
        .chain(on_device.parts.into_keys())
    {
        if case.g.tensor(t).kind == Kind::State {
            contents.insert(t, backend.read(t)?);
        }
    }
    Ok(contents)
}

/// The elements of an f32 tensor.
pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}
