//! Panics in the code of others, which are errors of their input to our users.
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is expected, so that nothing is printed about it.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread is expected, so that nobody is to hear of it.
pub fn is_panic_expected() -> bool {
    EXPECTED.get()
}

/// Runs a library's code that may panic on damaged input. `None` if it did; nothing is printed then. What the code
/// changes outside of itself must not be used afterwards.
pub fn unless_it_panics<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !EXPECTED.get() {
                print(info);
            }
        }));
    });
    EXPECTED.set(true);
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    EXPECTED.set(false);
    done.ok()
}
