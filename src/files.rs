//! Files that are either whole or absent, whenever the power fails.
use anyhow::{Context, Result};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// Writes bytes so that the file holds either all of them or what it held before.
///
/// # Errors
/// When the disk fails.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("creating a file in {}", folder.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .with_context(|| format!("writing {}", path.display()))?;
    file.persist(path)
        .with_context(|| format!("writing {}", path.display()))?;
    sync_folder(folder)
}

/// Writes a new file and waits until it is on the disk.
///
/// # Errors
/// When the disk fails.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// Makes the names in a folder durable. Windows cannot open folders and needs no such call.
///
/// # Errors
/// When the disk fails.
pub fn sync_folder(folder: &Path) -> Result<()> {
    if cfg!(windows) {
        return Ok(());
    }
    let sync = || File::open(folder)?.sync_all();
    sync().with_context(|| format!("syncing {}", folder.display()))
}
