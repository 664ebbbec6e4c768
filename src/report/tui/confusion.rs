//! The confusion matrix in a terminal: numbers where there is room for them, else shades.
use super::paint::Paint;
use crate::report::tally::Tally;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph};

/// Letters of a class's name at most.
const MOST_NAME: usize = 12;
/// Columns of a cell with a shade.
const SHADE: usize = 2;

/// From which share of a row on a cell has which shade.
const SHADES: [(f64, &str); 5] = [
    (0.6, "██"),
    (0.3, "▓▓"),
    (0.1, "▒▒"),
    (0.02, "░░"),
    (0.0, "··"),
];

/// A matrix that fits its place.
pub struct Matrix<'t> {
    tally: &'t Tally,
    /// Columns of the names and of a cell, which has numbers if it is wide enough.
    columns: (usize, usize),
    numbers: bool,
}

impl<'t> Matrix<'t> {
    /// With numbers if so many columns and rows are enough for them, else with shades; nothing where these do not fit.
    pub fn fitting(tally: &'t Tally, (width, height): (u16, u16)) -> Option<Matrix<'t>> {
        let classes = tally.confusion.classes();
        let longest = classes.iter().map(|name| name.chars().count()).max()?;
        let names = longest.min(MOST_NAME);
        let counts = tally.confusion.counts().iter().flatten();
        let most = counts.copied().max().unwrap_or(0);
        let digits = most.to_string().len().max(3) + 1;
        let columns = |cell| names + classes.len() * cell + 3;
        let fits = |cell| columns(cell) <= usize::from(width);
        // Curves are worth more than numbers.
        let numbers = columns(digits) * 2 <= usize::from(width) + 30;
        let cell = if numbers { digits } else { SHADE };
        let high = classes.len() + 2 <= usize::from(height);
        (fits(cell) && high).then_some(Matrix {
            tally,
            columns: (names, cell),
            numbers,
        })
    }

    /// Columns that it takes, with its border.
    pub fn width(&self) -> u16 {
        let (names, cell) = self.columns;
        (names + self.tally.confusion.classes().len() * cell + 3) as u16
    }

    /// Draws it: rows are the true classes, columns the answers.
    pub fn draw(&self, frame: &mut Frame, area: Rect, paint: Paint) {
        let (names, cell) = self.columns;
        let confusion = &self.tally.confusion;
        let row = |(class, counts): (usize, &Vec<u64>)| {
            let all: u64 = counts.iter().sum();
            let name: String = confusion.classes()[class].chars().take(names).collect();
            let mut spans = vec![Span::raw(format!("{name:names$} "))];
            for (answer, &count) in counts.iter().enumerate() {
                let share = count as f64 / all.max(1) as f64;
                let shade = SHADES.iter().find(|(least, _)| share >= *least);
                let text = match (count, self.numbers) {
                    (0, true) => format!("{:>cell$}", "·"),
                    (0, false) => " ".repeat(SHADE),
                    (_, true) => format!("{count:>cell$}"),
                    (_, false) => shade.map_or("··", |(_, shade)| shade).to_string(),
                };
                let colour = if class == answer {
                    Color::Green
                } else {
                    Color::Yellow
                };
                spans.push(Span::styled(text, paint.ink(colour)));
            }
            Line::from(spans)
        };
        let rows: Vec<Line> = confusion.counts().iter().enumerate().map(row).collect();
        let title = format!(
            " {} {} images: {:.3} ",
            self.tally.examples(),
            self.tally.split.name(),
            self.tally.accuracy()
        );
        frame.render_widget(
            Paragraph::new(rows).block(Block::bordered().title(title)),
            area,
        );
    }
}
