//! A safetensors file with one JSON text in its metadata, and what is said where it is not as it must be.
use super::floats::to_f32;
use crate::files;
use crate::process::{ensure_free, one_line};
use anyhow::{Context, Result, ensure};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::HashMap;
use std::path::Path;

/// The one metadata key, so that the file's bytes are reproducible.
const KEY: &str = "resnet";

/// No network that [`crate::model::Arch::check`] lets through has larger weights, nor states of its optimiser.
const MOST_BYTES: u64 = 4 << 30;

/// The bytes of a file of these tensors and metadata, if it has any.
pub fn serialize(
    tensors: &[(String, Dtype, Vec<usize>, Vec<u8>)],
    metadata: Option<&impl Serialize>,
) -> Result<Vec<u8>> {
    let metadata = metadata.map(serde_json::to_string).transpose()?;
    let metadata = metadata.map(|json| HashMap::from([(KEY.to_string(), json)]));
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, bytes)| {
            Ok((
                name.as_str(),
                TensorView::new(*dtype, shape.clone(), bytes)?,
            ))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(safetensors::serialize(views, metadata)?)
}

/// The bytes of a file.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = files::read(path, MOST_BYTES)?;
    refuse_pickle(path, &bytes)?;
    // Its tensors are copied one by one, and into the order of the kernels.
    ensure_free(bytes.len() as u64, "the tensors of the file").with_context(|| one_line(path))?;
    Ok(bytes)
}

/// Refuses what `torch.save` writes: pickled objects, whose reading may run any code. A safetensors file has the brace of
/// its header in the ninth byte.
fn refuse_pickle(path: &Path, bytes: &[u8]) -> Result<()> {
    let is_pickle = match bytes {
        [_, _, _, _, _, _, _, _, b'{', ..] => false,
        // A zip archive, as PyTorch 1.6 and later write it, or the stream itself of protocol 1 to 5.
        [b'P', b'K', 3, 4, ..] | [0x80, 1..=5, ..] => true,
        _ => false,
    };
    let shown = one_line(path);
    let safe = match path
        .extension()
        .is_some_and(|ending| ending == "safetensors")
    {
        true => path.with_extension("converted.safetensors"),
        false => path.with_extension("safetensors"),
    };
    ensure!(
        !is_pickle,
        "{shown} is a file of PyTorch's torch.save (.pth, .pt or .bin), which is never read here, since reading one may run \
         any code. Convert it in Python, and name the new file:\n  \
         import torch, safetensors.torch\n  \
         safetensors.torch.save_file(torch.load({:?}, weights_only=True), {:?})",
        shown.to_string(),
        one_line(&safe)
    );
    Ok(())
}

/// The tensors in the bytes of a file.
pub fn parse<'b>(path: &Path, bytes: &'b [u8]) -> Result<SafeTensors<'b>> {
    SafeTensors::deserialize(bytes)
        .with_context(|| format!("{} is not a complete safetensors file", one_line(path)))
}

/// What the metadata hold, if this program wrote them.
pub fn metadata<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<Option<T>> {
    let (_, header) = SafeTensors::read_metadata(bytes)
        .with_context(|| format!("{} is not a complete safetensors file", one_line(path)))?;
    let Some(json) = header.metadata().as_ref().and_then(|m| m.get(KEY)) else {
        return Ok(None);
    };
    let value = serde_json::from_str(json).with_context(|| {
        format!(
            "the metadata of {} was not written by resnet",
            one_line(path)
        )
    })?;
    Ok(Some(value))
}

/// The values of a tensor of this shape, whose floats may have any size.
pub fn tensor(path: &Path, file: &SafeTensors, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let shown = one_line(path);
    let view = file
        .tensor(name)
        .with_context(|| format!("{shown} has no tensor {name}, which this network needs"))?;
    ensure!(
        view.shape() == shape,
        "{name} in {shown} is {:?}, but this network needs {shape:?}",
        view.shape()
    );
    to_f32(view.dtype(), view.data()).with_context(|| {
        format!(
            "{name} in {shown} is of type {:?}, but weights are F32, F16, BF16 or F64",
            view.dtype()
        )
    })
}
