//! What every part of the program shares of this process: the streams that people and programs read, the way it was
//! called, whether memory is to be had, and what becomes of a library's panic.
mod called;
mod guard;
mod memory;
mod streams;
mod talk;
mod version;
mod view;

pub use called::{command, one_line, program, quoted};
pub use guard::{is_panic_expected, unless_it_panics};
pub use memory::ensure_free;
pub use streams::{
    Output, Unwritable, detail, fail, hold_messages, insist, keep_messages_in, note, output, say,
};
pub use talk::{Colour, Talk, is_coloured, set_talk, shows_progress, tells};
pub use version::{GIT, VERSION, WGPU};
pub use view::{begin_view, end_view, is_viewed, last_lines};
