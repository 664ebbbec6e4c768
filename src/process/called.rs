//! How this program was called, so that the commands it advises run as they are printed.
use std::ffi::OsStr;
use std::path::{Path, is_separator};

/// The program as its caller typed it, or by its name alone where it was found through the PATH.
pub fn program() -> String {
    let typed = std::env::args_os().next();
    let typed = typed.filter(|typed| !typed.is_empty());
    typed.map_or("resnet".to_string(), |typed| quoted(Path::new(&typed)))
}

/// A command of this program, to be typed; `args` stand as they are.
pub fn command(args: &str) -> String {
    format!("{} {args}", program())
}

/// A path as a shell takes it: in quotes where it needs them.
pub fn quoted(path: &Path) -> String {
    let text = path.as_os_str();
    // What begins like a flag would be taken for one.
    match text.as_encoded_bytes().first() {
        Some(b'-') => format!(".{}{}", std::path::MAIN_SEPARATOR, word(text)),
        _ => word(text),
    }
}

fn word(text: &OsStr) -> String {
    let plain = |c: char| c.is_alphanumeric() || is_separator(c) || "._-+,:@%=".contains(c);
    match text.to_str() {
        Some(known) if !known.is_empty() && known.chars().all(plain) => known.to_string(),
        _ if cfg!(windows) => format!("\"{}\"", text.to_string_lossy()),
        Some(known) if !known.contains(char::is_control) => {
            format!("'{}'", known.replace('\'', r"'\''"))
        }
        _ => escaped(text.as_encoded_bytes()),
    }
}

/// A name in one line: control characters, ends of lines among them, and what is no UTF-8 are written out as `\x0a`.
pub fn one_line(name: impl AsRef<OsStr>) -> String {
    let mut line = String::new();
    for chunk in name.as_ref().as_encoded_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\0'..='\x1f' | '\x7f' => line += &format!("\\x{:02x}", u32::from(c)),
                c if c.is_control() => line += &format!("\\u{{{:x}}}", u32::from(c)),
                c => line.push(c),
            }
        }
        for byte in chunk.invalid() {
            line += &format!("\\x{byte:02x}");
        }
    }
    line
}

/// Bytes that cannot be printed as they are, as bash, zsh and ksh read them.
fn escaped(bytes: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'\'' | b'\\' => format!("\\{}", *byte as char),
        b' '..=b'~' => (*byte as char).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    let inner: String = bytes.iter().map(escape).collect();
    format!("$'{inner}'")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::process::Command;

    #[test]
    fn a_name_takes_one_line() {
        let line = |name: &[u8]| one_line(OsStr::from_bytes(name));
        assert_eq!(line("ä b,c".as_bytes()), "ä b,c");
        assert_eq!(
            line(b"two\nlines\x1b[31m\xc2\x9b"),
            r"two\x0alines\x1b[31m\u{9b}"
        );
        assert_eq!(line(b"caf\xe9"), r"caf\xe9");
    }

    #[test]
    fn a_shell_reads_the_path_that_was_quoted() {
        let paths: [&[u8]; 9] = [
            b"runs/001",
            "läufe/é".as_bytes(),
            b"my runs/001",
            b"it's $HOME `here` \"and\" \\ there",
            b"~/run",
            b"a;b&c|d>e<f(g)*?[h]{i,j}!#",
            b"two\nlines\x1b[31m 'red' \\",
            b"not \xff utf-8",
            b"",
        ];
        for path in paths {
            let quoted = quoted(Path::new(OsStr::from_bytes(path)));
            assert!(!quoted.contains(char::is_control), "{quoted}");
            // The plain shell knows no escapes.
            let shell = if quoted.starts_with('$') {
                "bash"
            } else {
                "sh"
            };
            let Ok(read) = Command::new(shell)
                .args(["-c", &format!("printf %s {quoted}")])
                .output()
            else {
                continue;
            };
            assert_eq!(
                std::ffi::OsString::from_vec(read.stdout).as_bytes(),
                path,
                "{quoted}"
            );
        }
        assert_eq!(quoted(Path::new("runs/001")), "runs/001");
        assert_eq!(quoted(Path::new("--resume")), "./--resume");
    }
}
