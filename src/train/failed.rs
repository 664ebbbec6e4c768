//! What is said when a run fails: what happened, what is saved, and what to type next.
use super::checkpoint;
use super::event::Unheard;
use super::run::{NotFinite, Run};
use crate::backend::{DeviceError, Failure};
use crate::config::{self, MicroBatch, Precision};
use crate::process::{command, one_line, quoted};
use anyhow::{Error, anyhow};

impl Run<'_> {
    /// What to say when the device or the disk failed.
    pub(super) fn stopped(&self, error: Error) -> Error {
        let failure = error.downcast_ref::<DeviceError>().map(|e| e.failure);
        let saved = checkpoint::latest(self.folder);
        let mut next = match &saved {
            Ok(saved) => format!(
                "{} is saved; resume with\n  {} {}",
                one_line(saved),
                command("train --resume"),
                quoted(self.folder)
            ),
            Err(_) if error.is::<Unheard>() => "there is no checkpoint yet".to_string(),
            Err(_) => {
                "there is no checkpoint yet: start again, with a smaller --save-every".to_string()
            }
        };
        if failure == Some(Failure::OutOfMemory) {
            let batch = self.config.batch.micro_batch.and_then(MicroBatch::examples);
            let half = batch
                .unwrap_or(self.config.batch.batch_size)
                .div_ceil(2)
                .max(2);
            let init = match &saved {
                Ok(saved) => format!(" --init {}", quoted(&checkpoint::weights_in(saved))),
                Err(_) => String::new(),
            };
            next += &format!(
                "\nFree device memory first. A new run needs less with\n  {}{init} --micro-batch {half}",
                command("train")
            );
        }
        anyhow!(
            "{error:#}\nthe training stopped after step {}; {next}",
            self.progress.step
        )
    }

    /// What to say when the training left the finite numbers: where, what is saved, and what may be the cause.
    pub(super) fn diverged(&mut self, what: NotFinite) -> Error {
        let weights = match what {
            NotFinite::Evaluated(..) => match self.session.not_finite() {
                Ok(Some(param)) => format!(", and {param} is no longer finite"),
                Ok(None) => ", though all weights are finite".to_string(),
                // The device's failure is not what people are to hear of.
                Err(_) => String::new(),
            },
            NotFinite::Step(_) | NotFinite::Param(_) => String::new(),
        };
        let kept = match checkpoint::latest(self.folder) {
            Ok(last) => format!("the last checkpoint is {}", one_line(&last)),
            Err(_) => "there is no checkpoint yet".to_string(),
        };
        let step = self.progress.step;
        let advice = match what {
            NotFinite::Step(_) if step == 1 => self.suspects_before_an_update(),
            _ => self.suspects(),
        };
        anyhow!("{what}{weights} after step {step}, so the training was stopped; {kept}. {advice}")
    }

    /// What may be the cause once the weights have been changed.
    fn suspects(&self) -> String {
        // Guessing has the logarithm of the number of classes.
        let guessing = (self.info.classes.len() as f64).ln();
        let last = self.progress.history.last();
        let lr = self.config.rate.lr;
        if let Some(epoch) = last.filter(|epoch| epoch.train_loss > 2.0 * guessing) {
            return format!(
                "It had diverged before: the mean loss of epoch {} is {:.3e}. Start a new run with a lower --lr than {lr}",
                epoch.epoch, epoch.train_loss
            );
        }
        let mut advice = format!(
            "The learning rate {lr} is probably too high: try --lr {}",
            lower(lr)
        );
        if let Some(precision) = self.imprecise() {
            advice += &format!("; or {precision}");
        }
        advice
    }

    /// What may be the cause where the weights are still those that the run began with.
    fn suspects_before_an_update(&self) -> String {
        let config = self.config;
        let preprocessing = &config.preprocessing;
        let mut suspects = Vec::new();
        if let Some(init) = &config.begin.init {
            suspects.push(format!("the weights of --init {}", quoted(init)));
        }
        if preprocessing.mean.is_some() || preprocessing.std.is_some() {
            suspects.push("--mean and --std".to_string());
        }
        suspects.extend(self.imprecise());
        suspects.push(format!("the device, which `{}` checks", command("verify")));
        format!(
            "No update came before it, so the learning rate is not the cause. Suspects: {}",
            suspects.join("; ")
        )
    }

    /// The precision, where it may be the cause.
    fn imprecise(&self) -> Option<String> {
        match self.config.hardware.precision {
            Precision::F32 => None,
            Precision::F16 => Some(
                "--precision f16, in which values above 65504 overflow: try --precision f32".into(),
            ),
            Precision::Bf16 => {
                Some("--precision bf16, which has 8 bits of mantissa: try --precision f32".into())
            }
        }
    }
}

/// A tenth of a learning rate, and no more than the default one.
fn lower(lr: f32) -> f32 {
    // To two digits: 0.01 / 10 is 0.0009999999 in f32.
    let tenth = format!("{:.1e}", lr / 10.0).parse().unwrap_or(lr / 10.0);
    f32::min(tenth, config::TrainConfig::default().rate.lr)
}
