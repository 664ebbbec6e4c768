//! Finds the fastest tiling of each convolution by timing it alone, within about a second. What was found
//! for an adapter is kept in a file, so that the next run has the same tilings, and so the same bits.
mod file;
mod trial;

pub use file::Identity;

use super::{Gpu, Tune};
use crate::backend::{Backend, Tuned};
use crate::ops::tuning::{Convolution, TuningTable};
use crate::process::one_line;
use anyhow::{Context, Result};
use file::TuningFile;
use std::time::Instant;
use trial::Trial;

/// Seconds of timing after which the rest keeps the tilings that their shapes decide.
const BUDGET: f64 = 1.0;

/// Runs of each candidate that are not counted.
const WARM_UPS: usize = 2;

/// Runs of each candidate whose median counts.
const TIMED: usize = 5;

/// A candidate must take less than this part of the time that the shapes' own tiling takes: a difference
/// within the noise is none.
const FASTER: f64 = 0.97;

/// What takes the times.
enum Clock<'a> {
    /// The device's own.
    Device(&'a mut Gpu),
    /// Made up: the nanoseconds of each candidate.
    #[cfg(test)]
    Given(fn(&Trial) -> Vec<f64>),
}

/// What the timing came to.
struct Choices {
    tilings: TuningTable,
    /// Convolutions that were timed.
    reached: usize,
    /// Their candidates.
    candidates: usize,
    /// Convolutions for which another tiling than their shapes' was the fastest.
    changed: usize,
}

/// See [`Backend::tune`].
pub fn tune(gpu: &mut Gpu, convolutions: &[Convolution], room: u64) -> Result<Option<Tuned>> {
    let mut notes = Vec::new();
    let kept = match gpu.tune {
        Tune::Auto if gpu.device.software => return Ok(None),
        Tune::Auto => TuningFile::open(gpu.identity.clone())
            .map_err(|error| notes.push(format!("tile sizes are not cached: {error:#}")))
            .ok(),
        Tune::Always => None,
    };
    let tilings = tune_with(gpu, convolutions, room, kept.as_ref(), &mut notes)?;
    let note = notes.join("\n");
    Ok(Some(Tuned { tilings, note }))
}

/// The tilings of the file, and of those that it does not have yet the fastest.
fn tune_with(
    gpu: &mut Gpu,
    convolutions: &[Convolution],
    room: u64,
    kept: Option<&TuningFile>,
    notes: &mut Vec<String>,
) -> Result<TuningTable> {
    let name = gpu.device.name.clone();
    let mut known = match kept.map_or(Ok(TuningTable::default()), TuningFile::read) {
        Ok(known) => known,
        Err(error) => {
            notes.push(format!("autotuning again: {error:#}"));
            TuningTable::default()
        }
    };
    let mut found = TuningTable::default();
    let mut unknown = Vec::new();
    for convolution in convolutions {
        let key = convolution.key().context("a convolution has a key")?;
        match known.0.get(&key) {
            Some(&tiling) => drop(found.0.insert(key, tiling)),
            None => unknown.push((key, convolution)),
        }
    }
    if let (true, Some(kept)) = (unknown.is_empty(), kept) {
        let path = one_line(&kept.path);
        notes.push(format!("{name}: tile sizes from the cache {path}"));
        return Ok(found);
    }
    if !trial::has_clock(gpu)? {
        notes.push(format!(
            "{name} has no working timestamp queries: autotuning is off"
        ));
        return Ok(TuningTable::default());
    }
    let started = Instant::now();
    let trials = trial::all(gpu, unknown, room)?;
    let compiling = started.elapsed().as_secs_f64();
    let started = Instant::now();
    let outcome = choose(&trials, &mut Clock::Device(gpu), BUDGET)?;
    let timing = started.elapsed().as_secs_f64();
    gpu.forget()?;
    let Choices {
        tilings,
        reached,
        candidates,
        changed,
    } = outcome;
    notes.push(format!(
        "{name}: tuned {reached} of {} convolutions in {timing:.1} s, {candidates} kernels after {compiling:.1} s \
         of compiling; {changed} differ from the default",
        trials.len()
    ));
    found.0.extend(tilings.0.clone());
    if let Some(kept) = kept {
        known.0.extend(tilings.0);
        match kept.write(&known) {
            Ok(()) => notes.push(format!("tile sizes cached in {}", one_line(&kept.path))),
            Err(error) => notes.push(format!("tile sizes are not cached: {error:#}")),
        }
    }
    Ok(found)
}

/// Chooses for every trial, in order, as long as `budget` seconds last. What is not reached gets its shapes'
/// own tiling and keeps it: a later run that went on timing would have other bits.
fn choose(trials: &[Trial], clock: &mut Clock, budget: f64) -> Result<Choices> {
    let mut outcome = Choices {
        tilings: TuningTable::default(),
        reached: 0,
        candidates: 0,
        changed: 0,
    };
    let mut spent = 0.0;
    for trial in trials {
        let mut best = 0;
        if trial.candidates.len() > 1 && trial.plan.is_some() && spent < budget {
            let (seconds, took) = clock.time(trial)?;
            spent += took;
            best = fastest(&seconds);
            outcome.reached += 1;
            outcome.candidates += trial.candidates.len();
            outcome.changed += usize::from(best > 0);
        }
        let tiling = trial.candidates[best];
        outcome.tilings.0.insert(trial.key.clone(), tiling);
    }
    Ok(outcome)
}

/// The fastest candidate: the first unless another is clearly faster. Times that a clock cannot have
/// measured decide nothing.
fn fastest(seconds: &[f64]) -> usize {
    let is_time = |s: &f64| *s > 0.0 && s.is_finite();
    if !seconds.iter().all(is_time) {
        return 0;
    }
    let all = 0..seconds.len();
    let best = all.min_by(|&a, &b| seconds[a].total_cmp(&seconds[b]));
    best.filter(|&best| seconds[best] < FASTER * seconds[0])
        .unwrap_or(0)
}

impl Clock<'_> {
    /// The seconds that each candidate takes, and those that timing them took.
    fn time(&mut self, trial: &Trial) -> Result<(Vec<f64>, f64)> {
        match self {
            Clock::Device(gpu) => {
                let started = Instant::now();
                let plan = trial.rounds(WARM_UPS + TIMED);
                let id = gpu.compile(plan)?;
                let seconds = gpu.profile(id)?;
                let medians = trial.medians(&seconds, WARM_UPS);
                Ok((medians, started.elapsed().as_secs_f64()))
            }
            #[cfg(test)]
            Clock::Given(nanoseconds) => {
                let seconds: Vec<f64> = nanoseconds(trial).iter().map(|ns| ns * 1e-9).collect();
                let took = seconds.iter().sum::<f64>() * (WARM_UPS + TIMED) as f64;
                Ok((seconds, took))
            }
        }
    }
}

#[cfg(test)]
mod tests;
