//! What every part of the program shares of this process: the streams that people and programs read, the way it was
//! called, whether memory is to be had, and what becomes of a library's panic.
mod called;
mod guard;
mod memory;
mod streams;

pub use called::{command, program, quoted};
pub use guard::unless_it_panics;
pub use memory::ensure_free;
pub use streams::{Output, Unwritable, output, say};
