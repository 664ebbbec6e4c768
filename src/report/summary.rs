//! The result of a run on stdout: the chapter's two closing lines.
use crate::process::output;
use crate::train::{EpochResult, Event, Observer};
use anyhow::Result;
use std::io::Write;

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
            val_acc,
            ..
        }) = progress.history.last()
        else {
            return Ok(());
        };
        let mut out = output();
        // In one piece: a reader has both lines or none.
        let evaluated = match (test_acc, val_acc) {
            (Some(acc), _) => format!(", test acc {acc:.3}"),
            (None, Some(acc)) => format!(", val acc {acc:.3}"),
            (None, None) => String::new(),
        };
        let lines = format!(
            "loss {train_loss:.3}, train acc {train_acc:.3}{evaluated}\n{:.1} examples/sec on {device}\n",
            progress.examples_per_second()
        );
        out.write_all(lines.as_bytes())?;
        out.flush()?;
        Ok(())
    }
}
