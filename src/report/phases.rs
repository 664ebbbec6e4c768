//! What a process spends its time on while a run is trained.
use crate::train::Event;
use serde::{Deserialize, Serialize};
use std::ops::AddAssign;
use std::time::Instant;

/// Seconds of each phase.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Phases {
    /// Data, plans, tuning and compilation, until the first step.
    pub prepare: f64,
    /// Training steps.
    pub train: f64,
    /// Validation and test images.
    pub evaluate: f64,
    /// Checkpoints, and all that is told of the run.
    pub save: f64,
}

impl AddAssign for Phases {
    fn add_assign(&mut self, other: Phases) {
        self.prepare += other.prepare;
        self.train += other.train;
        self.evaluate += other.evaluate;
        self.save += other.save;
    }
}

/// Measures them by what comes after what.
pub struct Stopwatch {
    phases: Phases,
    last: Instant,
}

impl Default for Stopwatch {
    fn default() -> Stopwatch {
        Stopwatch {
            phases: Phases::default(),
            last: Instant::now(),
        }
    }
}

impl Stopwatch {
    /// Something happened: the time since what happened before it is its phase's.
    pub fn event(&mut self, event: &Event) {
        let Phases {
            prepare,
            train,
            evaluate,
            save,
        } = &mut self.phases;
        let phase = match event {
            Event::Planned { .. } | Event::Tuned { .. } | Event::Started { .. } => prepare,
            Event::Step { .. } => train,
            Event::Answers { .. } => evaluate,
            _ => save,
        };
        let now = Instant::now();
        *phase += now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
    }

    /// What was measured so far.
    pub fn phases(&self) -> Phases {
        self.phases
    }
}
