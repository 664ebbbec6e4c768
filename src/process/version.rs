//! Which program this is.

/// The package's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The commit that it was built from; empty where that is not known.
pub const GIT: &str = env!("BUILD_COMMIT");
/// The version of wgpu.
pub const WGPU: &str = env!("RESNET_WGPU");
