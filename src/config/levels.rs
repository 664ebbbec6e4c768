//! A number for each channel as one setting, such as `0.485,0.456,0.406`.
use crate::data::{MEANS, STDS, listed};
use serde::Serialize;
use std::fmt;
use std::ops::RangeInclusive;

/// How the help shows such a value. A file may write it as an array too.
pub const CHANNELS: &str = "X,X,…";

/// Numbers, one for each channel, of levels from 0 to 1.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(transparent)]
pub struct Levels(pub Vec<f32>);

impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&listed(&self.0))
    }
}

/// Means of levels from 0 to 1.
pub fn means(text: &str) -> Result<Levels, String> {
    levels(text, MEANS)
}

/// Standard deviations of levels from 0 to 1.
pub fn deviations(text: &str) -> Result<Levels, String> {
    levels(text, STDS)
}

fn levels(text: &str, range: RangeInclusive<f32>) -> Result<Levels, String> {
    let number = |text: &str| -> Option<f32> {
        let number = text.trim().parse().ok()?;
        range.contains(&number).then_some(number)
    };
    let numbers: Option<Vec<f32>> = text.split(',').map(number).collect();
    numbers.map(Levels).ok_or_else(|| {
        format!(
            "must be numbers from {} to {} with commas between, one for each channel, of levels that were divided by 255, \
             such as 0.485,0.456,0.406",
            range.start(),
            range.end()
        )
    })
}
