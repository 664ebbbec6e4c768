//! Which settings a resumed run may change.

/// Their group. The others decide the bits of what is already done.
pub const ON_RESUME: &str = "on_resume";
