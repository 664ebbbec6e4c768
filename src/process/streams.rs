//! Standard error, where notes may be lost, and standard output, where nothing may be lost unnoticed.
use super::talk::{Talk, is_coloured, tells};
use super::view;
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Write, stderr, stdout};
use std::sync::{Mutex, PoisonError};

/// Bytes of messages that are kept at most until it is known where.
const MOST_HELD: usize = 1 << 16;

/// Where messages are kept, besides being printed.
enum Kept {
    /// Nowhere.
    Not,
    /// Here, until it is known where.
    Held(Vec<u8>),
    /// There.
    In(Box<dyn Write + Send>),
}

static KEPT: Mutex<Kept> = Mutex::new(Kept::Not);

/// Tells people a note, unless they want none.
pub fn say(line: impl Display) {
    tell(line, tells(Talk::Notes));
}

/// Tells a detail to people who want them.
pub fn detail(line: impl Display) {
    tell(line, tells(Talk::Details));
}

/// Tells people a line, also those who want no notes.
pub fn insist(line: impl Display) {
    tell(line, true);
}

/// Keeps a line in the log of which people see something else, such as a bar.
pub fn note(line: impl Display) {
    tell(line, false);
}

/// A line goes into the log in any case, and to people if they are to see it. A stderr that is closed or full is no reason
/// to stop, so the line is then lost to them.
fn tell(line: impl Display, shown: bool) {
    // In one piece, since several threads or processes may write there.
    let line = format!("{line}\n");
    let line = printable(line.as_bytes());
    if shown && !view::take(&line) {
        let _ = stderr().write_all(&line);
    }
    keep(&line);
}

/// Prints what went wrong.
pub fn fail(error: &anyhow::Error) {
    let text = format!("{error:#}\n");
    let text = printable(text.as_bytes());
    let plain = [b"error: ", &*text].concat();
    let _ = match is_coloured() {
        true => stderr().write_all(&[b"\x1b[1;31merror:\x1b[0m ", &*text].concat()),
        false => stderr().write_all(&plain),
    };
    keep(&plain);
}

fn keep(line: &[u8]) {
    match &mut *KEPT.lock().unwrap_or_else(PoisonError::into_inner) {
        Kept::Not => {}
        Kept::Held(held) if held.len() + line.len() > MOST_HELD => {}
        Kept::Held(held) => held.extend_from_slice(line),
        Kept::In(log) => {
            let _ = log.write_all(line);
        }
    }
}

/// Holds what is said from now on, for [`keep_messages_in`].
pub fn hold_messages() {
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = Kept::Held(Vec::new());
}

/// Writes what was held, and what is said from now on, there too. What cannot be written is lost.
pub fn keep_messages_in(mut log: Box<dyn Write + Send>) {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Kept::Held(held) = &*kept {
        let _ = log.write_all(held);
    }
    *kept = Kept::In(log);
}

/// Text in which control characters other than tabs and ends of lines are written out as `\x1b`: names of files, classes
/// and cases are others', and a terminal would obey what they hold.
fn printable(text: &[u8]) -> Cow<'_, [u8]> {
    // In UTF-8 the control characters above DEL are 0xc2 and one of these.
    let above = |at: usize| text[at] == 0xc2 && matches!(text.get(at + 1), Some(0x80..=0x9f));
    let control = |at: usize| {
        let byte = text[at];
        (byte.is_ascii_control() && !b"\n\t".contains(&byte)) || above(at)
    };
    if !(0..text.len()).any(control) {
        return Cow::Borrowed(text);
    }
    let mut shown = Vec::new();
    let mut at = 0;
    while at < text.len() {
        match (control(at), above(at)) {
            (false, _) => shown.push(text[at]),
            (true, false) => shown.extend(format!("\\x{:02x}", text[at]).bytes()),
            (true, true) => {
                at += 1;
                shown.extend(format!("\\u{{{:x}}}", text[at]).bytes());
            }
        }
        at += 1;
    }
    Cow::Owned(shown)
}

/// Standard output.
pub struct Output(io::StdoutLock<'static>);

/// Standard output, whose errors say whose they are.
pub fn output() -> Output {
    Output(stdout().lock())
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match printable(bytes) {
            Cow::Borrowed(bytes) => self.0.write(bytes),
            Cow::Owned(shown) => self.0.write_all(&shown).map(|()| bytes.len()),
        }
        .map_err(Unwritable::of)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_written_out() {
        let shown = |text: &str| String::from_utf8(printable(text.as_bytes()).into()).unwrap();
        assert_eq!(shown("a\tb\nä✓\u{a0}"), "a\tb\nä✓\u{a0}");
        assert_eq!(
            shown("\x1b]0;pwn\x07\r\x7f\u{9b}31m"),
            r"\x1b]0;pwn\x07\x0d\x7f\u{9b}31m"
        );
    }
}
