//! A set of golden cases: its manifest and the tensors of its files. Nothing runs here.
use super::manifest::Manifest;
use crate::files;
use crate::process::one_line;
use anyhow::{Context, Result, ensure};
use bytemuck::AnyBitPattern;
use safetensors::{Dtype, SafeTensors};
use std::{collections::HashMap, path::Path};

/// The files of the built-in set: every op, the resize and the smallest network.
const BUILT_IN: [(&str, &[u8]); 8] = [
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
        "ops_extremes.safetensors",
        include_bytes!("../../tests/golden/ops_extremes.safetensors"),
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
        "ops_optim20.safetensors",
        include_bytes!("../../tests/golden/ops_optim20.safetensors"),
    ),
    (
        "resize.safetensors",
        include_bytes!("../../tests/golden/resize.safetensors"),
    ),
];

/// No manifest comes near this many bytes.
const MANIFEST_BYTES: u64 = 64 << 20;

/// No file of golden tensors comes near this many bytes.
const MOST_BYTES: u64 = 4 << 30;

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

impl Set {
    /// The set inside this program. Networks whose file was left out of it are not in it.
    ///
    /// # Errors
    /// When the program was built from a broken set.
    pub fn built_in() -> Result<Set> {
        let mut manifest = Manifest::parse(include_bytes!("../../tests/golden/manifest.json"))
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
        let bytes = files::read(&path, MANIFEST_BYTES).with_context(|| {
            format!(
                "cannot read {}; a folder of golden cases has a manifest.json",
                one_line(&path)
            )
        })?;
        let manifest = Manifest::parse(&bytes).with_context(|| one_line(&path))?;
        let names = manifest.ops.iter().map(|o| &o.file);
        let names = names.chain(manifest.networks.iter().map(|n| &n.file));
        let mut files = HashMap::new();
        for name in names.chain(&manifest.resize.file) {
            if files.contains_key(name) {
                continue;
            }
            let path = dir.join(name);
            let bytes = files::read(&path, MOST_BYTES).with_context(|| {
                format!("cannot read {}, which manifest.json names", one_line(&path))
            })?;
            SafeTensors::deserialize(&bytes).with_context(|| {
                format!(
                    "{} is not a complete safetensors file; copy it again",
                    one_line(&path)
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

    /// Dimensions of a tensor.
    ///
    /// # Errors
    /// When it is missing.
    pub fn shape(&self, name: &str) -> Result<Vec<usize>> {
        let tensor = self.tensors.tensor(name);
        let tensor = tensor.with_context(|| format!("{} has no tensor {name}", self.file))?;
        Ok(tensor.shape().to_vec())
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
