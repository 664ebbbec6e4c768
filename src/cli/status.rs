//! How a command that did not fail ended.

/// Exit code after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Exit code where what was asked for is wrong, be it said by a flag, a variable or a file of settings.
pub const USAGE: u8 = 2;

/// Whether it did all that it was asked for.
#[derive(PartialEq, Eq)]
pub enum Status {
    Done,
    /// By Ctrl-C.
    Interrupted,
}
