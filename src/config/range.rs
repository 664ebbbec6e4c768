//! The ranges of settings, as parsers of their values.
use std::str::FromStr;

/// A whole number from `least` on; `why` completes the refusal.
pub fn at_least(
    least: usize,
    why: &'static str,
) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let value: usize = text
            .parse()
            .map_err(|_| format!("must be a whole number from {least} on"))?;
        match value >= least {
            true => Ok(value),
            false => Err(format!("must be at least {least}{why}")),
        }
    }
}

/// A finite number above zero.
pub fn above_zero(text: &str) -> Result<f32, String> {
    number(text, "a positive number", |value| value > 0.0)
}

/// A finite number from zero on.
pub fn finite_from_zero(text: &str) -> Result<f32, String> {
    number(text, "zero or more", |value| value >= 0.0)
}

/// A number from 0 to below 1.
pub fn share<T: FromStr + Into<f64> + Copy>(text: &str) -> Result<T, String> {
    number(text, "from 0 to below 1", |value| {
        (0.0..1.0).contains(&value)
    })
}

/// A text that is not empty.
pub fn named(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("must not be empty".to_string()),
        false => Ok(text.to_string()),
    }
}

fn number<T: FromStr + Into<f64> + Copy>(
    text: &str,
    range: &str,
    within: impl Fn(f64) -> bool,
) -> Result<T, String> {
    let value: T = text.parse().map_err(|_| format!("must be {range}"))?;
    match value.into().is_finite() && within(value.into()) {
        true => Ok(value),
        false => Err(format!("must be {range}")),
    }
}
