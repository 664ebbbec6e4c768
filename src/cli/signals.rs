//! Signals: what asks a training to save and stop, and which exit code tells of it.
use crate::process::say;
use crate::report::{Interrupt, restore_terminal};
use crate::train::{Event, Observer};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// What was said by a signal, if any came.
#[derive(Clone, Default)]
pub struct Stop {
    /// Whether the run is to end after the step at work.
    pub asked: Arc<AtomicBool>,
    code: Arc<AtomicU8>,
}

impl Stop {
    /// The exit code of a run that was asked to stop: 128 and the number of the signal.
    pub fn code(&self) -> u8 {
        self.code.load(Ordering::Relaxed)
    }

    /// Does what Ctrl-C does where it comes as a key.
    pub fn presser(&self) -> Interrupt {
        let stop = self.clone();
        Box::new(move || press(&stop))
    }

    /// A signal came. Whether it is the first.
    fn ask(&self, code: u8) -> bool {
        if self.asked.load(Ordering::Relaxed) {
            return false;
        }
        self.code.store(code, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        true
    }
}

/// Once a run trains, the first signal asks for a stop after the step at work, and the second stops at once. Before
/// that a signal ends the process as any other, since there is nothing to save.
pub struct Signals(pub Stop);

impl Observer for Signals {
    fn on(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Started { .. } => watch(&self.0).context("installing the handler of signals"),
            _ => Ok(()),
        }
    }
}

fn note() {
    say("finishing the step and saving; a second Ctrl-C or signal quits without saving");
}

#[cfg(unix)]
pub use unix::writes_may_fail;
#[cfg(unix)]
use unix::{press, watch};

#[cfg(unix)]
mod unix {
    use super::*;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    use signal_hook::flag::register;
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::{exit, raise};
    use std::thread::{Builder, sleep};
    use std::time::Duration;

    /// What comes sooner after the first signal repeats it: `timeout` sends its signal to the process and to its
    /// group, and a terminal that closes hangs up twice.
    const REPEATED: Duration = Duration::from_millis(300);

    /// A file larger than `ulimit -f` allows is an error of the write, and does not end the process.
    pub fn writes_may_fail() {
        // Without it the signal ends the process, as it does by default.
        let _ = register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
    }

    pub fn watch(stop: &Stop) -> Result<()> {
        // `nohup` ignores one of them, and a shell another for what it runs by `&`.
        let heeded = [SIGINT, SIGTERM, SIGHUP].into_iter();
        let heeded = heeded.filter(|&signal| !is_ignored(signal));
        let mut signals = Signals::new(heeded)?;
        let stop = stop.clone();
        Builder::new().spawn(move || {
            if let Some(signal) = signals.forever().next() {
                stop.ask((128 + signal) as u8);
                // Writing may wait for a reader, and must not hold up the second signal.
                let _ = Builder::new().spawn(note);
            }
            sleep(REPEATED);
            signals.pending().for_each(drop);
            if let Some(signal) = signals.forever().next() {
                restore_terminal();
                exit(128 + signal);
            }
        })?;
        Ok(())
    }

    /// Sends this process the signal of Ctrl-C, which stays ignored where it is.
    pub fn press(_: &Stop) {
        // The process has a handler by now, or ignores it.
        let _ = raise(SIGINT);
    }

    #[allow(unsafe_code)]
    fn is_ignored(signal: i32) -> bool {
        let mut now = std::mem::MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: without a new action the call changes nothing, and writes the present one if it succeeds.
        unsafe {
            libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr()) == 0
                && now.assume_init().sa_sigaction == libc::SIG_IGN
        }
    }
}

/// Files have no such limit.
#[cfg(not(unix))]
pub fn writes_may_fail() {}

#[cfg(not(unix))]
fn watch(stop: &Stop) -> Result<()> {
    let stop = stop.clone();
    ctrlc::set_handler(move || press(&stop))?;
    Ok(())
}

#[cfg(not(unix))]
fn press(stop: &Stop) {
    use super::status::INTERRUPTED;
    match stop.ask(INTERRUPTED) {
        true => note(),
        false => {
            restore_terminal();
            std::process::exit(i32::from(INTERRUPTED))
        }
    }
}
