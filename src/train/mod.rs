//! Training: the step as nodes, the session on a device, the loop over epochs, and checkpoints.
pub mod checkpoint;
pub mod folder;
mod memory;
mod micro;
mod pass;
mod prepared;
mod run;
mod session;
mod tune;

pub use memory::{micro_batch, refused_to_resume};
pub use micro::passes;
pub use pass::{
    Optimizer, Source, StepGraph, Update, accumulate, evaluate, learning_rate, train, update,
};
pub use prepared::{Part, SessionSpec, StepPlans, batches};
pub use run::{Outcome, Run, test};
pub use session::Session;
