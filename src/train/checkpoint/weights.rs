//! The file of weights: PyTorch's names and layouts, and what it tells about its network.
use super::tensor_file::{metadata, parse, read, serialize, tensor};
use crate::files::replace;
use crate::model::{self, Arch, Param, Shapes};
use crate::process::{command, one_line, quoted};
use crate::train::info::WeightsInfo;
use crate::train::session::Session;
use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

/// Reads what a weights file tells about itself.
///
/// # Errors
/// When the file cannot be read, or was not written by this program or by a newer one.
pub fn read_info(weights: &Path) -> Result<WeightsInfo> {
    told(weights)?.with_context(|| {
        let shown = one_line(weights);
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
    info.with_context(|| format!("the metadata of {} cannot be used", one_line(weights)))
}

/// The network that a weights file is of, by the names and shapes of its tensors.
///
/// # Errors
/// When the file cannot be read, or is of no network of this program.
pub fn recognise(weights: &Path) -> Result<Arch> {
    let shapes = shapes(weights)?;
    let found = model::recognise(&shapes);
    if found.is_err() && model::recognise_body(&shapes).is_ok() {
        bail!(
            "{} has no last layer (fc.weight): train one by `{} {} --new-head`",
            one_line(weights),
            command("train --init"),
            quoted(weights)
        );
    }
    found.with_context(|| unknown(weights))
}

/// The same of a file that may lack the linear layer.
///
/// # Errors
/// As [`recognise`].
pub fn recognise_body(weights: &Path) -> Result<Arch> {
    model::recognise_body(&shapes(weights)?).with_context(|| unknown(weights))
}

fn unknown(weights: &Path) -> String {
    format!(
        "{} neither tells its network nor has the tensors of one that `resnet` knows",
        one_line(weights)
    )
}

/// PyTorch's dimensions of the tensors in a file.
fn shapes(weights: &Path) -> Result<Shapes> {
    let bytes = read(weights)?;
    let file = parse(weights, &bytes)?;
    let shapes = file
        .iter()
        .map(|(name, view)| (name.to_string(), view.shape().to_vec()));
    Ok(shapes.collect())
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
    let tensors = tensors_of(params, values.iter().cloned().map(Ok), 0)?;
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
            one_line(path)
        );
    }
    for p in params.iter().filter(|p| part.has(p)) {
        let values = tensor(path, &file, &p.name, &p.torch_shape())?;
        ensure!(
            values.iter().all(|value| value.is_finite()),
            "{} in {} has values that are not finite: its training has diverged; start again with a lower --lr",
            p.name,
            one_line(path)
        );
    }
    Ok(file)
}

/// A tensor of a file: name, type, dimensions, bytes.
type Written = (String, Dtype, Vec<usize>, Vec<u8>);

/// The tensors of a file of weights: the values of all parameters, which are in our layouts, in PyTorch's, and how many
/// batches BatchNorms have seen.
pub(super) fn tensors_of(
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
