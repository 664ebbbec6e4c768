//! The command line of `resnet`.
fn main() {}
