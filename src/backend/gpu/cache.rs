//! The driver's compiled pipelines in a file of the user's cache folder, so that only the first run
//! on a card compiles them. Only Vulkan offers it; the other drivers keep such a cache themselves.
use super::adapter::AdapterReport;
use super::device::Device;
use crate::files;
use crate::process::{self, one_line};
use anyhow::{Context, Result, ensure};
use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of the digest at the start of the file.
const DIGEST: usize = 32;

/// No cache of a driver comes near this many bytes.
const MOST_BYTES: u64 = 1 << 30;

/// A pipeline cache and the file that it comes from.
pub struct Cache {
    pub wgpu: wgpu::PipelineCache,
    path: PathBuf,
}

impl Cache {
    /// The cache for this adapter and driver, empty where there is no usable file; `None` where the
    /// driver has none.
    pub fn open(device: &Device, adapter: &AdapterReport) -> Option<Cache> {
        let features = device.wgpu.features();
        if !features.contains(wgpu::Features::PIPELINE_CACHE) {
            return None;
        }
        let path = match path(adapter)? {
            Ok(path) => path,
            Err(error) => {
                process::say(format_args!("compiled kernels are not cached: {error:#}"));
                return None;
            }
        };
        let data = read(&path).unwrap_or_else(|error| {
            process::say(format_args!("compiling the kernels again: {error:#}"));
            None
        });
        // SAFETY: the data came from `get_data` of this adapter and driver: the file is named after
        // them and starts with a digest of what `save` wrote, and wgpu checks its own header.
        let wgpu = unsafe {
            let descriptor = wgpu::PipelineCacheDescriptor {
                label: None,
                data: data.as_deref(),
                fallback: true,
            };
            device.wgpu.create_pipeline_cache(&descriptor)
        };
        Some(Cache { wgpu, path })
    }

    /// Writes the file anew. A cache that cannot be kept costs time only, so it is no error.
    pub fn save(&self) {
        let Some(data) = self.wgpu.get_data() else {
            return;
        };
        let mut bytes = Sha256::digest(&data).to_vec();
        bytes.extend_from_slice(&data);
        let folder = self.path.parent().expect("the file lies in our folder");
        let write = fs::create_dir_all(folder)
            .with_context(|| format!("creating {}", one_line(folder)))
            .and_then(|()| files::replace(&self.path, &bytes));
        if let Err(error) = write {
            process::say(format_args!("compiled kernels are not cached: {error:#}"));
        }
    }
}

/// Where the pipelines of this adapter and driver are kept; `None` where its API has no such cache.
fn path(adapter: &AdapterReport) -> Option<Result<PathBuf>> {
    let key = wgpu::util::pipeline_cache_key(&adapter.adapter.get_info())?;
    let driver = adapter
        .driver
        .replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    Some(folder("pipelines").map(|folder| folder.join(format!("{key}_{driver}"))))
}

/// A folder of ours in the user's cache folder, which need not exist yet.
pub fn folder(name: &str) -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy().context("looking for the cache folder")?;
    Ok(base.cache_dir().join("resnet").join(name))
}

/// What `save` wrote; `None` where there is no file yet.
fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(mut bytes) = files::read_if_there(path, MOST_BYTES)? else {
        return Ok(None);
    };
    let data = bytes.split_off(bytes.len().min(DIGEST));
    ensure!(
        bytes == Sha256::digest(&data).as_slice(),
        "{} is damaged and will be replaced",
        one_line(path)
    );
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_refused_and_a_missing_one_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipelines");
        assert_eq!(read(&path).unwrap(), None);
        let mut bytes = Sha256::digest(b"data").to_vec();
        bytes.extend_from_slice(b"data");
        fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some(&b"data"[..]));
        for broken in [&bytes[..7], &bytes[..bytes.len() - 1], b""] {
            fs::write(&path, broken).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains("is damaged"), "{error}");
        }
    }
}
