//! What every part of the program shares of this process: the streams that people and programs read, the way it was
//! called, and whether memory is to be had.
mod called;
mod memory;
mod streams;

pub use called::{command, program, quoted};
pub use memory::ensure_free;
pub use streams::{Output, Unwritable, output, say};
