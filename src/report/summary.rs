//! The result of a run on stdout: the chapter's two closing lines.
use crate::train::{EpochResult, Event, Observer};
use anyhow::Result;
use std::io::{Write, stdout};

/// Prints the lines.
pub struct Summary;

impl Observer for Summary {
    fn on(&mut self, event: &Event) -> Result<()> {
        let Event::Finished {
            progress,
            test_acc,
            device,
            ..
        } = event
        else {
            return Ok(());
        };
        let Some(EpochResult {
            train_loss,
            train_acc,
            ..
        }) = progress.history.last()
        else {
            return Ok(());
        };
        let mut out = stdout();
        writeln!(
            out,
            "loss {train_loss:.3}, train acc {train_acc:.3}, test acc {test_acc:.3}"
        )?;
        writeln!(
            out,
            "{:.1} examples/sec on {device}",
            progress.examples_per_second()
        )?;
        Ok(())
    }
}
