//! Standard error, where notes may be lost, and standard output, where nothing may be lost unnoticed.
use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Write, stderr, stdout};

/// Prints a line for people. A stderr that is closed or full is no reason to stop, so the line is then lost.
pub fn say(line: impl Display) {
    // In one piece, since several threads or processes may write there.
    let _ = stderr().write_all(format!("{line}\n").as_bytes());
}

/// Standard output.
pub struct Output(io::StdoutLock<'static>);

/// Standard output, whose errors say whose they are.
pub fn output() -> Output {
    Output(stdout().lock())
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(Unwritable::of)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(Unwritable::of)
    }
}

/// Why standard output takes nothing more.
#[derive(Debug)]
pub struct Unwritable(io::Error);

impl Unwritable {
    /// The same error, which says that it is standard output's.
    pub fn of(error: io::Error) -> io::Error {
        match error.kind() {
            // It is tried again.
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, Unwritable(error)),
        }
    }

    /// Whether the reader at the other end has gone, as `head` does once it has seen enough.
    pub fn is_left(error: &(dyn Error + 'static)) -> bool {
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| {
            let own = error
                .get_ref()
                .is_some_and(|inner| inner.is::<Unwritable>());
            own && error.kind() == io::ErrorKind::BrokenPipe
        })
    }
}

impl Display for Unwritable {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "standard output cannot be written: {}", self.0)
    }
}

impl Error for Unwritable {}
