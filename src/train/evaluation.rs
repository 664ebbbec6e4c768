//! A pass over the images of a split.
use super::micro::passes;
use super::progress::Sums;
use super::session::{READ_AFTER, Session};
use super::step_plans::Program;
use crate::data::Split;
use anyhow::Result;

/// Evaluates the images of a split in their order, as many as the session's limit allows; `each` sees the indices of
/// every batch while its logits can still be read.
///
/// # Errors
/// When the device fails, images cannot be read, or `each` fails.
pub fn evaluate_split(
    session: &mut Session,
    split: Split,
    each: impl FnMut(&mut Session, &[u32]) -> Result<()>,
) -> Result<Sums> {
    let sums = evaluate_unless(session, split, || false, each)?;
    Ok(sums.unwrap_or_default())
}

/// The same, until `stop` says between two batches that it is not to go on: `None` then.
///
/// # Errors
/// As [`evaluate_split`].
pub(super) fn evaluate_unless(
    session: &mut Session,
    split: Split,
    stop: impl Fn() -> bool,
    mut each: impl FnMut(&mut Session, &[u32]) -> Result<()>,
) -> Result<Option<Sums>> {
    let order: Vec<u32> = (0..session.len(split) as u32).collect();
    let mut sums = Sums::default();
    let mut queued = Vec::new();
    let spec = session.spec();
    let micro = spec.micro_batch;
    let all = spec.batching(false).of(&order);
    let mut todo = all.flat_map(|batch| passes(batch, micro)).peekable();
    while let Some(batch) = todo.next() {
        if stop() {
            session.results()?;
            return Ok(None);
        }
        if let Some(next) = todo.peek() {
            session.prefetch(Program::Evaluate, split, next)?;
        }
        session.evaluate(split, batch)?;
        each(session, batch)?;
        queued.push(batch.len());
        if queued.len() >= READ_AFTER || todo.peek().is_none() {
            for (result, examples) in session.results()?.into_iter().zip(queued.drain(..)) {
                sums.add(result, examples);
            }
        }
    }
    Ok(Some(sums))
}
