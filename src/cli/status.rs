//! How a command that did not fail ended.

/// Exit code after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Whether it did all that it was asked for.
#[derive(PartialEq, Eq)]
pub enum Status {
    Done,
    /// By Ctrl-C.
    Interrupted,
}
