//! A frame of the view: where the run stands, the curves as the chapter's animator draws them, the confusion so far and the
//! last messages, as much of it as the terminal has room for.
use super::confusion;
use super::model::{Curve, Model};
use super::paint::Paint;
use crate::plan::mib;
use crate::report::pace::spoken;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Color;
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Paragraph};

/// Columns and rows that the curves take at least.
const LEAST_CHART: (u16, u16) = (30, 6);
/// Epochs of which the horizontal axis has room at first.
const FIRST_EPOCHS: f64 = 10.0;

const KEYS: &str = " q leaves this view, Ctrl-C saves and stops ";

/// Draws it; the messages are those told last.
pub fn draw(frame: &mut Frame, model: &Model, messages: &[String], paint: Paint) {
    let area = frame.area();
    let status = status(model, area.width);
    let [top, body, bottom] = Layout::vertical([
        Constraint::Length(status.len() as u16),
        Constraint::Fill(1),
        Constraint::Length(rows_of_messages(area.height)),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(status), top);
    if body.height >= LEAST_CHART.1 {
        let matrix = model.tally().and_then(|tally| {
            let room = body.width.saturating_sub(LEAST_CHART.0);
            confusion::Matrix::fitting(tally, (room, body.height))
        });
        let width = matrix.as_ref().map_or(0, |matrix| matrix.width());
        let areas = [Constraint::Fill(1), Constraint::Length(width)];
        let [left, right] = Layout::horizontal(areas).areas(body);
        curves(frame, model, left, paint);
        if let Some(matrix) = matrix {
            matrix.draw(frame, right, paint);
        }
    }
    last_messages(frame, messages, bottom);
}

/// Rows for messages, with their border.
fn rows_of_messages(height: u16) -> u16 {
    match height {
        0..12 => 0,
        12..20 => 3,
        20..32 => 5,
        _ => 8,
    }
}

/// What the run is and where it stands, in lines.
fn status(model: &Model, width: u16) -> Vec<Line<'static>> {
    let (epochs, steps) = (model.meter.epochs(), model.meter.steps());
    let [epoch, run] = model.left.map(spoken);
    let at = format!(
        "epoch {}/{epochs}  step {}/{steps}  ",
        (model.epoch + 1).min(epochs.max(1)),
        model.batch
    );
    let done = model.epoch as f64 + model.batch as f64 / steps.max(1) as f64;
    let share = (done / epochs.max(1) as f64).clamp(0.0, 1.0);
    let percent = format!("  {:.0} %", 100.0 * share);
    let room = usize::from(width).saturating_sub(at.chars().count() + percent.chars().count());
    let full = (share * room as f64).round() as usize;
    let bar = format!("{}{}", "█".repeat(full), "░".repeat(room - full));
    let lines = [
        format!("{} on {}", model.network, model.data),
        format!(
            "{}, {}, into {}",
            model.device,
            mib(model.memory),
            model.folder
        ),
        format!("{at}{bar}{percent}"),
        format!(
            "left: epoch {epoch}, run {run}  {:.1} examples/s  lr {}",
            model.meter.rate(),
            model.lr
        ),
    ];
    lines.map(Line::from).to_vec()
}

/// The curves over epochs.
fn curves(frame: &mut Frame, model: &Model, area: Rect, paint: Paint) {
    let all: [(&Curve, Marker, Color); 3] = [
        (&model.train_loss, Marker::Braille, Color::Blue),
        (&model.train_acc, Marker::Dot, Color::Magenta),
        (&model.eval_acc, Marker::HalfBlock, Color::Green),
    ];
    let legend = legend(model, area.width.saturating_sub(2));
    let legend = legend.into_iter().zip(&all);
    let legend = legend.map(|(text, (_, _, colour))| Span::styled(text, paint.ink(*colour)));
    let legend = Line::from(legend.collect::<Vec<Span>>());
    let points = all.map(|(curve, marker, colour)| (curve.all(), marker, colour));
    let datasets = points.iter().map(|(points, marker, colour)| {
        Dataset::default()
            .marker(*marker)
            .graph_type(GraphType::Line)
            .style(paint.ink(*colour))
            .data(points)
    });
    let reached = model.epoch as f64 + 1.0;
    let right = last_epoch(reached, model.meter.epochs() as f64);
    let highest = points.iter().flat_map(|(points, ..)| points);
    let highest = highest.map(|(_, value)| *value).filter(|v| v.is_finite());
    let top = highest.fold(1.0, f64::max);
    // A loss that shot up would press the rest flat: guessing among ten classes has 2.3.
    let top = (top.min(5.0) * 2.0).ceil() / 2.0;
    let labels = |values: [f64; 3], digits: usize| values.map(|value| format!("{value:.digits$}"));
    let digits = usize::from(right % 2.0 != 0.0);
    let chart = Chart::new(datasets.collect())
        .block(Block::bordered().title(legend))
        .legend_position(None)
        .x_axis(
            Axis::default()
                .bounds([0.0, right])
                .labels(labels([0.0, right / 2.0, right], digits)),
        )
        .y_axis(
            Axis::default()
                .bounds([0.0, top])
                .labels(labels([0.0, top / 2.0, top], 2)),
        );
    frame.render_widget(chart, area);
}

/// The curves' signs, names and newest values; short names where there is no room for others.
fn legend(model: &Model, width: u16) -> [String; 3] {
    let (compared, short) = model.compared_on();
    let curves = [
        ("⠒", "train loss", "loss", &model.train_loss),
        ("•", "train acc", "acc", &model.train_acc),
        ("▀", compared, short, &model.eval_acc),
    ];
    let value = |curve: &Curve| {
        curve
            .newest()
            .map_or("–".to_string(), |v| format!("{v:.3}"))
    };
    let long = curves.map(|(sign, name, _, curve)| format!(" {sign} {name} {} ", value(curve)));
    let letters: usize = long.iter().map(|text| text.chars().count()).sum();
    match letters <= usize::from(width) {
        true => long,
        false => curves.map(|(sign, _, name, curve)| format!("{sign} {name} {} ", value(curve))),
    }
}

/// Where the horizontal axis ends: at the last epoch, or of many twice as far as the run has come.
fn last_epoch(reached: f64, epochs: f64) -> f64 {
    let mut last = FIRST_EPOCHS;
    while last < reached {
        last *= 2.0;
    }
    last.min(epochs).max(1.0)
}

fn last_messages(frame: &mut Frame, messages: &[String], area: Rect) {
    if area.height < 3 {
        return;
    }
    let first = messages.len().saturating_sub(usize::from(area.height) - 2);
    let lines: Vec<Line> = messages[first..]
        .iter()
        .flat_map(|message| message.lines())
        .map(Line::from)
        .collect();
    let first = lines.len().saturating_sub(usize::from(area.height) - 2);
    let block = Block::bordered().title(" log ").title_bottom(KEYS);
    frame.render_widget(Paragraph::new(lines[first..].to_vec()).block(block), area);
}
