//! What a run does and how long it takes, for people who want details.
use crate::process::{detail, one_line};
use crate::train::{Event, Observer};
use anyhow::Result;
use std::time::Instant;

/// Tells them.
pub struct Details {
    /// When what was told last was done.
    last: Instant,
    /// When the last step of the epoch was measured.
    stepped: Instant,
}

impl Default for Details {
    fn default() -> Details {
        let now = Instant::now();
        Details {
            last: now,
            stepped: now,
        }
    }
}

impl Observer for Details {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Planned {
                dispatches, flops, ..
            } => {
                let time = self.lap();
                detail(format_args!(
                    "planned in {time:.2} s: a step has {dispatches} dispatches and {:.1} GFLOP",
                    *flops as f64 / 1e9
                ));
            }
            Event::Tuned { .. } => detail(format_args!("tuned in {:.2} s", self.lap())),
            Event::Started { folder, .. } => detail(format_args!(
                "compiled and allocated in {:.2} s; the run is {}",
                self.lap(),
                one_line(folder)
            )),
            Event::Epoch { .. } => {
                self.lap();
            }
            Event::Step { .. } => self.stepped = Instant::now(),
            Event::Saved { checkpoint } => detail(format_args!("saved {}", one_line(checkpoint))),
            Event::Evaluated { epoch, .. } => {
                let steps = self
                    .stepped
                    .saturating_duration_since(self.last)
                    .as_secs_f64();
                let rest = self.stepped.elapsed().as_secs_f64();
                detail(format_args!(
                    "epoch {}: steps {steps:.2} s, evaluation and checkpoint {rest:.2} s",
                    epoch.epoch
                ));
            }
            Event::Answers { .. }
            | Event::Saving
            | Event::Finished { .. }
            | Event::AlreadyFinished { .. }
            | Event::Interrupted { .. }
            | Event::Failed { .. } => {}
        }
        Ok(())
    }
}

impl Details {
    /// Seconds since this was asked last.
    fn lap(&mut self) -> f64 {
        let before = std::mem::replace(&mut self.last, Instant::now());
        self.last.saturating_duration_since(before).as_secs_f64()
    }
}
