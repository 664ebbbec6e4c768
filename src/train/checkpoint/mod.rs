//! Checkpoints on disk: weights as PyTorch reads them, and beside them what a resumed run needs
//! to go on with the very same bits. A checkpoint exists whole or not at all.
mod floats;
mod store;
mod tensor_file;

pub use store::{FOLDER, latest};
pub(super) use store::{entries, is_leftover, leftovers, newest_first, recover, remove};

use super::info::WeightsInfo;
use super::progress::Progress;
use super::session::Session;
use crate::files::replace;
use crate::graph::TensorId;
use crate::model::{self, Arch, Param};
use crate::process::{command, ensure_free, quoted};
use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};
use store::{STATE, WEIGHTS, named_step};
use tensor_file::{metadata, parse, read, serialize, tensor};

/// Writes a checkpoint into `run/checkpoints/step-N` and removes those that are neither the newest nor
/// the best. Returns its folder.
///
/// # Errors
/// When the device or the disk fails; the checkpoints before it stay.
pub fn save(
    run: &Path,
    session: &mut Session,
    info: &WeightsInfo,
    progress: &Progress,
) -> Result<PathBuf> {
    let params = session.params().to_vec();
    let optimizer_state = session.optimizer_state().to_vec();
    ensure_room(session)?;
    let passes = progress.passes.unwrap_or(progress.step);
    let values = params.iter().map(|p| session.read(p.tensor));
    let weights = serialize(&weights_tensors(&params, values, passes)?, Some(info))?;
    let state = state_file(session, &optimizer_state, progress)?;
    let saved = store::put(run, progress.step, &weights, &state)?;
    prune(run, progress)?;
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

/// Removes the checkpoints that are neither the newest nor the best of a run that has come so far.
///
/// # Errors
/// When the disk fails.
pub(super) fn prune(run: &Path, progress: &Progress) -> Result<()> {
    let best = progress.best_step().unwrap_or(progress.step);
    store::prune(run, &[progress.step, best])
}

/// The best checkpoint of a run, whose progress this is.
///
/// # Errors
/// When no epoch is finished, or the checkpoint is gone.
pub(super) fn best_of(run: &Path, progress: &Progress) -> Result<PathBuf> {
    let best = progress.best();
    let best = best.with_context(|| format!("{} has no finished epoch yet", run.display()))?;
    let checkpoint = store::at(run, best.step);
    ensure!(
        checkpoint.exists(),
        "{} is gone, the checkpoint of the best epoch {}: take the newest, {}",
        checkpoint.display(),
        best.epoch,
        latest(run)?.display()
    );
    Ok(checkpoint)
}

/// The checkpoint of a run's best epoch.
///
/// # Errors
/// When there is none, or the newest checkpoint, which knows it, is damaged.
pub fn best(run: &Path) -> Result<PathBuf> {
    let newest = latest(run)?.join(STATE);
    best_of(run, &progress(&newest, &read(&newest)?)?)
}

/// The file of weights of a checkpoint folder.
pub fn weights_in(checkpoint: &Path) -> PathBuf {
    checkpoint.join(WEIGHTS)
}

/// The weights inside a checkpoint folder, a run folder, or the file itself.
///
/// # Errors
/// When there is nothing of the kind.
pub fn weights_of(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        ensure!(
            !path.ends_with(STATE),
            "{} holds the optimiser's states; the weights are in {WEIGHTS} beside it",
            path.display()
        );
        return Ok(path.to_path_buf());
    }
    ensure!(
        path.exists(),
        "{} does not exist: name a run's folder, one of its checkpoints or a weights.safetensors; `{}` makes one",
        path.display(),
        command("train")
    );
    let inside = path.join(WEIGHTS);
    Ok(if inside.exists() {
        inside
    } else {
        latest(path)?.join(WEIGHTS)
    })
}

/// Reads what a weights file tells about itself.
///
/// # Errors
/// When the file cannot be read, or was not written by this program or by a newer one.
pub fn read_info(weights: &Path) -> Result<WeightsInfo> {
    told(weights)?.with_context(|| {
        let shown = weights.display();
        format!(
            "{shown} has no architecture in its metadata; it was not written by `{train}` \
             (start from such weights with `{train} --init {}`)",
            quoted(weights),
            train = command("train")
        )
    })
}

/// What a weights file tells about itself; `None` where another program wrote it.
///
/// # Errors
/// When the file cannot be read, or a newer version of this program wrote it.
pub fn told(weights: &Path) -> Result<Option<WeightsInfo>> {
    let metadata = metadata(weights, &read(weights)?)?;
    let info = metadata.map(WeightsInfo::from_metadata).transpose();
    info.with_context(|| format!("the metadata of {} cannot be used", weights.display()))
}

/// The network that a weights file is of, by the names and shapes of its tensors.
///
/// # Errors
/// When the file cannot be read, or is of no network of this program.
pub fn recognise(weights: &Path) -> Result<Arch> {
    let bytes = read(weights)?;
    let file = parse(weights, &bytes)?;
    let shapes = file
        .iter()
        .map(|(name, view)| (name.to_string(), view.shape().to_vec()));
    model::recognise(&shapes.collect()).with_context(|| {
        format!(
            "{} neither tells its network nor has the tensors of one that `resnet` knows",
            weights.display()
        )
    })
}

/// Refuses a file of weights that [`load_weights`] could not load for these parameters.
///
/// # Errors
/// When a tensor is missing, of another shape or type, or not of this network.
pub fn check_weights(weights: &Path, params: &[Param]) -> Result<()> {
    fitting(weights, &read(weights)?, params, Part::All).map(|_| ())
}

/// Refuses a file of weights that [`load_body`] could not load for these parameters.
///
/// # Errors
/// As [`check_weights`], but the linear layer may have any shape.
pub fn check_body(weights: &Path, params: &[Param]) -> Result<()> {
    fitting(weights, &read(weights)?, params, Part::Body).map(|_| ())
}

/// How far the run of a checkpoint had come.
///
/// # Errors
/// When its files are not of this network with these parameters, damaged, or contradict themselves.
pub fn check(checkpoint: &Path, info: &WeightsInfo, params: &[Param]) -> Result<Progress> {
    let weights = checkpoint.join(WEIGHTS);
    let saved = read_info(&weights)?;
    ensure!(
        (&saved.arch, &saved.preprocess) == (&info.arch, &info.preprocess),
        "{} has another network or image size than its run's settings say",
        weights.display()
    );
    check_weights(&weights, params)?;
    let state = checkpoint.join(STATE);
    let bytes = read(&state)?;
    parse(&state, &bytes)?;
    let progress = progress(&state, &bytes)?;
    let named = named_step(checkpoint).unwrap_or(progress.step);
    ensure!(
        named == progress.step,
        "{} is of step {}, but its folder is called after step {named}",
        state.display(),
        progress.step
    );
    Ok(progress)
}

/// The values of these parameters in a file of weights with PyTorch's names and layouts, in ours.
///
/// # Errors
/// When a tensor is missing, of another shape or type, or not of this network.
pub fn read_weights(weights: &Path, params: &[Param]) -> Result<Vec<Vec<f32>>> {
    let bytes = read(weights)?;
    let file = fitting(weights, &bytes, params, Part::All)?;
    let values = |p: &Param| Ok(p.from_torch(&tensor(weights, &file, &p.name, &p.torch_shape())?));
    params.iter().map(values).collect()
}

/// Writes a file of weights with PyTorch's names and layouts from values in ours, and what it tells about itself, if
/// that is known.
///
/// # Errors
/// When the disk fails.
pub fn write_weights(
    weights: &Path,
    info: Option<&WeightsInfo>,
    params: &[Param],
    values: &[Vec<f32>],
) -> Result<()> {
    let tensors = weights_tensors(params, values.iter().cloned().map(Ok), 0)?;
    replace(weights, &serialize(&tensors, info)?)
}

/// Loads weights with PyTorch's names and layouts into the session.
///
/// # Errors
/// When a tensor is missing, of another shape or type, or not of this network.
pub fn load_weights(session: &mut Session, weights: &Path) -> Result<()> {
    load_part(session, weights, Part::All)
}

/// The same but for the linear layer, which stays as it is and may have any shape in the file.
///
/// # Errors
/// As [`load_weights`].
pub fn load_body(session: &mut Session, weights: &Path) -> Result<()> {
    load_part(session, weights, Part::Body)
}

/// What of a network is taken from a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    All,
    /// All but the linear layer.
    Body,
}

impl Part {
    fn has(self, param: &Param) -> bool {
        self == Part::All || !param.is_of_head()
    }
}

fn load_part(session: &mut Session, weights: &Path, part: Part) -> Result<()> {
    let bytes = read(weights)?;
    let params = session.params().to_vec();
    let file = fitting(weights, &bytes, &params, part)?;
    for p in params.iter().filter(|p| part.has(p)) {
        let values = tensor(weights, &file, &p.name, &p.torch_shape())?;
        session.write(p.tensor, &p.from_torch(&values))?;
    }
    Ok(())
}

/// Loads a checkpoint folder into the session and returns how far its run had come.
///
/// # Errors
/// When a file is missing, damaged or of another network.
pub fn load(session: &mut Session, checkpoint: &Path) -> Result<Progress> {
    load_weights(session, &checkpoint.join(WEIGHTS))?;
    let path = checkpoint.join(STATE);
    let bytes = read(&path)?;
    let file = parse(&path, &bytes)?;
    for (name, state) in session.optimizer_state().to_vec() {
        let shape = session.shape(state).0;
        session.write(state, &tensor(&path, &file, &name, &shape)?)?;
    }
    progress(&path, &bytes)
}

fn progress(path: &Path, bytes: &[u8]) -> Result<Progress> {
    let shown = path.display();
    let progress: Progress = metadata(path, bytes)?
        .with_context(|| format!("{shown} has no training position in its metadata"))?;
    progress
        .check()
        .with_context(|| format!("the training position in {shown} contradicts itself"))?;
    Ok(progress)
}

/// The tensors of a file, which are those of these parameters and no others. Only those of the part must fit.
fn fitting<'b>(
    path: &Path,
    bytes: &'b [u8],
    params: &[Param],
    part: Part,
) -> Result<SafeTensors<'b>> {
    let file = parse(path, bytes)?;
    let known = |n: &str| params.iter().any(|p| p.name == n) || n.ends_with("num_batches_tracked");
    if let Some(stranger) = file.names().into_iter().filter(|n| !known(n)).min() {
        bail!(
            "{} has a tensor {stranger}, which this network does not have",
            path.display()
        );
    }
    for p in params.iter().filter(|p| part.has(p)) {
        let values = tensor(path, &file, &p.name, &p.torch_shape())?;
        ensure!(
            values.iter().all(|value| value.is_finite()),
            "{} in {} has values that are not finite: its training has diverged; start again with a lower --lr",
            p.name,
            path.display()
        );
    }
    Ok(file)
}

/// A tensor of a file: name, type, dimensions, bytes.
type Written = (String, Dtype, Vec<usize>, Vec<u8>);

/// The tensors of a file of weights: the values of all parameters, which are in our layouts, in PyTorch's, and how many
/// batches BatchNorms have seen.
fn weights_tensors(
    params: &[Param],
    values: impl Iterator<Item = Result<Vec<f32>>>,
    passes: u64,
) -> Result<Vec<Written>> {
    let mut tensors = Vec::new();
    for (p, values) in params.iter().zip(values) {
        tensors.push((
            p.name.clone(),
            Dtype::F32,
            p.torch_shape(),
            bytemuck::cast_slice(&p.to_torch(&values?)).to_vec(),
        ));
        if let Some(layer) = p.name.strip_suffix(".running_var") {
            let tracked = (passes as i64).to_le_bytes().to_vec();
            tensors.push((
                format!("{layer}.num_batches_tracked"),
                Dtype::I64,
                vec![],
                tracked,
            ));
        }
    }
    Ok(tensors)
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
