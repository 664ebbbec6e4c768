//! Standard error, where notes may be lost, and standard output, where nothing may be lost unnoticed.
use super::talk::{Talk, is_coloured, tells};
use std::borrow::Cow;
use std::error::Error;
use std::fmt::{self, Display};
use std::io::{self, Write, stderr, stdout};

/// Prints a note for people, unless they want none.
pub fn say(line: impl Display) {
    if tells(Talk::Notes) {
        insist(line);
    }
}

/// Prints a detail for people who want them.
pub fn detail(line: impl Display) {
    if tells(Talk::Details) {
        insist(line);
    }
}

/// Prints what went wrong.
pub fn fail(error: &anyhow::Error) {
    let text = format!("{error:#}\n");
    let begin = match is_coloured() {
        true => "\x1b[1;31merror:\x1b[0m ",
        false => "error: ",
    };
    let line = [begin.as_bytes(), &printable(text.as_bytes())].concat();
    let _ = stderr().write_all(&line);
}

/// Prints a line for people, also for those who want no notes. A stderr that is closed or full is no reason to stop, so
/// the line is then lost.
pub fn insist(line: impl Display) {
    // In one piece, since several threads or processes may write there.
    let line = format!("{line}\n");
    let _ = stderr().write_all(printable(line.as_bytes()).as_ref());
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
