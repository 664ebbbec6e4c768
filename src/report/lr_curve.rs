//! The loss over the learning rate, as bars of text and as a picture.
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

/// Width and height of the picture, and of its plot's place in it.
const SIZE: (f64, f64) = (720.0, 420.0);
const LEFT: f64 = 64.0;
const RIGHT: f64 = 704.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 360.0;

/// The losses as dots, the smoothed ones as a line, and the suggested rate, over a logarithmic axis.
pub fn svg(curve: &LrCurve) -> String {
    let finite = || {
        curve
            .tried
            .iter()
            .filter(|tried| tried.smoothed.is_finite())
    };
    let (first, last) = (finite().next(), finite().next_back());
    let [low, high] = [first, last].map(|tried| tried.map_or(1.0, |tried| f64::from(tried.lr)));
    // A loss that has diverged would press the rest of the curve flat.
    let start = first.map_or(1.0, |tried| tried.smoothed);
    let most = finite().map(|tried| tried.smoothed).fold(0.0, f64::max);
    let top = nice(most.min(1.5 * start));
    let span = (high / low).ln().max(f64::MIN_POSITIVE);
    let x = |lr: f64| LEFT + (RIGHT - LEFT) * (lr / low).ln() / span;
    let y = |loss: f64| BOTTOM - (BOTTOM - TOP) * (loss / top).min(1.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Loss over learning rate</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
        SIZE.0, SIZE.1
    );
    for tick in 0..=4 {
        let loss = top * f64::from(tick) / 4.0;
        let at = y(loss);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{RIGHT}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{loss:.2}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for power in low.log10().ceil() as i32..=high.log10().floor() as i32 {
        let at = x(10f64.powi(power));
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#ddd\"/><text x=\"{at:.1}\" y=\"{:.1}\" \
             text-anchor=\"middle\">1e{power}</text>",
            BOTTOM + 18.0
        );
    }
    for tried in finite() {
        let (x, y) = (x(f64::from(tried.lr)), y(f64::from(tried.loss)));
        let _ = writeln!(
            svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\" fill=\"#9bb8d3\"/>"
        );
    }
    let points = finite().map(|tried| {
        let (x, y) = (x(f64::from(tried.lr)), y(tried.smoothed));
        format!("{x:.1},{y:.1}")
    });
    let points: Vec<String> = points.collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f5f99\" stroke-width=\"2\"/>",
        points.join(" ")
    );
    if let Some(lr) = curve.suggestion() {
        let at = x(f64::from(lr));
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {TOP}V{BOTTOM}\" stroke=\"#c33\" stroke-dasharray=\"4 3\"/><text x=\"{at:.1}\" \
             y=\"{:.1}\" text-anchor=\"middle\" fill=\"#c33\">suggested {lr:.1e}</text>",
            TOP - 10.0
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">learning rate</text>\n\
         <text transform=\"translate(16 {:.1}) rotate(-90)\" text-anchor=\"middle\">loss: each step, and smoothed</text>\n</svg>",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 40.0,
        (TOP + BOTTOM) / 2.0
    );
    svg
}

/// The next round number: 1, 2, 4, 5 or 8 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.max(1e-9).log10().floor());
    let rounds = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0].map(|digit| digit * power);
    rounds
        .into_iter()
        .find(|round| *round >= value)
        .unwrap_or(value)
}
