//! Which program this is, and what it computes with.
use crate::kernels::simd;
use crate::process::{GIT, VERSION, WGPU};
use std::sync::LazyLock;

/// The version, with the commit where that is known.
pub fn short() -> &'static str {
    static SHORT: LazyLock<String> = LazyLock::new(|| match GIT {
        "" => VERSION.to_string(),
        git => format!("{VERSION} ({git})"),
    });
    &SHORT
}

/// The same with the version of wgpu and the vector instructions of the CPU's kernels.
pub fn long() -> &'static str {
    static LONG: LazyLock<String> = LazyLock::new(|| {
        // What is wrong with the variable is said when something computes.
        let _ = simd::choose();
        format!("{}\nwgpu {WGPU}\nCPU vectors: {}", short(), simd::name())
    });
    &LONG
}
