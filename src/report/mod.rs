//! What a run tells: progress for people, events for programs, metrics and tables for later.
mod confusion;
mod console;
mod metrics;
mod progress;

pub use confusion::Confusion;
pub use console::Console;
pub use metrics::write_metrics;
pub use progress::{EpochResult, Progress, StepResult, Sums};

/// Bytes for people.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}
