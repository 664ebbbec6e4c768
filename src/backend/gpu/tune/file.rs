//! The tilings that were found for an adapter in a file of the user's cache folder. It says what they were
//! found with: another driver or other kernels make them worthless.
use crate::backend::gpu::adapter::AdapterReport;
use crate::backend::gpu::cache;
use crate::files;
use crate::ops::tuning::TuningTable;
use crate::ops::{ConvKernel, Cooperative};
use crate::process::one_line;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// No file of tilings comes near this many bytes.
const MOST_BYTES: u64 = 16 << 20;

/// What tilings are good for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    pub adapter: String,
    pub backend: String,
    pub vendor: u32,
    pub device: u32,
    pub driver: String,
    /// What multiplies: f32, or a unit's name.
    pub products: String,
    /// The version of this program, and a digest of its kernels.
    pub program: String,
}

/// A file of tilings.
pub struct TuningFile {
    pub path: PathBuf,
    identity: Identity,
}

/// What is in the file.
#[derive(Serialize, Deserialize)]
struct Contents {
    identity: Identity,
    tilings: TuningTable,
}

impl Identity {
    pub fn of(adapter: &AdapterReport, cooperative: Option<Cooperative>) -> Identity {
        let info = adapter.adapter.get_info();
        let kernels = Sha256::digest(ConvKernel::SOURCES.concat());
        let [a, b, c, d, ..] = kernels[..] else {
            unreachable!("a digest has 32 bytes")
        };
        let kernels = u32::from_be_bytes([a, b, c, d]);
        Identity {
            adapter: adapter.name.clone(),
            backend: adapter.backend.clone(),
            vendor: info.vendor,
            device: info.device,
            driver: adapter.driver.clone(),
            products: cooperative.map_or("f32".to_string(), Cooperative::label),
            program: format!("{} {kernels:08x}", env!("CARGO_PKG_VERSION")),
        }
    }
}

impl TuningFile {
    /// The file for an adapter and its driver in the user's cache folder.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(identity: Identity) -> Result<TuningFile> {
        Ok(TuningFile::within(&cache::folder("tiles")?, identity))
    }

    /// The same in another folder.
    pub fn within(folder: &Path, identity: Identity) -> TuningFile {
        let Identity {
            adapter,
            backend,
            vendor,
            device,
            driver,
            products,
            ..
        } = &identity;
        let name = format!("{vendor:04x} {device:04x} {adapter} {backend} {driver} {products}");
        let name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        TuningFile {
            path: folder.join(name + ".json"),
            identity,
        }
    }

    /// What [`Self::write`] wrote, nothing where there is no file yet.
    ///
    /// # Errors
    /// When the file is damaged, or of another adapter, driver or version.
    pub fn read(&self) -> Result<TuningTable> {
        let path = one_line(&self.path);
        let Some(bytes) = files::read_if_there(&self.path, MOST_BYTES)? else {
            return Ok(TuningTable::default());
        };
        let contents: Contents = serde_json::from_slice(&bytes)
            .with_context(|| format!("{path} is damaged and will be replaced"))?;
        ensure!(
            contents.identity == self.identity,
            "{path} is of another device, driver or version and will be replaced"
        );
        Ok(contents.tilings)
    }

    /// Writes the file anew.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn write(&self, tilings: &TuningTable) -> Result<()> {
        let contents = Contents {
            identity: self.identity.clone(),
            tilings: tilings.clone(),
        };
        let folder = self.path.parent().context("the file lies in a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", one_line(folder)))?;
        files::replace(&self.path, &serde_json::to_vec_pretty(&contents)?)
    }
}
