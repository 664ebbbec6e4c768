//! Training: the step as nodes, the session on a device, the loop over epochs, and checkpoints.
pub mod checkpoint;
pub mod folder;
mod pass;
mod prepared;
mod run;
mod session;

pub use pass::{Optimizer, Pass, Source, evaluate, learning_rate, train};
pub use prepared::{Part, Prepared, Spec, batches};
pub use run::{Outcome, Run, test};
pub use session::Session;
