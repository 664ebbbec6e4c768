//! `events.jsonl` in the run's folder: the lines of all processes that trained it, each step and each epoch once, whatever
//! stopped them.
use super::lines::{Line, Lines, Origin};
use crate::files::{self, replace};
use crate::process::one_line;
use crate::train::folder::EVENTS;
use crate::train::{Event, Observer, Progress};
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The first line.
const HEAD: &str = r#"{"format":"resnet events","version":1}"#;

/// A file of hundreds of millions of steps is damaged.
const MOST_BYTES: u64 = 1 << 34;

/// Keeps the file.
pub struct Events {
    lines: Lines,
    open: Option<(PathBuf, File)>,
}

impl Events {
    /// Of a run that begins now.
    pub fn new(origin: Origin) -> Events {
        Events {
            lines: Lines::new(origin),
            open: None,
        }
    }
}

impl Observer for Events {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Started {
                folder, progress, ..
            } => {
                let path = folder.join(EVENTS);
                restore(&path, progress)?;
                let file = files::append(&path)?;
                self.open = Some((path, file));
            }
            Event::AlreadyFinished {
                folder, progress, ..
            } => {
                let path = folder.join(EVENTS);
                // Earlier programs kept none.
                return match path.exists() {
                    true => restore(&path, progress),
                    false => Ok(()),
                };
            }
            _ => {}
        }
        let line = self.lines.line(event);
        let Some((path, file)) = &mut self.open else {
            return Ok(());
        };
        let writing = || format!("writing {}", one_line(&path));
        if let Some(line) = line {
            // In one piece, and past the program before the next event: a kill loses no line.
            let line = format!("{}\n", serde_json::to_string(&line)?);
            file.write_all(line.as_bytes()).with_context(writing)?;
        }
        let ends = matches!(
            event,
            Event::Finished { .. } | Event::Interrupted { .. } | Event::Failed { .. }
        );
        if ends || matches!(event, Event::Saving) {
            file.sync_data().with_context(writing)?;
        }
        if ends {
            self.open = None;
        }
        Ok(())
    }
}

/// The lines of a run's file in their order; none where it has none. What a kill cut off is left out.
///
/// # Errors
/// When the file cannot be read.
pub fn read(run: &Path) -> Result<Vec<Value>> {
    let bytes = files::read_if_there(&run.join(EVENTS), MOST_BYTES)?.unwrap_or_default();
    Ok(parse(&bytes)
        .map(|(_, value)| value)
        .filter(|value| value["event"].is_string())
        .collect())
}

fn parse(bytes: &[u8]) -> impl Iterator<Item = (&[u8], Value)> {
    let lines = bytes.split(|&byte| byte == b'\n');
    lines.filter_map(|line| Some((line, serde_json::from_slice(line).ok()?)))
}

/// Brings the file to where the run stands: what came after its checkpoint goes, since it will come again, and an epoch
/// that was saved but not written down any more is added.
fn restore(path: &Path, progress: &Progress) -> Result<()> {
    let before = files::read_if_there(path, MOST_BYTES)?;
    let mut kept = Vec::new();
    let mut add = |line: &[u8]| {
        kept.extend_from_slice(line);
        kept.push(b'\n');
    };
    add(HEAD.as_bytes());
    let mut epochs: VecDeque<_> = progress.history.iter().collect();
    let (mut last_step, mut last_epoch) = (0, 0);
    for (line, value) in parse(before.as_deref().unwrap_or_default()) {
        let Some(event) = value["event"].as_str() else {
            continue;
        };
        let step = value["step"].as_u64();
        // A failure has no step: it came after all that is kept before it.
        if step.unwrap_or(last_step) > progress.step {
            continue;
        }
        // Epochs that were not written down end before this step.
        while let (Some(epoch), Some(step)) = (epochs.front(), step)
            && (epoch.step < step || event == "started" && epoch.step == step)
        {
            if epoch.step > last_epoch {
                add(&line_of(epoch)?);
                last_epoch = epoch.step;
            }
            epochs.pop_front();
        }
        let last = match event {
            "step" => &mut last_step,
            "epoch" => &mut last_epoch,
            _ => {
                add(line);
                continue;
            }
        };
        if let Some(step) = step.filter(|step| *step > *last) {
            *last = step;
            add(line);
        }
    }
    for epoch in epochs.into_iter().filter(|epoch| epoch.step > last_epoch) {
        add(&line_of(epoch)?);
    }
    match before.as_ref() == Some(&kept) {
        true => Ok(()),
        false => replace(path, &kept),
    }
}

fn line_of(epoch: &crate::train::EpochResult) -> Result<Vec<u8>> {
    let seconds = None;
    Ok(serde_json::to_vec(&Line::Epoch { epoch, seconds })?)
}
