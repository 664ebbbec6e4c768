//! How far a network's results moved when its weights were changed: what is granted to coarser arithmetic.
use super::shake::{Shake, is_shaken};
use super::verdict::Judge;
use crate::verify::replay::Outputs;
use anyhow::Result;
use std::collections::BTreeMap;

/// How far every result moved when the weights were changed by `by`: a part of its length, or the largest distance where
/// it is zero but for rounding. Nothing where `by` is zero.
///
/// # Errors
/// When a tensor of the file is missing.
pub fn noise(judge: &Judge, outputs: &Outputs, by: f64) -> Result<BTreeMap<String, f64>> {
    let mut noise = BTreeMap::new();
    for (name, output) in outputs.iter().filter(|(name, _)| !is_shaken(name)) {
        let still = judge.since_start(name, output, None)?;
        let mut most = 0.0_f64;
        for shake in Shake::all(by) {
            let Some(shaken) = outputs.get(&shake.name(name)) else {
                continue;
            };
            let moved = judge.since_start(name, shaken, Some(shake))?;
            most = most.max(distance(&still, &moved, judge.is_zero(name)));
        }
        noise.insert(name.clone(), most);
    }
    Ok(noise)
}

fn distance(still: &[f64], moved: &[f64], absolute: bool) -> f64 {
    let apart = still.iter().zip(moved).map(|(a, b)| (a - b).abs());
    if absolute {
        return apart.fold(0.0, f64::max);
    }
    let length = |squares: f64| squares.sqrt();
    length(apart.map(|d| d * d).sum())
        / length(still.iter().map(|v| v * v).sum()).max(f64::MIN_POSITIVE)
}
