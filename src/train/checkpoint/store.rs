//! The folder of a run's checkpoints: how one is put there, found, restored after a kill, and removed. At every
//! moment it holds the newest checkpoint, whole, under its own name or as a leftover that is found.
use super::tensor_file::{metadata, parse, read};
use crate::files::{sync_folder, write_synced};
use crate::process::one_line;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::cmp::Reverse;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// The folder of a run's checkpoints.
pub const FOLDER: &str = "checkpoints";
pub const WEIGHTS: &str = "weights.safetensors";
pub const STATE: &str = "state.safetensors";

/// What a folder is called that is not yet a checkpoint.
const NEW: &str = ".new-";
/// What a folder is called that holds the checkpoint whose place another takes.
const OLD: &str = ".old-";
/// The checkpoint in such a folder.
const REPLACED: &str = "checkpoint";

/// Puts a checkpoint into `run/checkpoints/step-N`, in place of one that is there. Nothing of it is visible before all
/// of it is on the disk. Returns its folder.
///
/// # Errors
/// When the disk fails; what was there stays.
pub fn put(run: &Path, step: u64, weights: &[u8], state: &[u8]) -> Result<PathBuf> {
    let folder = run.join(FOLDER);
    ensure!(
        run.is_dir(),
        "the folder of the run, {}, is gone: it was moved or removed while the run went on, so that nothing can be saved \
         there",
        one_line(run)
    );
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", one_line(&folder)))?;
    let new = hidden_folder(NEW, &folder)?;
    write_synced(&new.path().join(WEIGHTS), weights)?;
    write_synced(&new.path().join(STATE), state)?;
    sync_folder(new.path())?;
    let target = at(run, step);
    let placed = match target.exists() {
        // The same step is saved again once its epoch has been evaluated.
        true => take_place(&new, &target, &folder),
        false => fs::rename(new.path(), &target),
    };
    placed.with_context(|| format!("writing {}", one_line(&target)))?;
    sync_folder(&folder)?;
    Ok(target)
}

/// The folder of the checkpoint after this step.
pub fn at(run: &Path, step: u64) -> PathBuf {
    run.join(FOLDER).join(format!("step-{step:08}"))
}

/// The step that the name of a checkpoint's folder tells.
pub fn named_step(checkpoint: &Path) -> Option<u64> {
    let name = checkpoint.file_name()?.to_str()?;
    name.strip_prefix("step-")?.parse().ok()
}

/// The newest checkpoint of a run.
///
/// # Errors
/// When the run has none.
pub fn latest(run: &Path) -> Result<PathBuf> {
    let newest = newest_first(run)?.into_iter().next();
    let newest = match newest {
        None => leftovers(run)?.into_iter().max_by_key(|(step, _)| *step),
        Some(found) => return Ok(found),
    };
    let (_, found) = newest.with_context(|| {
        format!(
            "{} has no checkpoint: it is not a run's folder, or its training stopped before the first one",
            one_line(run)
        )
    })?;
    Ok(found)
}

/// The checkpoints of a run under their names, the newest first.
///
/// # Errors
/// When the disk fails.
pub fn newest_first(run: &Path) -> Result<Vec<PathBuf>> {
    let mut found = entries(&run.join(FOLDER))?;
    found.retain(|path| named_step(path).is_some());
    found.sort_by_key(|path| Reverse(named_step(path)));
    Ok(found)
}

/// Restores a newest checkpoint that a kill left under another name, and removes everything else that one left. Only
/// for the process that holds the run.
///
/// # Errors
/// When the disk fails.
pub fn recover(run: &Path) -> Result<()> {
    let visible = newest_first(run)?.first().and_then(|path| named_step(path));
    let newest = leftovers(run)?.into_iter().max_by_key(|(step, _)| *step);
    if let Some((step, found)) = newest.filter(|(step, _)| Some(*step) > visible) {
        let target = at(run, step);
        fs::rename(&found, &target).with_context(|| format!("restoring {}", one_line(&target)))?;
        sync_folder(&run.join(FOLDER))?;
    }
    sweep(&run.join(FOLDER))?;
    sweep(run)
}

/// Removes the checkpoints after other steps than these.
///
/// # Errors
/// When the disk fails.
pub fn prune(run: &Path, keep: &[u64]) -> Result<()> {
    for checkpoint in newest_first(run)? {
        if named_step(&checkpoint).is_none_or(|step| !keep.contains(&step)) {
            remove(&checkpoint)?;
        }
    }
    Ok(())
}

/// Whether a kill may have left this in a run's folder or among its checkpoints.
pub fn is_leftover(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| {
        [NEW, OLD, ".tmp"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
    })
}

/// Complete checkpoints that have no name yet or none any more, with their steps.
///
/// # Errors
/// When the disk fails.
pub fn leftovers(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut complete = Vec::new();
    for path in entries(&run.join(FOLDER))? {
        for path in [path.join(REPLACED), path.clone()] {
            if is_leftover(&path) || path.ends_with(REPLACED) {
                complete.extend(complete_step(&path)?.map(|step| (step, path)));
            }
        }
    }
    Ok(complete)
}

/// The step of a checkpoint both of whose files are whole.
fn complete_step(checkpoint: &Path) -> Result<Option<u64>> {
    let [weights, state] = [WEIGHTS, STATE].map(|file| checkpoint.join(file));
    if !weights.exists() || !state.exists() {
        return Ok(None);
    }
    let bytes = (read(&weights)?, read(&state)?);
    let whole = parse(&weights, &bytes.0).is_ok() && parse(&state, &bytes.1).is_ok();
    let progress = metadata::<Value>(&state, &bytes.1).ok().flatten();
    let step = progress.and_then(|progress| progress.get("step")?.as_u64());
    Ok(step.filter(|_| whole))
}

/// Removes what kills left in a folder.
fn sweep(folder: &Path) -> Result<()> {
    let mut left = entries(folder)?
        .into_iter()
        .filter(|path| is_leftover(path));
    left.try_for_each(|path| remove(&path))
}

/// Removes a file, or a folder with all in it.
///
/// # Errors
/// When the disk fails.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match path.is_dir() {
        true => fs::remove_dir_all(path),
        false => fs::remove_file(path),
    };
    removed.with_context(|| format!("removing {}", one_line(path)))
}

/// The paths in a folder, none if it does not exist.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list,
    };
    let paths = list.and_then(|list| list.map(|entry| Ok(entry?.path())).collect());
    paths.with_context(|| format!("reading {}", one_line(folder)))
}

/// A folder that goes with its value unless it is kept, open to others as far as the umask lets them.
fn hidden_folder(prefix: &str, inside: &Path) -> Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder
        .tempdir_in(inside)
        .with_context(|| format!("creating a folder in {}", one_line(inside)))
}

/// Gives a new folder the name of an old one: in one step where the system can exchange two names.
fn take_place(new: &TempDir, target: &Path, folder: &Path) -> io::Result<()> {
    match exchange(new.path(), target) {
        Err(error) if lacks_exchange(&error) => {}
        done => return done,
    }
    let old = hidden_folder(OLD, folder).map_err(io::Error::other)?;
    let replaced = old.path().join(REPLACED);
    fs::rename(target, &replaced)?;
    let placed = fs::rename(new.path(), target);
    if placed.is_err() && fs::rename(&replaced, target).is_err() {
        // It stays where it is found again.
        let _ = old.keep();
    }
    placed
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn exchange(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether the system or this file system cannot exchange names, as NFS and Windows.
fn lacks_exchange(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, Unsupported};
    matches!(error.kind(), InvalidInput | Unsupported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_whose_folder_is_gone_is_not_begun_anew() {
        let folder = TempDir::new().unwrap();
        let run = folder.path().join("run");
        let error = put(&run, 1, b"weights", b"state").unwrap_err();
        assert!(error.to_string().contains("is gone"), "{error:#}");
        assert!(!run.exists());
    }
}
