//! `log.txt` in the run's folder: what all processes that trained it told, details included and however much people wanted
//! to see of it on stderr, each after the time of its start.
use crate::files;
use crate::process::{command, keep_messages_in, one_line};
use crate::train::folder::LOG;
use crate::train::{Event, Observer};
use anyhow::{Context, Result};
use std::io::Write;

/// Keeps the file.
pub struct Log;

impl Observer for Log {
    fn on(&mut self, event: &Event) -> Result<()> {
        let Event::Started {
            folder, progress, ..
        } = event
        else {
            return Ok(());
        };
        let path = folder.join(LOG);
        let mut file = files::append(&path)?;
        let now = jiff::ZonedDateTime::now().strftime("%F %T %:z");
        let from = match progress.step {
            0 => String::new(),
            step => format!(", from step {step} on"),
        };
        writeln!(file, "-- {now}: {}{from}", command("train"))
            .with_context(|| format!("writing {}", one_line(&path)))?;
        keep_messages_in(Box::new(file));
        Ok(())
    }
}
