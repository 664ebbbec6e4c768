//! The terminal while the view has it: raw, so that keys come one by one, and on its second page. Whatever ends the view
//! or the process gives it back whole.
use crate::process::{begin_view, end_view, is_panic_expected};
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use std::io::{self, IsTerminal, stderr, stdin};
use std::panic;
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};
use std::thread::sleep;
use std::time::Duration;

/// Whether the view has the terminal. Who draws holds it, so that nothing is drawn afterwards.
static UP: Mutex<bool> = Mutex::new(false);

/// Why there can be no view, if so.
pub fn refusal() -> Option<&'static str> {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb") && cfg!(unix);
    match (stderr().is_terminal(), stdin().is_terminal()) {
        (false, _) => Some("stderr is no terminal that it could draw on"),
        (_, false) => Some("stdin is no terminal that keys could come from"),
        _ if is_dumb => Some("TERM says that the terminal cannot be drawn on"),
        _ => None,
    }
}

/// Takes the terminal.
///
/// # Errors
/// When it cannot be set; it is as before then.
pub fn enter() -> io::Result<()> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !is_panic_expected() {
                leave();
            }
            print(info);
        }));
    });
    let mut up = UP.lock().unwrap_or_else(PoisonError::into_inner);
    enable_raw_mode()?;
    *up = true;
    begin_view();
    let entered = execute!(stderr(), EnterAlternateScreen, Hide);
    drop(up);
    if entered.is_err() {
        leave();
    }
    entered
}

/// Gives the terminal back, if the view has it, and prints what was told meanwhile.
pub fn leave() {
    let mut up = locked();
    let was_up = match &mut up {
        Some(up) => std::mem::replace(&mut **up, false),
        // Whoever draws panicked, or waits for the terminal.
        None => true,
    };
    if was_up {
        let _ = execute!(stderr(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
        end_view();
    }
}

/// The lock, unless its holder keeps it for longer than any drawing takes: a panic of the holder is told before it gives
/// the lock back.
fn locked() -> Option<MutexGuard<'static, bool>> {
    for _ in 0..40 {
        match UP.try_lock() {
            Ok(up) => return Some(up),
            Err(TryLockError::Poisoned(up)) => return Some(up.into_inner()),
            Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(5)),
        }
    }
    None
}

/// Draws, unless the view has been left. Whether it has the terminal.
///
/// # Errors
/// When the terminal is gone.
pub fn draw(draw: impl FnOnce() -> io::Result<()>) -> io::Result<bool> {
    let up = UP.lock().unwrap_or_else(PoisonError::into_inner);
    if *up {
        draw()?;
    }
    Ok(*up)
}
