//! What was asked for cannot be meant. The program's exit code tells that from a failure at work.
use anyhow::Error;
use std::fmt;

/// A wrong setting, or two that contradict each other, wherever they were given.
#[derive(Debug)]
pub struct Usage(String);

impl Usage {
    /// What is wrong.
    pub fn error(error: impl fmt::Display) -> Error {
        Usage(format!("{error:#}")).into()
    }

    /// The same error, unless it comes from the system.
    pub(super) fn unless_io(error: Error) -> Error {
        match error.root_cause().is::<std::io::Error>() {
            true => error,
            false => Usage::error(error),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}
