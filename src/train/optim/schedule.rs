//! The learning rate of a step as a function of its number and the run's length alone, so that a resumed run goes on
//! with the same rates.
use crate::config::{Rate, ScheduleName};
use std::f64::consts::PI;

/// What a one-cycle schedule begins at, as a part of the highest rate, as in PyTorch's `OneCycleLR`.
const ONE_CYCLE_START: f64 = 1.0 / 25.0;

/// The part of all steps in which it rises, where the warm-up does not say it; as there.
const ONE_CYCLE_RISE: f64 = 0.3;

/// The learning rates of a run.
#[derive(Clone, PartialEq, Debug)]
pub struct Schedule {
    /// What it does after the warm-up.
    pub name: ScheduleName,
    /// The highest rate.
    pub lr: f32,
    /// Steps in which the rate rises to it.
    pub warmup: u64,
    /// The rate at the end of a schedule that falls steadily.
    pub last: f32,
    /// The epochs, counted from 1, after which the rate falls by `gamma`; of [`ScheduleName::Step`] the first of them, of
    /// which the others are multiples.
    pub epochs: Vec<u64>,
    /// The factor by which it falls then.
    pub gamma: f32,
}

/// How long a run is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Length {
    /// Steps of an epoch.
    pub epoch: u64,
    /// Steps of all epochs.
    pub total: u64,
}

impl From<&Rate> for Schedule {
    fn from(settings: &Rate) -> Schedule {
        let epochs = settings.lr_epochs.clone();
        let epochs = epochs.map_or(Vec::new(), |epochs| epochs.numbers());
        Schedule {
            name: settings.schedule,
            lr: settings.lr,
            warmup: settings.warmup,
            last: settings.lr_final,
            epochs: epochs.into_iter().map(|epoch| epoch as u64).collect(),
            gamma: settings.lr_gamma,
        }
    }
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0. A constant one without a warm-up is `lr`, to the bit.
    pub fn lr(&self, step: u64, length: Length) -> f32 {
        let (lr, last) = (f64::from(self.lr), f64::from(self.last));
        let rise = match (self.name, self.warmup) {
            (ScheduleName::OneCycle, 0) => (ONE_CYCLE_RISE * length.total as f64) as u64,
            (_, warmup) => warmup,
        };
        if step < rise {
            return match self.name {
                ScheduleName::OneCycle => {
                    let part = step as f64 / rise as f64;
                    cosine(lr * ONE_CYCLE_START, lr, part) as f32
                }
                _ => (lr * ((step + 1) as f64 / rise as f64)) as f32,
            };
        }
        let falling = length.total.saturating_sub(rise).max(1);
        let part = (step - rise).min(falling) as f64 / falling as f64;
        match self.name {
            ScheduleName::Constant => self.lr,
            ScheduleName::Step | ScheduleName::Multistep => {
                let done = step / length.epoch.max(1);
                let falls = match (self.name, &self.epochs[..]) {
                    (ScheduleName::Step, &[each]) => done / each,
                    (_, epochs) => epochs.iter().filter(|epoch| **epoch <= done).count() as u64,
                };
                (lr * f64::from(self.gamma).powi(falls as i32)) as f32
            }
            ScheduleName::Linear => (lr + (last - lr) * part) as f32,
            ScheduleName::Cosine | ScheduleName::OneCycle => cosine(lr, last, part) as f32,
        }
    }

    /// What people should know of a rate that is to fall between epochs, but first after the last of so many.
    pub fn falls_after(&self, epochs: usize) -> Option<String> {
        let falls = matches!(self.name, ScheduleName::Step | ScheduleName::Multistep);
        let first = self.epochs.first().filter(|_| falls)?;
        (*first >= epochs as u64).then(|| {
            format!(
                "the learning rate never falls: --lr-epochs {first} is not before the end of a run of --epochs {epochs}"
            )
        })
    }
}

/// From one rate to the other along half a cosine wave; `part` of the way.
fn cosine(from: f64, to: f64, part: f64) -> f64 {
    to + (from - to) * 0.5 * (1.0 + (PI * part).cos())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(name: ScheduleName, warmup: u64) -> Schedule {
        Schedule {
            name,
            lr: 0.1,
            warmup,
            last: 0.0,
            epochs: Vec::new(),
            gamma: 0.1,
        }
    }

    /// Epochs of ten steps.
    fn of(total: u64) -> Length {
        Length { epoch: 10, total }
    }

    fn rates(schedule: &Schedule, total: u64) -> Vec<f32> {
        (0..total)
            .map(|step| schedule.lr(step, of(total)))
            .collect()
    }

    #[test]
    fn a_constant_rate_is_the_configured_one() {
        assert_eq!(rates(&schedule(ScheduleName::Constant, 0), 5), [0.1; 5]);
        let warm = rates(&schedule(ScheduleName::Constant, 4), 6);
        assert_eq!(warm, [0.025, 0.05, 0.075, 0.1, 0.1, 0.1]);
    }

    #[test]
    fn a_cosine_falls_from_the_highest_rate_to_the_last() {
        let falling = rates(&schedule(ScheduleName::Cosine, 0), 4);
        let half = 0.1 * std::f64::consts::FRAC_1_SQRT_2;
        let wanted = [0.1, 0.05 + half / 2.0, 0.05, 0.05 - half / 2.0].map(|lr| lr as f32);
        assert_eq!(falling, wanted);
        let warm = schedule(ScheduleName::Cosine, 2);
        assert_eq!(warm.lr(1, of(10)), 0.1);
        assert_eq!(warm.lr(2, of(10)), 0.1);
        assert_eq!(warm.lr(6, of(10)), 0.05);
        assert_eq!(warm.lr(10, of(10)), 0.0);
        // A run that goes on beyond its end, and one that is all warm-up.
        assert_eq!(warm.lr(12, of(10)), 0.0);
        assert_eq!(warm.lr(1, of(2)), 0.1);
        let above = Schedule { last: 0.02, ..warm };
        assert_eq!(above.lr(6, of(10)), 0.060000002);
        assert_eq!(above.lr(10, of(10)), 0.02);
    }

    #[test]
    fn a_line_falls_by_the_same_amount_in_each_step() {
        let line = Schedule {
            last: 0.02,
            ..schedule(ScheduleName::Linear, 0)
        };
        assert_eq!(rates(&line, 4), [0.1, 0.08, 0.060000002, 0.04]);
        assert_eq!(line.lr(9, of(4)), 0.02);
    }

    /// As PyTorch's StepLR(3) and MultiStepLR([2, 5]) are after so many whole epochs.
    #[test]
    fn a_rate_falls_between_epochs() {
        let by_epoch = |name, epochs: &[u64]| -> Vec<f32> {
            let falls = Schedule {
                epochs: epochs.to_vec(),
                gamma: 0.5,
                ..schedule(name, 0)
            };
            let rates = rates(&falls, 80);
            let whole = rates.chunks(10).map(|rates| {
                assert!(rates.iter().all(|lr| *lr == rates[0]));
                rates[0]
            });
            whole.collect()
        };
        let steps = by_epoch(ScheduleName::Step, &[3]);
        assert_eq!(steps, [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025]);
        let some = by_epoch(ScheduleName::Multistep, &[2, 5]);
        assert_eq!(some, [0.1, 0.1, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025]);
    }

    #[test]
    fn a_fall_after_the_last_epoch_is_told() {
        let first = |name, epochs: &[u64]| Schedule {
            epochs: epochs.to_vec(),
            ..schedule(name, 0)
        };
        let step = first(ScheduleName::Step, &[8]);
        let told = step.falls_after(8).unwrap_or_default();
        assert!(told.contains("never falls") && told.contains("--lr-epochs 8"));
        assert_eq!(step.falls_after(9), None);
        let some = first(ScheduleName::Multistep, &[5, 80]);
        assert_eq!(some.falls_after(6), None);
        assert!(some.falls_after(5).is_some());
        assert_eq!(first(ScheduleName::Cosine, &[]).falls_after(1), None);
    }

    #[test]
    fn one_cycle_rises_from_a_25th_and_falls() {
        let cycle = schedule(ScheduleName::OneCycle, 0);
        assert_eq!(cycle.lr(0, of(100)), 0.004);
        assert_eq!(cycle.lr(15, of(100)), 0.052);
        assert_eq!(cycle.lr(30, of(100)), 0.1);
        assert_eq!(cycle.lr(65, of(100)), 0.05);
        assert_eq!(cycle.lr(100, of(100)), 0.0);
        let early = schedule(ScheduleName::OneCycle, 10);
        assert_eq!(early.lr(10, of(100)), 0.1);
    }

    #[test]
    fn a_rate_is_never_above_the_highest_and_falls_step_by_step() {
        for name in [
            ScheduleName::Cosine,
            ScheduleName::Linear,
            ScheduleName::OneCycle,
        ] {
            for warmup in [1, 7] {
                let rates = rates(&schedule(name, warmup), 50);
                let (rising, falling) = rates.split_at(warmup as usize);
                assert!(rising.windows(2).all(|lr| lr[0] < lr[1]));
                assert!(falling.windows(2).all(|lr| lr[0] > lr[1]));
                assert!(rates.iter().all(|lr| *lr > 0.0 && *lr <= 0.1));
            }
        }
    }
}
