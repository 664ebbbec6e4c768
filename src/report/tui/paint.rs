//! Colours of the view, or none.
use ratatui::style::{Color, Style};

/// Colours, or none for those who want none.
#[derive(Clone, Copy)]
pub struct Paint(pub bool);

impl Paint {
    /// Text in a colour.
    pub fn ink(self, colour: Color) -> Style {
        match self.0 {
            true => Style::new().fg(colour),
            false => Style::new(),
        }
    }
}
