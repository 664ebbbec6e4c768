//! A folder of golden cases: its manifest and its tensors, as PyTorch wrote them. Nothing runs here.
use anyhow::{Context, Result, ensure};
use bytemuck::AnyBitPattern;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

/// The version of the format that this program reads.
const FORMAT: u64 = 1;

/// The files of the built-in set: every op, the resize and the smallest network.
const BUILT_IN: [(&str, &[u8]); 6] = [
    (
        "net_resnet18_tv.safetensors",
        include_bytes!("../../tests/golden/net_resnet18_tv.safetensors"),
    ),
    (
        "ops_batchnorm.safetensors",
        include_bytes!("../../tests/golden/ops_batchnorm.safetensors"),
    ),
    (
        "ops_conv2d.safetensors",
        include_bytes!("../../tests/golden/ops_conv2d.safetensors"),
    ),
    (
        "ops_misc.safetensors",
        include_bytes!("../../tests/golden/ops_misc.safetensors"),
    ),
    (
        "ops_optim.safetensors",
        include_bytes!("../../tests/golden/ops_optim.safetensors"),
    ),
    (
        "resize.safetensors",
        include_bytes!("../../tests/golden/resize.safetensors"),
    ),
];

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
    /// `Basic`, `Bottleneck` or `PreActBasic`.
    pub block: String,
    /// Blocks per stage.
    pub layers: Vec<usize>,
    /// Width of each stage.
    pub widths: Vec<usize>,
    /// Channels of the first convolution.
    pub stem: usize,
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
    /// Of the parameters' update, the relative L2 error.
    pub update_rel_l2: UpdateWant,
}

/// Relative L2 errors of PyTorch's own update of all parameters.
#[derive(Deserialize)]
pub struct UpdateWant {
    /// Of the first step.
    #[serde(default)]
    pub step1: f64,
    /// Of the step that starts at the checkpoint after four.
    #[serde(default)]
    pub step5_from_ckpt4: f64,
}

/// The file with images before and after the resize, if there is one.
#[derive(Deserialize, Default)]
pub struct ResizeEntry {
    /// The file.
    pub file: Option<String>,
}

/// A manifest and the bytes of the files it names.
pub struct Set {
    /// What the cases are.
    pub manifest: Manifest,
    files: HashMap<String, Vec<u8>>,
}

/// The tensors of one file.
pub struct Tensors<'a> {
    file: &'a str,
    tensors: SafeTensors<'a>,
}

/// A dense array in PyTorch's order, the last dimension innermost.
#[derive(Clone, Debug, PartialEq)]
pub struct Array<T> {
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// Elements.
    pub data: Vec<T>,
}

impl NetworkEntry {
    /// The case's name: the file's, without its ending.
    pub fn name(&self) -> &str {
        self.file.strip_suffix(".safetensors").unwrap_or(&self.file)
    }
}

impl Set {
    /// The set inside this program. Networks whose file was left out of it are not in it.
    ///
    /// # Errors
    /// When the program was built from a broken set.
    pub fn built_in() -> Result<Set> {
        let mut manifest = read_manifest(include_bytes!("../../tests/golden/manifest.json"))
            .context("the built-in manifest.json")?;
        let files: HashMap<String, Vec<u8>> = BUILT_IN
            .into_iter()
            .map(|(name, bytes)| (name.to_string(), bytes.to_vec()))
            .collect();
        manifest.networks.retain(|n| files.contains_key(&n.file));
        Ok(Set { manifest, files })
    }

    /// Reads `manifest.json` of a folder and every file that it names.
    ///
    /// # Errors
    /// When a file is missing, broken or of another format; the error names it.
    pub fn open(dir: &Path) -> Result<Set> {
        let path = dir.join("manifest.json");
        let bytes = fs::read(&path).with_context(|| {
            format!(
                "cannot read {}; a folder of golden cases has a manifest.json",
                path.display()
            )
        })?;
        let manifest = read_manifest(&bytes).with_context(|| path.display().to_string())?;
        let names = manifest.ops.iter().map(|o| &o.file);
        let names = names.chain(manifest.networks.iter().map(|n| &n.file));
        let mut files = HashMap::new();
        for name in names.chain(&manifest.resize.file) {
            if files.contains_key(name) {
                continue;
            }
            let path = dir.join(name);
            let bytes = fs::read(&path).with_context(|| {
                format!("cannot read {}, which manifest.json names", path.display())
            })?;
            SafeTensors::deserialize(&bytes).with_context(|| {
                format!(
                    "{} is not a whole safetensors file; copy it again",
                    path.display()
                )
            })?;
            files.insert(name.clone(), bytes);
        }
        Ok(Set { manifest, files })
    }

    /// The tensors of one of the set's files.
    ///
    /// # Errors
    /// When the file is broken.
    pub fn tensors<'a>(&'a self, file: &'a str) -> Result<Tensors<'a>> {
        let bytes = self
            .files
            .get(file)
            .with_context(|| format!("the set has no file {file}"))?;
        let tensors = SafeTensors::deserialize(bytes).with_context(|| file.to_string())?;
        Ok(Tensors { file, tensors })
    }
}

impl Tensors<'_> {
    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names = self.tensors.names();
        names.sort_unstable();
        names
    }

    /// Whether a tensor exists.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    /// A single-precision tensor.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn f32(&self, name: &str) -> Result<Array<f32>> {
        self.get(name, Dtype::F32)
    }

    /// A double-precision tensor.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn f64(&self, name: &str) -> Result<Array<f64>> {
        self.get(name, Dtype::F64)
    }

    /// Labels or indices.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn u32(&self, name: &str) -> Result<Array<u32>> {
        self.get(name, Dtype::U32)
    }

    /// Grey levels.
    ///
    /// # Errors
    /// When it is missing or of another type.
    pub fn u8(&self, name: &str) -> Result<Array<u8>> {
        self.get(name, Dtype::U8)
    }

    fn get<T: AnyBitPattern + bytemuck::NoUninit>(
        &self,
        name: &str,
        dtype: Dtype,
    ) -> Result<Array<T>> {
        let file = self.file;
        let tensor = self
            .tensors
            .tensor(name)
            .with_context(|| format!("{file} has no tensor {name}"))?;
        ensure!(
            tensor.dtype() == dtype,
            "{name} in {file} is {:?}, but {dtype:?} is needed",
            tensor.dtype()
        );
        ensure!(
            !tensor.data().is_empty(),
            "{name} in {file} has no elements"
        );
        Ok(Array {
            shape: tensor.shape().to_vec(),
            data: bytemuck::pod_collect_to_vec(tensor.data()),
        })
    }
}

fn read_manifest(bytes: &[u8]) -> Result<Manifest> {
    let manifest: Manifest =
        serde_json::from_slice(bytes).context("not the manifest of a set of golden cases")?;
    ensure!(
        manifest.format == FORMAT,
        "format {} is not known; this program reads format {FORMAT}",
        manifest.format
    );
    Ok(manifest)
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
