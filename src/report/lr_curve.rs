//! The loss over the learning rate, as bars of text and as a picture.
use super::chart::{self, Chart, Dash, Series};
use crate::train::{LrCurve, Tried};
use std::fmt::Write;

/// Lines of the text at most.
const LINES: usize = 25;
/// Columns of the longest bar.
const COLUMNS: usize = 50;

/// A line for every few steps: the last one's rate, its smoothed loss, and that as a bar. The line with the suggested
/// rate is marked.
pub fn text(curve: &LrCurve) -> String {
    let suggestion = curve.suggestion();
    let finite = || {
        curve
            .tried
            .iter()
            .filter(|tried| tried.smoothed.is_finite())
    };
    let most = finite()
        .map(|tried| tried.smoothed)
        .fold(f64::MIN, f64::max);
    let mut text = format!("{:>8}  {:>8}\n", "lr", "loss");
    for steps in curve.tried.chunks(curve.tried.len().div_ceil(LINES).max(1)) {
        let Some(Tried { lr, smoothed, .. }) = steps.last() else {
            continue;
        };
        let marked = steps.iter().any(|tried| Some(tried.lr) == suggestion);
        let mark = if marked { " ◄ steepest descent" } else { "" };
        let bar = match smoothed.is_finite() {
            true => "█".repeat((smoothed / most * COLUMNS as f64).round() as usize),
            false => String::new(),
        };
        let _ = writeln!(text, "{lr:>8.1e}  {smoothed:>8.3}  {bar}{mark}");
    }
    let _ = match (suggestion, curve.diverged) {
        (Some(lr), true) => writeln!(
            text,
            "suggested lr {lr:.1e}; the loss diverged at {:.1e}",
            last(curve)
        ),
        (Some(lr), false) => writeln!(
            text,
            "suggested lr {lr:.1e}; the loss did not diverge up to {:.1e}",
            last(curve)
        ),
        (None, _) => writeln!(text, "no suggestion: the loss fell at no rate"),
    };
    text
}

/// The highest rate that was tried.
fn last(curve: &LrCurve) -> f32 {
    curve.tried.last().map_or(f32::NAN, |tried| tried.lr)
}

/// The losses as points, the smoothed ones as a line, and the suggested rate, over a logarithmic axis.
pub fn svg(curve: &LrCurve) -> String {
    let finite = || {
        let tried = curve.tried.iter();
        tried.filter(|tried| tried.smoothed.is_finite())
    };
    // A loss that has diverged would press the rest of the curve flat.
    let most = finite().next().map_or(1.0, |first| 1.5 * first.smoothed);
    let series = |label: &str, dash: Dash, loss: fn(&Tried) -> f64| Series {
        label: label.to_string(),
        points: finite()
            .map(|tried| (f64::from(tried.lr), loss(tried).min(most)))
            .collect(),
        colour: 0,
        dash,
    };
    let suggestion = curve.suggestion();
    chart::svg(&[Chart {
        title: "Loss over learning rate".to_string(),
        x: "learning rate".to_string(),
        log: true,
        mark: suggestion.map(|lr| (f64::from(lr), format!("suggested {lr:.1e}"))),
        series: vec![
            series("loss of each step", Dash::Points, |tried| {
                f64::from(tried.loss)
            }),
            series("smoothed", Dash::Solid, |tried| tried.smoothed),
        ],
    }])
}
