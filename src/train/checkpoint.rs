//! Checkpoints on disk: weights as PyTorch reads them, and beside them what a resumed run needs
//! to go on with the very same bits. A checkpoint exists whole or not at all.
use super::info::WeightsInfo;
use super::progress::Progress;
use super::session::Session;
use crate::files::{sync_folder, write_synced};
use crate::graph::TensorId;
use crate::model::Param;
use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The one metadata key, so that the file's bytes are reproducible.
const KEY: &str = "resnet";
/// The folder of a run's checkpoints.
pub const FOLDER: &str = "checkpoints";
const WEIGHTS: &str = "weights.safetensors";
const STATE: &str = "state.safetensors";

/// Writes a checkpoint into `run/checkpoints/step-N` and removes those that are neither the newest nor
/// the best. Nothing of it is visible before all of it is on the disk. Returns its folder.
///
/// # Errors
/// When the device or the disk fails.
pub fn save(
    run: &Path,
    session: &mut Session,
    info: &WeightsInfo,
    progress: &Progress,
) -> Result<PathBuf> {
    let params = session.params().to_vec();
    let optimizer_state = session.optimizer_state().to_vec();
    let weights = weights_file(session, &params, info, progress.step)?;
    let state = state_file(session, &optimizer_state, progress)?;

    let folder = run.join(FOLDER);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let new = hidden_folder(".new-", &folder)?;
    write_synced(&new.path().join(WEIGHTS), &weights)?;
    write_synced(&new.path().join(STATE), &state)?;
    sync_folder(new.path())?;

    let target = folder.join(name(progress.step));
    if target.exists() {
        // The same step is saved again once its epoch has been evaluated: the older one makes way.
        let old = hidden_folder(".old-", &folder)?;
        fs::rename(&target, old.path().join("checkpoint"))?;
        fs::rename(new.keep(), &target)?;
    } else {
        fs::rename(new.keep(), &target)?;
    }
    sync_folder(&folder)?;
    prune(&folder, progress)?;
    Ok(target)
}

/// The newest checkpoint of a run.
///
/// # Errors
/// When the run has none.
pub fn latest(run: &Path) -> Result<PathBuf> {
    let folder = run.join(FOLDER);
    let steps = steps(&folder)?;
    let newest = steps.last().with_context(|| {
        format!(
            "{} has no checkpoint: it is not a run's folder, or its training stopped before the first one",
            run.display()
        )
    })?;
    Ok(folder.join(name(*newest)))
}

/// The best checkpoint of a run, whose progress this is.
pub(super) fn best(run: &Path, progress: &Progress) -> Option<PathBuf> {
    let step = progress.best_step()?;
    Some(run.join(FOLDER).join(name(step)))
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
        return Ok(path.to_path_buf());
    }
    ensure!(
        path.exists(),
        "{} does not exist: name a run's folder, one of its checkpoints or a weights.safetensors; `resnet train` \
         makes one",
        path.display()
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
    let shown = weights.display();
    let metadata = metadata(weights, &read(weights)?)?.with_context(|| {
        format!(
            "{shown} has no architecture in its metadata; it was not written by `resnet train` \
             (start from such weights with `resnet train --init {shown}`)"
        )
    })?;
    WeightsInfo::from_metadata(metadata)
        .with_context(|| format!("the metadata of {shown} cannot be used"))
}

/// Refuses a file of weights that [`load_weights`] could not load for these parameters.
///
/// # Errors
/// When a tensor is missing, of another shape or type, or not of this network.
pub fn check_weights(weights: &Path, params: &[Param]) -> Result<()> {
    fitting(weights, &read(weights)?, params).map(|_| ())
}

/// Refuses a checkpoint folder that is not of this network with these parameters, or damaged.
///
/// # Errors
/// When that is so.
pub fn check(checkpoint: &Path, info: &WeightsInfo, params: &[Param]) -> Result<()> {
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
    progress(&state, &bytes).map(|_| ())
}

/// Loads weights with PyTorch's names and layouts into the session.
///
/// # Errors
/// When a tensor is missing, of another shape or type, or not of this network.
pub fn load_weights(session: &mut Session, weights: &Path) -> Result<()> {
    let bytes = read(weights)?;
    let params = session.params().to_vec();
    let file = fitting(weights, &bytes, &params)?;
    for p in &params {
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
    metadata(path, bytes)?.with_context(|| {
        format!(
            "{} has no training position in its metadata",
            path.display()
        )
    })
}

/// The tensors of a file, which are those of these parameters and no others.
fn fitting<'b>(path: &Path, bytes: &'b [u8], params: &[Param]) -> Result<SafeTensors<'b>> {
    let file = parse(path, bytes)?;
    let known = |n: &str| params.iter().any(|p| p.name == n) || n.ends_with("num_batches_tracked");
    if let Some(stranger) = file.names().into_iter().filter(|n| !known(n)).min() {
        bail!(
            "{} has a tensor {stranger}, which this network does not have",
            path.display()
        );
    }
    for p in params {
        view(path, &file, &p.name, &p.torch_shape())?;
    }
    Ok(file)
}

fn weights_file(
    session: &mut Session,
    params: &[Param],
    info: &WeightsInfo,
    step: u64,
) -> Result<Vec<u8>> {
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for p in params {
        let values = p.to_torch(&session.read(p.tensor)?);
        tensors.push((
            p.name.clone(),
            Dtype::F32,
            p.torch_shape(),
            bytemuck::cast_slice(&values).to_vec(),
        ));
        if let Some(layer) = p.name.strip_suffix(".running_var") {
            let tracked = (step as i64).to_le_bytes().to_vec();
            tensors.push((
                format!("{layer}.num_batches_tracked"),
                Dtype::I64,
                vec![],
                tracked,
            ));
        }
    }
    serialize(&tensors, info)
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
    serialize(&tensors, progress)
}

/// A folder that goes with its value unless it is kept, open to others as far as the umask lets them.
fn hidden_folder(prefix: &str, inside: &Path) -> Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder
        .tempdir_in(inside)
        .with_context(|| format!("creating a folder in {}", inside.display()))
}

fn serialize(
    tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)],
    metadata: &impl Serialize,
) -> Result<Vec<u8>> {
    let metadata = HashMap::from([(KEY.to_string(), serde_json::to_string(metadata)?)]);
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(safetensors::serialize(views, Some(metadata))?)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

fn parse<'b>(path: &Path, bytes: &'b [u8]) -> Result<SafeTensors<'b>> {
    SafeTensors::deserialize(bytes)
        .with_context(|| format!("{} is not a complete safetensors file", path.display()))
}

fn metadata<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<Option<T>> {
    let (_, header) = SafeTensors::read_metadata(bytes)
        .with_context(|| format!("{} is not a complete safetensors file", path.display()))?;
    let Some(json) = header.metadata().as_ref().and_then(|m| m.get(KEY)) else {
        return Ok(None);
    };
    let value = serde_json::from_str(json).with_context(|| {
        format!(
            "the metadata of {} was not written by resnet",
            path.display()
        )
    })?;
    Ok(Some(value))
}

fn tensor(path: &Path, file: &SafeTensors, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let view = view(path, file, name, shape)?;
    Ok(bytemuck::pod_collect_to_vec(view.data()))
}

/// A tensor of this shape in f32.
fn view<'b>(
    path: &Path,
    file: &SafeTensors<'b>,
    name: &str,
    shape: &[usize],
) -> Result<TensorView<'b>> {
    let view = file.tensor(name).with_context(|| {
        format!(
            "{} has no tensor {name}, which this network needs",
            path.display()
        )
    })?;
    ensure!(
        view.dtype() == Dtype::F32 && view.shape() == shape,
        "{name} in {} is {:?} {:?}, but this network needs F32 {shape:?}",
        path.display(),
        view.dtype(),
        view.shape()
    );
    Ok(view)
}

fn name(step: u64) -> String {
    format!("step-{step:08}")
}

/// The steps of the complete checkpoints in a folder, ascending.
fn steps(folder: &Path) -> Result<Vec<u64>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut steps = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let file_name = entry?.file_name();
        let step = file_name.to_str().and_then(|n| n.strip_prefix("step-"));
        if let Some(step) = step.and_then(|n| n.parse().ok()) {
            steps.push(step);
        }
    }
    steps.sort_unstable();
    Ok(steps)
}

fn prune(folder: &Path, progress: &Progress) -> Result<()> {
    for step in steps(folder)? {
        if step != progress.step && Some(step) != progress.best_step() {
            let old = folder.join(name(step));
            fs::remove_dir_all(&old).with_context(|| format!("removing {}", old.display()))?;
        }
    }
    Ok(())
}
