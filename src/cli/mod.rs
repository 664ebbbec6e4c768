//! The subcommands: one file each, arguments and printing, no work.
pub mod devices;
