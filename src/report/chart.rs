//! Line charts as SVG, in light or dark as the reader's system is.
use super::picture::{COLOURS, head};
use minijinja::HtmlEscape;
use std::fmt::Write;

/// Width of a chart in pixels.
pub const WIDTH: f64 = 720.0;
/// Height of its plot, without the legend and the axes' labels.
const PLOT: f64 = 340.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const ROW: f64 = 22.0;

/// How a line is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dash {
    /// Unbroken.
    Solid,
    /// In dashes.
    Dashed,
    /// In dashes with dots between.
    Dotted,
    /// Its points alone.
    Points,
}

/// A line.
#[derive(Clone, PartialEq, Debug)]
pub struct Series {
    /// Its name in the legend.
    pub label: String,
    /// Its points, from left to right.
    pub points: Vec<(f64, f64)>,
    /// Which of the colours it has; they come again after the last.
    pub colour: usize,
    /// How it is drawn.
    pub dash: Dash,
}

/// Lines over what one axis counts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Chart {
    /// What stands above it, if anything.
    pub title: String,
    /// What the horizontal axis counts.
    pub x: String,
    /// Whether that axis is logarithmic; all points are above 0 then.
    pub log: bool,
    /// A place on that axis, and what it is.
    pub mark: Option<(f64, String)>,
    /// The lines.
    pub series: Vec<Series>,
}

/// Charts below each other in one file.
pub fn svg(charts: &[Chart]) -> String {
    let mut body = String::new();
    let mut height = 8.0;
    for chart in charts {
        height += chart.draw(&mut body, height);
    }
    let mut text = head(WIDTH, height);
    text += &body;
    text + "</svg>\n"
}

impl Chart {
    /// Draws it from this height on, and tells its own.
    fn draw(&self, out: &mut String, top: f64) -> f64 {
        let mut y = top;
        if !self.title.is_empty() {
            y += ROW;
            let title = HtmlEscape(&self.title);
            let _ = writeln!(
                out,
                "<text x=\"{LEFT}\" y=\"{:.0}\" font-weight=\"600\">{title}</text>",
                y - 6.0
            );
        }
        y = self.legend(out, y);
        if self.mark.is_some() {
            y += ROW;
        }
        let along = |x: f64| if self.log { x.log10() } else { x };
        let points = || self.series.iter().flat_map(|series| &series.points);
        let (first, last) = points().fold((f64::MAX, f64::MIN), |(low, high), (x, _)| {
            (low.min(along(*x)), high.max(along(*x)))
        });
        let (first, last) = match first < last {
            true => (first, last),
            // One epoch is in the middle.
            false if first == last => (first - 1.0, last + 1.0),
            false => (0.0, 1.0),
        };
        let highest = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let step = nice(if highest > 0.0 { highest } else { 1.0 } / 8.0);
        let most = (highest / step).ceil().max(1.0) * step;
        let right = WIDTH - RIGHT;
        let at_x = |x: f64| LEFT + (along(x) - first) / (last - first) * (right - LEFT);
        let at_y = |value: f64| y + PLOT * (1.0 - value / most);
        for i in 0..=(most / step).round() as usize {
            let value = i as f64 * step;
            let _ = writeln!(
                out,
                "<line class=\"faint\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{0:.1}\" y2=\"{0:.1}\"/><text x=\"{1}\" \
                 y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
                at_y(value),
                LEFT - 8.0,
                at_y(value) + 4.5,
                number(value, step)
            );
        }
        for (tick, label) in self.ticks(first, last) {
            let _ = writeln!(
                out,
                "<line class=\"faint\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{y:.1}\" y2=\"{1:.1}\"/><text x=\"{0:.1}\" \
                 y=\"{2:.1}\" text-anchor=\"middle\">{label}</text>",
                at_x(tick),
                y + PLOT,
                y + PLOT + 18.0
            );
        }
        if let Some((at, label)) = &self.mark {
            let _ = writeln!(
                out,
                "<path class=\"k3\" stroke-dasharray=\"4 3\" d=\"M{0:.1} {y:.1}v{PLOT}\"/><text x=\"{0:.1}\" y=\"{1:.1}\" \
                 text-anchor=\"middle\">{2}</text>",
                at_x(*at),
                y - 8.0,
                HtmlEscape(label)
            );
        }
        for series in &self.series {
            let place = |(x, value): &(f64, f64)| format!("{:.1} {:.1}", at_x(*x), at_y(*value));
            let places: Vec<String> = series.points.iter().map(place).collect();
            let (class, dash) = (series.colour % COLOURS.len(), series.dash.pattern());
            let few = places.len() <= 30;
            let (lined, radius) = match series.dash {
                Dash::Points => (false, 1.5),
                _ => (places.len() > 1, 2.5),
            };
            if lined {
                let _ = writeln!(
                    out,
                    "<path class=\"k{class}\" stroke-dasharray=\"{dash}\" d=\"M{}\"/>",
                    places.join("L")
                );
            }
            // A few points are marked; a single one is not seen otherwise.
            for (x, value) in series.points.iter().filter(|_| few || !lined) {
                let _ = writeln!(
                    out,
                    "<circle class=\"k{class}\" fill=\"currentColor\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\"/>",
                    at_x(*x),
                    at_y(*value)
                );
            }
        }
        let bottom = y + PLOT + 36.0;
        let _ = writeln!(
            out,
            "<text x=\"{:.0}\" y=\"{bottom:.0}\" text-anchor=\"middle\">{}</text>",
            (LEFT + right) / 2.0,
            HtmlEscape(&self.x)
        );
        bottom + 16.0 - top
    }

    /// Places on the horizontal axis with their labels, between two that are logarithms where the axis is logarithmic.
    fn ticks(&self, first: f64, last: f64) -> Vec<(f64, String)> {
        if self.log {
            let powers = first.ceil() as i32..=last.floor() as i32;
            return powers
                .map(|power| (10_f64.powi(power), format!("1e{power}")))
                .collect();
        }
        let every = nice((last - first) / 10.0).max(1.0);
        let begin = (first / every).ceil() as i64;
        let ticks = (begin..).map(|tick| tick as f64 * every);
        ticks
            .take_while(|tick| *tick <= last)
            .map(|tick| (tick, number(tick, every)))
            .collect()
    }

    /// The names of the lines, in as many rows as they need. Returns where the plot begins.
    fn legend(&self, out: &mut String, top: f64) -> f64 {
        let (mut x, mut y) = (LEFT, top + 16.0);
        for series in &self.series {
            // Letters are about so wide.
            let width = 46.0 + 7.2 * series.label.chars().count() as f64;
            if x > LEFT && x + width > WIDTH - RIGHT {
                (x, y) = (LEFT, y + ROW);
            }
            let class = series.colour % COLOURS.len();
            let _ = writeln!(
                out,
                "<path class=\"k{class}\" stroke-dasharray=\"{}\" d=\"M{x:.0} {1:.0}h28\"/><text x=\"{2:.0}\" \
                 y=\"{y:.0}\">{3}</text>",
                series.dash.pattern(),
                y - 4.5,
                x + 34.0,
                HtmlEscape(&series.label)
            );
            x += width;
        }
        y + 14.0
    }
}

impl Dash {
    fn pattern(self) -> &'static str {
        match self {
            Dash::Solid => "none",
            Dash::Dashed => "7 4",
            Dash::Dotted => "8 3 2 3",
            Dash::Points => "2 5",
        }
    }
}

/// The first of 1, 2, 5, 10, … and their decimal fractions that is as large.
fn nice(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let fits = steps.into_iter().find(|step| *step >= least * (1.0 - 1e-9));
    fits.unwrap_or(10.0 * power)
}

/// A number with the decimals that its steps have.
fn number(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    match decimals > 6 || value >= 1e6 {
        true => format!("{value:e}"),
        false => format!("{value:.decimals$}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_numbers_with_their_decimals() {
        let shown = |least: f64| number(nice(least), nice(least));
        let all = [0.03, 0.38, 0.5, 1.2, 40.0].map(shown);
        assert_eq!(all, ["0.05", "0.5", "0.5", "2", "50"]);
    }

    #[test]
    fn a_chart_shows_one_point_and_names_of_others_as_they_are() {
        let series = |points: &[(f64, f64)]| Series {
            label: "<a> & \"b\"".to_string(),
            points: points.to_vec(),
            colour: 9,
            dash: Dash::Solid,
        };
        let chart = |points| Chart {
            x: "epoch".to_string(),
            series: vec![series(points)],
            ..Chart::default()
        };
        let one = svg(&[chart(&[(1.0, 0.7)])]);
        assert_eq!(one.matches("<circle").count(), 1);
        assert!(
            one.contains("&lt;a&gt; &amp; ") && !one.contains("<a>"),
            "{one}"
        );
        for text in [
            one,
            svg(&[chart(&[])]),
            svg(&[chart(&[(1.0, 0.0), (2.0, 1e9)])]),
        ] {
            assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
        }
    }
}
