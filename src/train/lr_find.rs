//! The range test of learning rates: a training whose rate rises geometrically until its loss diverges (Smith 2017,
//! "Cyclical Learning Rates for Training Neural Networks", section 3.3, <https://arxiv.org/abs/1506.01186>). Geometric
//! steps, smoothing and the steepest descent as the suggestion are fastai's `lr_find` (Howard and Gugger 2020,
//! <https://arxiv.org/abs/2002.04688>).
use super::event::Observer;
use super::session::Session;
use super::trainer::Trainer;
use crate::backend::Backend;
use crate::data::{Sampler, Split};
use anyhow::Result;

/// Share of the smoothed loss that a step keeps.
const SMOOTHING: f64 = 0.9;

/// The loss has diverged once its smoothed value is so many times the lowest one.
const DIVERGED: f64 = 4.0;

/// The rates to try: so many, each the same multiple of the one before.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Sweep {
    /// The first rate.
    pub from: f32,
    /// The last rate, above the first.
    pub to: f32,
    /// How many, at least two.
    pub steps: usize,
}

impl Sweep {
    /// The rate of a step, from 0.
    pub fn lr(&self, step: usize) -> f32 {
        let share = step as f64 / (self.steps - 1) as f64;
        let [from, to] = [self.from, self.to].map(f64::from);
        (from * (to / from).powf(share)) as f32
    }
}

/// A step of the test.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tried {
    /// Its learning rate.
    pub lr: f32,
    /// The mean loss of its batch, before its update.
    pub loss: f32,
    /// The exponential moving average of the losses up to this one, without the bias of its start.
    pub smoothed: f64,
}

/// The loss over the learning rate.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LrCurve {
    /// The steps, in the order of their rates.
    pub tried: Vec<Tried>,
    /// Whether the loss diverged, so that higher rates were not tried.
    pub diverged: bool,
    average: f64,
}

impl LrCurve {
    /// Adds a step.
    fn add(&mut self, lr: f32, loss: f32) {
        self.average = SMOOTHING * self.average + (1.0 - SMOOTHING) * f64::from(loss);
        let weight = 1.0 - SMOOTHING.powi(self.tried.len() as i32 + 1);
        let smoothed = self.average / weight;
        let lowest = self.tried.iter().map(|tried| tried.smoothed);
        let lowest = lowest.fold(f64::INFINITY, f64::min);
        self.diverged = !smoothed.is_finite() || smoothed > DIVERGED * lowest;
        self.tried.push(Tried { lr, loss, smoothed });
    }

    /// The rate at which the smoothed loss falls most steeply over the logarithm of the rate, on its way to the lowest;
    /// `None` if it falls nowhere. The first tenth of the steps is left out, whose average is of few losses.
    pub fn suggestion(&self) -> Option<f32> {
        let settled = &self.tried[self.tried.len() / 10..];
        let finite = |(_, tried): &(usize, &Tried)| tried.smoothed.is_finite();
        let lowest = settled.iter().enumerate().filter(finite);
        let lowest = lowest.min_by(|a, b| a.1.smoothed.total_cmp(&b.1.smoothed))?;
        let settled = &settled[..=lowest.0];
        let slope = |pair: &[Tried]| {
            let [a, b] = [&pair[0], &pair[1]];
            let rise = (f64::from(b.lr) / f64::from(a.lr)).ln();
            ((b.smoothed - a.smoothed) / rise, b.lr)
        };
        let slopes = settled.windows(2).map(slope);
        let falling = slopes.filter(|(slope, _)| *slope < 0.0);
        let steepest = falling.min_by(|a, b| a.0.total_cmp(&b.0));
        steepest.map(|(_, lr)| lr)
    }
}

impl Trainer {
    /// Trains with rising rates until the loss diverges or all were tried; `each` is told of every step. Nothing is
    /// written, and the weights are gone with the session.
    ///
    /// # Errors
    /// When the device is too small or fails, an image cannot be read, or `each` or an observer fails.
    pub fn find_lr(
        mut self,
        mut backend: Box<dyn Backend>,
        observers: &mut [Box<dyn Observer>],
        sweep: &Sweep,
        mut each: impl FnMut(&Tried) -> Result<()>,
    ) -> Result<LrCurve> {
        let plans = self.plan(backend.as_mut(), observers)?;
        let mut session = Session::open(plans, self.data.clone(), backend)?;
        self.begin(&mut session)?;
        let batching = session.spec().batching(true);
        let (random, images) = (&self.config.random, session.len(Split::Train));
        let shuffle = random.shuffle && self.config.training.overfit.is_none();
        let sampler = Sampler::new(random.seed, shuffle);
        let mut curve = LrCurve::default();
        for epoch in 0.. {
            session.set_epoch(epoch);
            for batch in batching.of(&sampler.order(epoch, images)) {
                let lr = sweep.lr(curve.tried.len());
                session.set_learning_rate(lr)?;
                session.train(batch)?;
                for result in session.results()? {
                    curve.add(lr, result.loss);
                }
                curve.tried.last().map_or(Ok(()), &mut each)?;
                if curve.diverged || curve.tried.len() == sweep.steps {
                    return Ok(curve);
                }
            }
        }
        Ok(curve)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_by_the_same_factor() {
        let sweep = Sweep {
            from: 1e-4,
            to: 1.0,
            steps: 5,
        };
        let all: Vec<f32> = (0..5).map(|step| sweep.lr(step)).collect();
        for (lr, want) in all.into_iter().zip([1e-4, 1e-3, 1e-2, 1e-1, 1.0]) {
            assert!((lr / want - 1.0).abs() < 1e-6, "{lr} {want}");
        }
    }

    /// A loss that stays, falls from 1e-3 to 1e-1 most steeply in the middle, and stays.
    #[test]
    fn the_steepest_descent_is_suggested_and_divergence_ends_the_curve() {
        let sweep = Sweep {
            from: 1e-6,
            to: 10.0,
            steps: 400,
        };
        let mut curve = LrCurve::default();
        for step in 0..sweep.steps {
            let lr = sweep.lr(step);
            let at = f64::from(lr).log10() + 2.0;
            curve.add(lr, (2.3 - 2.0 / (1.0 + (-4.0 * at).exp())) as f32);
            assert!(!curve.diverged);
        }
        // Ten steps of averaging are a sixth of a decade.
        let suggestion = curve.suggestion().unwrap();
        assert!((0.01..0.02).contains(&suggestion), "{suggestion}");
        let mut steps = 0;
        while !curve.diverged {
            curve.add(20.0, 9.0);
            steps += 1;
        }
        assert!((2..9).contains(&steps), "{steps}");
        curve.add(30.0, f32::NAN);
        assert!(curve.diverged);
    }

    /// Above the rate of the lowest loss a loss that jumps up falls most steeply of all.
    #[test]
    fn what_falls_after_the_lowest_loss_is_not_suggested() {
        let losses = [2.0, 2.0, 2.0, 1.8, 1.5, 1.3, 1.2, 1.2, 1.3, 5.0, 1.4, 1.3];
        let mut curve = LrCurve::default();
        for (step, loss) in losses.into_iter().enumerate() {
            curve.add(1e-4 * 2f32.powi(step as i32), loss);
        }
        let suggestion = curve.suggestion().unwrap();
        assert!((4e-4..=6.4e-3).contains(&suggestion), "{suggestion}");
    }

    #[test]
    fn a_loss_that_never_falls_suggests_nothing() {
        let mut curve = LrCurve::default();
        assert_eq!(curve.suggestion(), None);
        for step in 0..20 {
            curve.add(1e-3 * 1.5f32.powi(step), 1.0 + 0.01 * step as f32);
        }
        assert_eq!(curve.suggestion(), None);
    }
}
