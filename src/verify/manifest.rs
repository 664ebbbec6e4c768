//! `manifest.json` of a set of golden cases: what each case is and how near one must come.
use crate::model::Stem;
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The version of the format that this program reads.
const FORMAT: u64 = 1;

/// What `manifest.json` says.
#[derive(Deserialize)]
pub struct Manifest {
    format: u64,
    /// Cases of single ops.
    #[serde(default, deserialize_with = "or_empty")]
    pub ops: Vec<OpEntry>,
    /// Cases of whole networks.
    #[serde(default, deserialize_with = "or_empty")]
    pub networks: Vec<NetworkEntry>,
    /// Images before and after the resize.
    #[serde(default, deserialize_with = "or_empty")]
    pub resize: ResizeEntry,
}

/// One case of one op.
#[derive(Deserialize)]
pub struct OpEntry {
    /// The file that holds its tensors.
    pub file: String,
    /// Which op.
    pub op: String,
    /// The case's name, which its tensors' names begin with.
    pub case: String,
    /// Kernel, stride, eps and the like.
    #[serde(default)]
    pub attrs: Map<String, Value>,
    /// Names of the given tensors.
    pub inputs: Vec<String>,
    /// Names of the wanted tensors, and how near one must come.
    pub wants: BTreeMap<String, Want>,
}

/// How near a result must come to the wanted one.
#[derive(Deserialize, Clone, Copy, Default)]
#[serde(default)]
pub struct Want {
    /// Every element must be the same.
    pub exact: bool,
    /// The largest error of PyTorch's own float32 result.
    pub torch_max_abs: f64,
    /// The largest wanted element; taken from the tensor where the manifest does not say.
    pub ref_max: Option<f64>,
}

/// One case of a whole network.
#[derive(Deserialize)]
pub struct NetworkEntry {
    /// The file that holds its tensors.
    pub file: String,
    /// `Basic`, `Bottleneck`, `PreActBasic` or `PreActBottleneck`.
    pub block: String,
    /// Blocks per stage.
    pub layers: Vec<usize>,
    /// Width of each stage.
    pub widths: Vec<usize>,
    /// Channels of the first convolution.
    pub stem: usize,
    /// What comes before the stages.
    #[serde(default)]
    pub stem_kind: Stem,
    /// Channels of the images.
    #[serde(default = "one")]
    pub in_channels: usize,
    /// Outputs of the last layer.
    pub classes: usize,
    /// Whether convolutions have a bias.
    pub conv_bias: bool,
    /// Whether the convolution on a shortcut is followed by a BatchNorm.
    pub shortcut_bn: bool,
    /// Images per step.
    pub batch: usize,
    /// Height and width of the images.
    pub size: usize,
    /// Batches in the file; step `s` takes batch `s mod batches`.
    pub batches: usize,
    /// The learning rate of plain SGD.
    pub lr: f32,
    /// Parameters whose gradient is zero but for rounding.
    #[serde(default)]
    pub zero_gradient_names: Vec<String>,
    /// How far PyTorch's own float32 result is from the wanted one.
    pub torch: NetworkWant,
}

/// How far PyTorch's own float32 run of a network is from its float64 run.
#[derive(Deserialize)]
pub struct NetworkWant {
    /// Of the logits, the largest error.
    pub logits_max_abs: f64,
    /// Of the evaluation logits, the largest error.
    pub eval_logits_after20_max_abs: Option<f64>,
    /// Of the gradients, the worst relative L2 error.
    pub grad_worst_rel_l2: f64,
    /// Of every result the relative L2 error, that of an update relative to it; of the gradients and updates that are
    /// zero but for rounding the largest one.
    #[serde(default)]
    pub noise: BTreeMap<String, f64>,
}

/// The file with images before and after the resize, if there is one.
#[derive(Deserialize, Default)]
pub struct ResizeEntry {
    /// The file.
    pub file: Option<String>,
}

impl Manifest {
    /// Reads the text of a `manifest.json`.
    ///
    /// # Errors
    /// When it is no manifest or one of another format.
    pub fn parse(text: &[u8]) -> Result<Manifest> {
        let manifest: Manifest =
            serde_json::from_slice(text).context("not the manifest of a set of golden cases")?;
        ensure!(
            manifest.format == FORMAT,
            "format {} is not known; this program reads format {FORMAT}",
            manifest.format
        );
        for entry in &manifest.ops {
            let names = [&entry.file, &entry.op, &entry.case].into_iter();
            check_names(names.chain(&entry.inputs).chain(entry.wants.keys()))?;
        }
        for entry in &manifest.networks {
            check_names([&entry.file, &entry.block].into_iter())?;
        }
        check_names(manifest.resize.file.iter())?;
        Ok(manifest)
    }
}

/// Refuses names that a terminal would obey.
fn check_names<'a>(mut names: impl Iterator<Item = &'a String>) -> Result<()> {
    match names.find(|name| name.contains(char::is_control)) {
        Some(name) => bail!("the name {name:?} has control characters"),
        None => Ok(()),
    }
}

impl NetworkEntry {
    /// The case's name: the file's, without its ending.
    pub fn name(&self) -> &str {
        self.file.strip_suffix(".safetensors").unwrap_or(&self.file)
    }
}

/// A section of the manifest that may be left out, null, `{}` or `[]`.
fn or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> Deserialize<'a> + Default,
{
    let value = Value::deserialize(deserializer)?;
    let empty = match &value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if empty {
        return Ok(T::default());
    }
    serde_json::from_value(value).map_err(serde::de::Error::custom)
}

fn one() -> usize {
    1
}
