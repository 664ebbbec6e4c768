//! The file of weights: PyTorch's names and layouts, and what it tells about its network.
use super::names::named;
use super::store::{STATE, WEIGHTS, latest};
use super::tensor_file::{metadata, parse, read, serialize, tensor};
use crate::files::{self, replace};
use crate::model::{self, Arch, Param, Shapes};
use crate::process::{command, one_line, quoted};
use crate::train::info::WeightsInfo;
use crate::train::near::did_you_mean;
use crate::train::session::Session;
use anyhow::{Context, Result, bail, ensure};
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

/// The weights inside a checkpoint folder, a run folder, or the file itself.
///
/// # Errors
/// When there is nothing of the kind.
pub fn weights_of(path: &Path) -> Result<PathBuf> {
    let path = &*named(path);
    let there = path
        .try_exists()
        .with_context(|| format!("looking at {}", one_line(path)))?;
    if there && !path.is_dir() {
        // A FIFO or a device is refused here.
        files::open(path)?;
        ensure!(
            !path.ends_with(STATE),
            "{} holds the optimiser's states; the weights are in {WEIGHTS} beside it",
            one_line(path)
        );
        return Ok(path.to_path_buf());
    }
    ensure!(
        there,
        "{} does not exist: name a run's folder, one of its checkpoints or a weights.safetensors; `{}` makes one{}",
        one_line(path),
        command("train"),
        did_you_mean(path)
    );
    let inside = path.join(WEIGHTS);
    Ok(if inside.exists() {
        inside
    } else {
        latest(path)?.join(WEIGHTS)
    })
}

/// A file of weights, read once: what becomes of it on the disk afterwards changes nothing.
pub struct WeightsFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl WeightsFile {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is larger than any network's.
    pub fn read(path: &Path) -> Result<WeightsFile> {
        Ok(WeightsFile {
            path: path.to_path_buf(),
            bytes: read(path)?,
        })
    }

    /// Reads the weights inside a checkpoint folder, a run folder, or the file itself.
    ///
    /// # Errors
    /// When there is nothing of the kind, or it cannot be read.
    pub fn find(path: &Path) -> Result<WeightsFile> {
        let file = weights_of(path)?;
        match WeightsFile::read(&file) {
            // A run that is being trained may just have removed it, for a newer one.
            Err(_) if !file.exists() => WeightsFile::read(&weights_of(path)?),
            read => read,
        }
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it tells about itself.
    ///
    /// # Errors
    /// When it was not written by this program or by a newer one.
    pub fn info(&self) -> Result<WeightsInfo> {
        self.told()?.with_context(|| {
            let shown = one_line(&self.path);
            format!(
                "{shown} has no architecture in its metadata; it was not written by `{train}` \
                 (start from such weights with `{train} --init {}`)",
                quoted(&self.path),
                train = command("train")
            )
        })
    }

    /// What it tells about itself; `None` where another program wrote it.
    ///
    /// # Errors
    /// When it is damaged, or a newer version of this program wrote it.
    pub fn told(&self) -> Result<Option<WeightsInfo>> {
        let metadata = metadata(&self.path, &self.bytes)?;
        let info = metadata.map(WeightsInfo::from_metadata).transpose();
        info.with_context(|| format!("the metadata of {} cannot be used", one_line(&self.path)))
    }

    /// The network that it is of, by the names and shapes of its tensors.
    ///
    /// # Errors
    /// When it is of no network of this program.
    pub fn recognise(&self) -> Result<Arch> {
        let shapes = self.shapes()?;
        let found = model::recognise(&shapes);
        if found.is_err() && model::recognise_body(&shapes).is_ok() {
            bail!(
                "{} has no last layer (fc.weight): train one by `{} {} --new-head`",
                one_line(&self.path),
                command("train --init"),
                quoted(&self.path)
            );
        }
        found.with_context(|| self.unknown())
    }

    /// The same of a file that may lack the linear layer.
    ///
    /// # Errors
    /// As [`WeightsFile::recognise`].
    pub fn recognise_body(&self) -> Result<Arch> {
        model::recognise_body(&self.shapes()?).with_context(|| self.unknown())
    }

    /// Refuses a file that [`WeightsFile::load`] could not load for these parameters.
    ///
    /// # Errors
    /// When a tensor is missing, of another shape or type, or not of this network.
    pub fn check(&self, params: &[Param]) -> Result<()> {
        self.fitting(params, Part::All).map(|_| ())
    }

    /// Refuses a file that [`WeightsFile::load_body`] could not load for these parameters.
    ///
    /// # Errors
    /// As [`WeightsFile::check`], but the linear layer may have any shape.
    pub fn check_body(&self, params: &[Param]) -> Result<()> {
        self.fitting(params, Part::Body).map(|_| ())
    }

    /// The values of these parameters, in our layouts.
    ///
    /// # Errors
    /// When a tensor is missing, of another shape or type, or not of this network.
    pub fn values(&self, params: &[Param]) -> Result<Vec<Vec<f32>>> {
        let file = self.fitting(params, Part::All)?;
        params
            .iter()
            .map(|param| self.value(&file, param))
            .collect()
    }

    /// Loads the weights into the session.
    ///
    /// # Errors
    /// When a tensor is missing, of another shape or type, or not of this network.
    pub fn load(&self, session: &mut Session) -> Result<()> {
        self.load_part(session, Part::All)
    }

    /// The same but for the linear layer, which stays as it is and may have any shape in the file.
    ///
    /// # Errors
    /// As [`WeightsFile::load`].
    pub fn load_body(&self, session: &mut Session) -> Result<()> {
        self.load_part(session, Part::Body)
    }

    fn load_part(&self, session: &mut Session, part: Part) -> Result<()> {
        let params = session.params().to_vec();
        let file = self.fitting(&params, part)?;
        for param in params.iter().filter(|param| part.has(param)) {
            session.write(param.tensor, &self.value(&file, param)?)?;
        }
        Ok(())
    }

    fn value(&self, file: &SafeTensors, param: &Param) -> Result<Vec<f32>> {
        let values = tensor(&self.path, file, &param.name, &param.torch_shape())?;
        Ok(param.from_torch(&values))
    }

    /// PyTorch's dimensions of the tensors.
    fn shapes(&self) -> Result<Shapes> {
        let file = parse(&self.path, &self.bytes)?;
        let shapes = file
            .iter()
            .map(|(name, view)| (name.to_string(), view.shape().to_vec()));
        Ok(shapes.collect())
    }

    fn unknown(&self) -> String {
        format!(
            "{} neither tells its network nor has the tensors of one that `resnet` knows",
            one_line(&self.path)
        )
    }

    /// The tensors, which are those of these parameters and no others. Only those of the part must fit.
    fn fitting(&self, params: &[Param], part: Part) -> Result<SafeTensors<'_>> {
        let path = &self.path;
        let file = parse(path, &self.bytes)?;
        let known =
            |n: &str| params.iter().any(|p| p.name == n) || n.ends_with("num_batches_tracked");
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
