//! The learning rate of a step as a function of its number alone, so that a resumed run goes on with the same rates.
use crate::config::{Rate, ScheduleName};
use std::f64::consts::PI;

/// The learning rates of a run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Schedule {
    /// What it does after the warm-up.
    pub name: ScheduleName,
    /// The highest rate.
    pub lr: f32,
    /// Steps in which the rate rises to it, by the same amount in each.
    pub warmup: u64,
}

impl From<&Rate> for Schedule {
    fn from(settings: &Rate) -> Schedule {
        Schedule {
            name: settings.schedule,
            lr: settings.lr,
            warmup: settings.warmup,
        }
    }
}

impl Schedule {
    /// The learning rate of step `step`, counted from 0, of `total` steps. Without a warm-up a constant one is `lr`,
    /// to the bit.
    pub fn lr(&self, step: u64, total: u64) -> f32 {
        if step < self.warmup {
            let part = (step + 1) as f64 / self.warmup as f64;
            return (f64::from(self.lr) * part) as f32;
        }
        match self.name {
            ScheduleName::Constant => self.lr,
            ScheduleName::Cosine => {
                let falling = total.saturating_sub(self.warmup).max(1);
                let part = (step - self.warmup).min(falling) as f64 / falling as f64;
                (f64::from(self.lr) * 0.5 * (1.0 + (PI * part).cos())) as f32
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(name: ScheduleName, warmup: u64, total: u64) -> Vec<f32> {
        let lr = 0.1;
        let schedule = Schedule { name, lr, warmup };
        (0..total).map(|step| schedule.lr(step, total)).collect()
    }

    #[test]
    fn a_constant_rate_is_the_configured_one() {
        assert_eq!(rates(ScheduleName::Constant, 0, 5), [0.1; 5]);
        let warm = rates(ScheduleName::Constant, 4, 6);
        assert_eq!(warm, [0.025, 0.05, 0.075, 0.1, 0.1, 0.1]);
    }

    #[test]
    fn a_cosine_falls_from_the_highest_rate_to_zero() {
        let rates = rates(ScheduleName::Cosine, 0, 4);
        let half = 0.1 * std::f64::consts::FRAC_1_SQRT_2;
        let wanted = [0.1, 0.05 + half / 2.0, 0.05, 0.05 - half / 2.0].map(|lr| lr as f32);
        assert_eq!(rates, wanted);
        let schedule = Schedule {
            name: ScheduleName::Cosine,
            lr: 0.1,
            warmup: 2,
        };
        assert_eq!(schedule.lr(1, 10), 0.1);
        assert_eq!(schedule.lr(2, 10), 0.1);
        assert_eq!(schedule.lr(6, 10), 0.05);
        assert_eq!(schedule.lr(10, 10), 0.0);
        // A run that goes on beyond its end, and one that is all warm-up.
        assert_eq!(schedule.lr(12, 10), 0.0);
        assert_eq!(schedule.lr(1, 2), 0.1);
    }

    #[test]
    fn a_rate_is_never_above_the_highest_and_falls_step_by_step() {
        for warmup in [0, 1, 7] {
            let rates = rates(ScheduleName::Cosine, warmup, 50);
            let (rising, falling) = rates.split_at(warmup as usize);
            assert!(rising.windows(2).all(|lr| lr[0] < lr[1]));
            assert!(falling.windows(2).all(|lr| lr[0] > lr[1]));
            assert!(rates.iter().all(|lr| *lr > 0.0 && *lr <= 0.1));
        }
    }
}
