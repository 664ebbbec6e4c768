//! `--tui`: a run as a live view that has the whole terminal until it is left. A thread draws it, so that no step waits.
mod confusion;
mod model;
mod paint;
mod screen;
#[cfg(test)]
mod tests;
mod view;

pub use model::Model;
pub use screen::{leave as restore_terminal, refusal as refused_view};

use crate::process::{is_coloured, last_lines};
use crate::train::{Event, Observer};
use anyhow::{Context, Result};
use paint::Paint;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, KeyCode, KeyEventKind, KeyModifiers};
use std::io::{self, BufWriter, stderr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Time between two frames at least.
const FRAME: Duration = Duration::from_millis(200);
/// Time within which a key is heeded, and a view that was left is noticed.
const KEY: Duration = Duration::from_millis(50);
/// Messages that a frame shows at most.
const MESSAGES: usize = 12;

/// What Ctrl-C does, which comes as a key from a raw terminal.
pub type Interrupt = Box<dyn Fn() + Send>;

/// Shows a run.
pub struct Tui {
    model: Arc<Mutex<Model>>,
    interrupt: Option<Interrupt>,
}

impl Tui {
    /// Of a run that tells these classes apart.
    pub fn new(classes: Vec<String>, interrupt: Interrupt) -> Tui {
        Tui {
            model: Arc::new(Mutex::new(Model::new(classes, Instant::now()))),
            interrupt: Some(interrupt),
        }
    }
}

impl Observer for Tui {
    fn on(&mut self, event: &Event) -> Result<()> {
        let mut model = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        model.event(event, Instant::now());
        drop(model);
        match event {
            Event::Started { .. } => {
                if let Some(interrupt) = self.interrupt.take() {
                    screen::enter().context("--tui: setting the terminal")?;
                    let model = Arc::clone(&self.model);
                    let thread = Builder::new().name("view".to_string());
                    thread.spawn(move || {
                        // Without a terminal the run goes on.
                        let _ = show(&model, &interrupt);
                        screen::leave();
                    })?;
                }
            }
            Event::Finished { .. } | Event::Interrupted { .. } | Event::Failed { .. } => {
                screen::leave();
            }
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Tui {
    fn drop(&mut self) {
        screen::leave();
    }
}

/// Draws the view and heeds keys until it is left.
fn show(model: &Mutex<Model>, interrupt: &Interrupt) -> io::Result<()> {
    let paint = Paint(is_coloured());
    let mut terminal = Terminal::new(CrosstermBackend::new(BufWriter::new(stderr())))?;
    let mut drawn: Option<Instant> = None;
    loop {
        let due = drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME);
        let has_terminal = screen::draw(|| {
            if due {
                let messages = last_lines(MESSAGES);
                terminal.draw(|frame| {
                    let model = model.lock().unwrap_or_else(PoisonError::into_inner);
                    view::draw(frame, &model, &messages, paint);
                })?;
            }
            Ok(())
        })?;
        if !has_terminal {
            return Ok(());
        }
        if due {
            drawn = Some(Instant::now());
        }
        if !event::poll(KEY)? {
            continue;
        }
        match event::read()? {
            event::Event::Key(key) if key.kind == KeyEventKind::Press => match key.code {
                KeyCode::Char('q') => return Ok(()),
                KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => interrupt(),
                _ => {}
            },
            event::Event::Resize(..) => drawn = None,
            _ => {}
        }
    }
}
