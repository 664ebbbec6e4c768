//! Training: the step as nodes, the session on a device, the run over epochs, and checkpoints.
pub mod checkpoint;
mod evaluation;
mod event;
pub mod folder;
mod info;
mod memory;
mod micro;
pub mod optim;
mod pass;
mod prepared;
mod progress;
mod run;
mod session;
mod trainer;
mod tune;

pub use evaluation::evaluate_test;
pub use event::{Event, Observer};
pub use info::WeightsInfo;
pub use memory::micro_batch;
pub use micro::passes;
pub use optim::Optimizer;
pub use pass::{Source, StepGraph, Update, accumulate, evaluate, learning_rate, train, update};
pub use prepared::{Part, SessionSpec, StepPlans};
pub use progress::{EpochResult, Progress, StepResult, Sums};
pub use run::Outcome;
pub use session::Session;
pub use trainer::{Start, Trainer};
