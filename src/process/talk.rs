//! How much is told on standard error, and whether in colour.
use super::view::is_viewed;
use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicU8, Ordering};

/// How much is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Talk {
    /// Errors, and what is to be typed next.
    Quiet = 0,
    /// Notes and progress too.
    Notes = 1,
    /// Details too.
    Details = 2,
}

/// Whether there is colour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

static TALK: AtomicU8 = AtomicU8::new(Talk::Notes as u8);
static COLOUR: AtomicU8 = AtomicU8::new(Colour::Auto as u8);

/// Sets both for the whole process.
pub fn set_talk(talk: Talk, colour: Colour) {
    TALK.store(talk as u8, Ordering::Relaxed);
    COLOUR.store(colour as u8, Ordering::Relaxed);
}

/// Whether so much is told.
pub fn tells(talk: Talk) -> bool {
    TALK.load(Ordering::Relaxed) >= talk as u8
}

/// Whether bars of progress are drawn: for people who look at a terminal and want them, unless a view has it.
pub fn shows_progress() -> bool {
    tells(Talk::Notes) && stderr().is_terminal() && !is_viewed()
}

/// Whether standard error is in colour.
pub fn is_coloured() -> bool {
    let colour = COLOUR.load(Ordering::Relaxed);
    let is = |wanted: Colour| colour == wanted as u8;
    let forbidden = || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    is(Colour::Always) || (is(Colour::Auto) && stderr().is_terminal() && !forbidden() && !dumb())
}
