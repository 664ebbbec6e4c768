//! How long an epoch and a run will still take, from what this process has done of it.
use crate::train::{Event, Progress};
use std::fmt;
use std::time::{Duration, Instant};

/// What was measured so far. Steps that an earlier process did are not in it.
#[derive(Clone, Default, Debug)]
pub struct Pace {
    steps: u32,
    examples: u64,
    stepping: Duration,
    evaluations: u32,
    evaluating: Duration,
}

impl Pace {
    /// A step of so many examples took so long.
    pub fn step(&mut self, examples: u64, time: Duration) {
        self.steps += 1;
        self.examples += examples;
        self.stepping += time;
    }

    /// An evaluation, with what is saved after it, took so long.
    pub fn evaluation(&mut self, time: Duration) {
        self.evaluations += 1;
        self.evaluating += time;
    }

    /// Examples per second of training.
    pub fn rate(&self) -> f64 {
        self.examples as f64 / self.stepping.as_secs_f64().max(1e-9)
    }

    /// The time that so many steps and evaluations will take; `None` before the first step. Evaluations count once one
    /// was measured.
    pub fn left(&self, steps: u64, evaluations: u64) -> Option<Duration> {
        let mean = |time: Duration, of: u32| time.as_secs_f64() / f64::from(of.max(1));
        let seconds = mean(self.stepping, self.steps) * steps as f64
            + mean(self.evaluating, self.evaluations) * evaluations as f64;
        let known = self.steps > 0;
        known.then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// Measures the pace of a run by what is told of it.
pub struct Meter {
    pace: Pace,
    epochs: usize,
    /// Steps of an epoch.
    steps: usize,
    /// When the step before this one was over, or what came between them.
    last: Instant,
    /// When the last step was over.
    stepped: Instant,
    /// Examples of the epoch at work that were counted in.
    counted: u64,
}

impl Meter {
    /// Of a run of which nothing was told yet.
    pub fn new(now: Instant) -> Meter {
        Meter {
            pace: Pace::default(),
            epochs: 0,
            steps: 0,
            last: now,
            stepped: now,
            counted: 0,
        }
    }

    /// Takes note of what is told now.
    pub fn event(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Started { config, .. } => self.epochs = config.run.epochs,
            Event::Epoch { progress, steps } => {
                self.steps = *steps;
                self.last = now;
                self.counted = progress.sums.examples;
            }
            Event::Step { progress, .. } => {
                let examples = progress.sums.examples.saturating_sub(self.counted);
                let time = now.saturating_duration_since(self.last);
                self.pace.step(examples, time);
                self.counted = progress.sums.examples;
                (self.last, self.stepped) = (now, now);
            }
            Event::Saved { .. } => self.last = now,
            Event::Evaluated { .. } => {
                let time = now.saturating_duration_since(self.stepped);
                self.pace.evaluation(time);
            }
            _ => {}
        }
    }

    /// Epochs of the run.
    pub fn epochs(&self) -> usize {
        self.epochs
    }

    /// Steps of an epoch; 0 before the first.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Examples per second of training, of this process.
    pub fn rate(&self) -> f64 {
        self.pace.rate()
    }

    /// The time that is left of the epoch's steps and of the run, as far as that is known.
    pub fn left(&self, progress: &Progress) -> [Option<Duration>; 2] {
        let of_epoch = self.steps.saturating_sub(progress.batch) as u64;
        let epochs = self.epochs.saturating_sub(progress.epoch) as u64;
        let of_run = of_epoch + epochs.saturating_sub(1) * self.steps as u64;
        [self.pace.left(of_epoch, 0), self.pace.left(of_run, epochs)]
    }
}

/// A duration as people say it, in two units at most.
pub struct Spoken(pub Duration);

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let seconds = self.0.as_secs_f64().round() as u64;
        let (minutes, hours) = (seconds / 60, seconds / 3600);
        match (hours, minutes) {
            (0, 0) => write!(f, "{seconds} s"),
            (0, _) => write!(f, "{minutes} min {:02} s", seconds % 60),
            (1..48, _) => write!(f, "{hours} h {:02} min", minutes % 60),
            _ => write!(f, "{} d {:02} h", hours / 24, hours % 24),
        }
    }
}

/// A time that may not be known yet, as people say it.
pub fn spoken(time: Option<Duration>) -> String {
    time.map_or("unknown".to_string(), |time| Spoken(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_what_was_measured() {
        let mut pace = Pace::default();
        assert_eq!(pace.left(10, 1), None);
        for _ in 0..4 {
            pace.step(256, Duration::from_secs(2));
        }
        assert_eq!(pace.left(10, 1), Some(Duration::from_secs(20)));
        pace.evaluation(Duration::from_secs(7));
        assert_eq!(pace.left(10, 3), Some(Duration::from_secs(41)));
        assert_eq!(pace.rate(), 128.0);
    }

    #[test]
    fn durations_are_said_in_two_units() {
        let said = |seconds| Spoken(Duration::from_secs(seconds)).to_string();
        assert_eq!(said(0), "0 s");
        assert_eq!(said(65), "1 min 05 s");
        assert_eq!(said(3 * 3600 + 120), "3 h 02 min");
        assert_eq!(said(50 * 3600), "2 d 02 h");
    }
}
