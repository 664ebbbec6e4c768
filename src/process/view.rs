//! The lines that people were told last, and those that wait while a view has the whole terminal: they are printed once
//! it is left.
use std::collections::VecDeque;
use std::io::{Write, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lines that are kept. A log keeps all of them.
const MOST: usize = 200;

struct Told {
    lines: VecDeque<String>,
    /// How many of the last lines were not printed yet; none where nothing has the terminal.
    waiting: Option<usize>,
}

static TOLD: Mutex<Told> = Mutex::new(Told {
    lines: VecDeque::new(),
    waiting: None,
});

fn told() -> MutexGuard<'static, Told> {
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note of a line, and tells whether it waits.
pub(super) fn take(line: &[u8]) -> bool {
    let mut told = told();
    if told.lines.len() == MOST {
        told.lines.pop_front();
    }
    let line = String::from_utf8_lossy(line);
    told.lines.push_back(line.trim_end().to_string());
    if let Some(waiting) = &mut told.waiting {
        *waiting = (*waiting + 1).min(MOST);
    }
    told.waiting.is_some()
}

/// A view has the terminal from now on.
pub fn begin_view() {
    told().waiting = Some(0);
}

/// The terminal is free again.
pub fn end_view() {
    let mut told = told();
    let waiting = told.waiting.take().unwrap_or(0);
    let first = told.lines.len() - waiting;
    let lines: Vec<&str> = told.lines.range(first..).map(String::as_str).collect();
    if !lines.is_empty() {
        let _ = stderr().write_all(format!("{}\n", lines.join("\n")).as_bytes());
    }
}

/// Whether a view has the terminal.
pub fn is_viewed() -> bool {
    told().waiting.is_some()
}

/// The last lines, the newest at the end.
pub fn last_lines(count: usize) -> Vec<String> {
    let told = told();
    let first = told.lines.len().saturating_sub(count);
    told.lines.range(first..).cloned().collect()
}
