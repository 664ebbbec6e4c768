//! Checkpoints on disk: weights as PyTorch reads them, and beside them what a resumed run needs
//! to go on with the very same bits. A checkpoint exists whole or not at all.
mod average;
mod floats;
mod names;
mod store;
mod tensor_file;
mod weights;

pub use average::Average;
pub use names::{BEST, LAST, named};
pub use store::{FOLDER, latest};
pub(super) use store::{entries, is_leftover, leftovers, newest_first, recover, remove};
pub use weights::{WeightsFile, weights_of, write_weights};

use super::info::WeightsInfo;
use super::optim::AVERAGE;
use super::progress::Progress;
use super::session::Session;
use crate::graph::TensorId;
use crate::model::Param;
use crate::process::{ensure_free, one_line};
use anyhow::{Context, Result, bail, ensure};
use safetensors::Dtype;
use std::path::{Path, PathBuf};
use store::{STATE, WEIGHTS, named_step};
use tensor_file::{metadata, parse, read, serialize, tensor};
use weights::tensors_of;

/// Writes a checkpoint into `run/checkpoints/step-N`, names the newest and the best, and removes those that are neither
/// the best nor among the `keep` newest. Returns its folder.
///
/// # Errors
/// When the device or the disk fails; the checkpoints before it stay.
pub fn save(
    run: &Path,
    session: &mut Session,
    info: &WeightsInfo,
    progress: &Progress,
    keep: usize,
) -> Result<PathBuf> {
    let params = session.params().to_vec();
    let optimizer_state = session.optimizer_state().to_vec();
    ensure_room(session)?;
    let passes = progress.passes.unwrap_or(progress.step);
    let values = params.iter().map(|p| session.read(p.tensor));
    let weights = serialize(&tensors_of(&params, values, passes)?, Some(info))?;
    let state = state_file(session, &optimizer_state, progress)?;
    let saved = store::put(run, progress.step, &weights, &state)?;
    prune(run, progress, keep)?;
    Ok(saved)
}

/// Refuses when there is no memory for what is to be written: the tensors one by one, and all of them in a file.
///
/// # Errors
/// When the system refuses it.
pub(super) fn ensure_room(session: &Session) -> Result<()> {
    let states = session.optimizer_state().iter().map(|(_, state)| *state);
    let tensors = session
        .params()
        .iter()
        .map(|param| param.tensor)
        .chain(states);
    let elements: usize = tensors
        .map(|tensor| session.shape(tensor).0.iter().product::<usize>())
        .sum();
    ensure_free(3 * 4 * elements as u64, "a checkpoint")
}

/// Names the newest and the best checkpoint of a run that has come so far, and removes those that are neither the best nor
/// among its `keep` newest.
///
/// # Errors
/// When the disk fails.
pub(super) fn prune(run: &Path, progress: &Progress, keep: usize) -> Result<()> {
    names::point(run, LAST, progress.step)?;
    if let Some(best) = progress.best_step() {
        names::point(run, BEST, best)?;
    }
    let steps = newest_first(run)?.into_iter();
    let steps = steps.filter_map(|checkpoint| named_step(&checkpoint));
    // A damaged one that was passed over is not of this run's past.
    let mut kept: Vec<u64> = steps
        .filter(|step| *step <= progress.step)
        .take(keep)
        .collect();
    kept.extend(progress.best_step());
    store::prune(run, &kept)
}

/// The best checkpoint of a run, whose progress this is.
///
/// # Errors
/// When no epoch is finished, or the checkpoint is gone.
pub(super) fn best_of(run: &Path, progress: &Progress) -> Result<PathBuf> {
    let best = progress.best();
    let best = best.with_context(|| format!("{} has no finished epoch yet", one_line(run)))?;
    let checkpoint = store::at(run, best.step);
    ensure!(
        checkpoint.exists(),
        "{} is gone, the checkpoint of the best epoch {}: take the newest, {}",
        one_line(&checkpoint),
        best.epoch,
        one_line(latest(run)?)
    );
    Ok(checkpoint)
}

/// The checkpoint of a run's best epoch.
///
/// # Errors
/// When there is none, or the newest checkpoint, which knows it, is damaged.
pub fn best(run: &Path) -> Result<PathBuf> {
    ensure!(
        run.is_dir() && !run.join(WEIGHTS).exists(),
        "{} is not a run's folder, of which the best checkpoint could be taken",
        one_line(run)
    );
    let newest = latest(run)?.join(STATE);
    best_of(run, &progress(&newest, &read(&newest)?)?)
}

/// The step after which a checkpoint was saved, as its folder's name tells it.
pub fn step_of(checkpoint: &Path) -> Option<u64> {
    named_step(checkpoint)
}

/// The file of weights of a checkpoint folder.
pub fn weights_in(checkpoint: &Path) -> PathBuf {
    checkpoint.join(WEIGHTS)
}

/// How far the run of a checkpoint had come.
///
/// # Errors
/// When its files are not of this network with these parameters, damaged, or contradict themselves.
pub fn check(checkpoint: &Path, info: &WeightsInfo, params: &[Param]) -> Result<Progress> {
    let weights = WeightsFile::read(&checkpoint.join(WEIGHTS))?;
    let saved = weights.info()?;
    ensure!(
        (&saved.arch, &saved.preprocess) == (&info.arch, &info.preprocess),
        "{} has another network or image size than its run's settings say",
        one_line(weights.path())
    );
    weights.check(params)?;
    let state = checkpoint.join(STATE);
    let bytes = read(&state)?;
    parse(&state, &bytes)?;
    let progress = progress(&state, &bytes)?;
    let named = named_step(checkpoint).unwrap_or(progress.step);
    ensure!(
        named == progress.step,
        "{} is of step {}, but its folder is called after step {named}",
        one_line(&state),
        progress.step
    );
    Ok(progress)
}

/// Loads a checkpoint folder into the session and returns how far its run had come.
///
/// # Errors
/// When a file is missing, damaged or of another network.
pub fn load(session: &mut Session, checkpoint: &Path) -> Result<Progress> {
    WeightsFile::read(&checkpoint.join(WEIGHTS))?.load(session)?;
    let path = checkpoint.join(STATE);
    let bytes = read(&path)?;
    let file = parse(&path, &bytes)?;
    let states = session.optimizer_state().to_vec();
    let known = |name: &str| states.iter().any(|(known, _)| known == name);
    if let Some(stranger) = file.names().into_iter().filter(|name| !known(name)).min() {
        bail!(
            "{} has a state {stranger}, which no step of this run's settings has: they name another optimizer, momentum \
             or precision than it was trained with",
            one_line(&path)
        );
    }
    for (name, state) in states {
        let shape = session.shape(state).0;
        let values = match statistics_of(session, &name) {
            // Earlier versions averaged the weights alone: the statistics go on from where they are.
            Some(statistics) if file.tensor(&name).is_err() => session.read(statistics)?,
            _ => tensor(&path, &file, &name, &shape)?,
        };
        session.write(state, &values)?;
    }
    progress(&path, &bytes)
}

/// The running statistics of which the state with this name is the moving average.
fn statistics_of(session: &Session, name: &str) -> Option<TensorId> {
    let of = name.strip_prefix(AVERAGE)?.strip_prefix('.')?;
    let is = |p: &&Param| p.name == of && !p.trainable();
    session.params().iter().find(is).map(|p| p.tensor)
}

fn progress(path: &Path, bytes: &[u8]) -> Result<Progress> {
    let shown = one_line(path);
    let progress: Progress = metadata(path, bytes)?
        .with_context(|| format!("{shown} has no training position in its metadata"))?;
    progress
        .check()
        .with_context(|| format!("the training position in {shown} contradicts itself"))?;
    Ok(progress)
}

fn state_file(
    session: &mut Session,
    optimizer_state: &[(String, TensorId)],
    progress: &Progress,
) -> Result<Vec<u8>> {
    let mut tensors = Vec::new();
    for (name, state) in optimizer_state {
        let values = session.read(*state)?;
        let shape = session.shape(*state).0.to_vec();
        tensors.push((
            name.clone(),
            Dtype::F32,
            shape,
            bytemuck::cast_slice(&values).to_vec(),
        ));
    }
    serialize(&tensors, Some(progress))
}
