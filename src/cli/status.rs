//! How a command that did not fail ended.

/// Exit code where what was asked for is wrong, be it said by a flag, a variable or a file of settings.
pub const USAGE: u8 = 2;

/// Exit code after Ctrl-C where there are no signals.
#[cfg(not(unix))]
pub const INTERRUPTED: u8 = 130;

/// Whether it did all that it was asked for.
#[derive(PartialEq, Eq)]
pub enum Status {
    Done,
    /// By a signal, with the exit code that tells which.
    Interrupted(u8),
}
