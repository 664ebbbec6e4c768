//! How long an epoch and a run will still take, from what this process has done of it.
use std::fmt;
use std::time::Duration;

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
