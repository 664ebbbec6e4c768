//! A run for programs: one JSON object per line on stdout for its start, every step, every epoch, and how it ended.
use super::lines::{Line, Lines, Origin};
use crate::process::output;
use crate::train::{Event, Observer};
use anyhow::Result;
use std::io::Write;

/// Prints the lines.
pub struct JsonLines(Lines);

impl JsonLines {
    /// Those of a run that begins now.
    pub fn new(origin: Origin) -> JsonLines {
        JsonLines(Lines::new(origin))
    }
}

impl Observer for JsonLines {
    fn on(&mut self, event: &Event) -> Result<()> {
        // The command tells of every failure, also of those before a run has its folder.
        let told = !matches!(event, Event::Failed { .. });
        match self.0.line(event).filter(|_| told) {
            Some(line) => print(&line),
            None => Ok(()),
        }
    }
}

/// Ends the lines of a run that failed, or never began.
pub fn failed(error: &anyhow::Error) {
    let error = format!("{error:#}");
    // The error is told on stderr too, and is perhaps that nobody reads the lines.
    let _ = print(&Line::Failed { error });
}

fn print(line: &Line) -> Result<()> {
    let mut out = output();
    out.write_all(format!("{}\n", serde_json::to_string(line)?).as_bytes())?;
    // A reader at the other end of a pipe sees each line as it happens.
    out.flush()?;
    Ok(())
}
