//! `last` and `best` in a run's folder: names of checkpoints that stay while the steps in the checkpoints' own names grow.
use super::store::{FOLDER, named_step};
use crate::files;
use crate::process::one_line;
use anyhow::{Context, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The newest checkpoint.
pub const LAST: &str = "last";
/// The checkpoint of the best epoch.
pub const BEST: &str = "best";

/// No name of a checkpoint comes near this many bytes.
const MOST_BYTES: u64 = 256;

/// Lets a name stand for the checkpoint after a step: a symbolic link where the system has them for everybody, else a
/// file with the checkpoint's path in the run's folder. It stands for one or the other at every moment.
///
/// # Errors
/// When the disk fails, or something that is neither has the name.
pub fn point(run: &Path, name: &str, step: u64) -> Result<()> {
    let target = Path::new(FOLDER).join(format!("step-{step:08}"));
    let path = run.join(name);
    let is_link = path.is_symlink();
    if is_link && fs::read_link(&path).is_ok_and(|there| there == target) {
        return Ok(());
    }
    // Only what this function makes is replaced.
    if is_link || !path.exists() {
        match link(run, &target, &path) {
            Ok(()) => return Ok(()),
            Err(error) if is_link => {
                return Err(error).with_context(|| format!("writing {}", one_line(&path)));
            }
            // File systems of other systems have none.
            Err(_) => {}
        }
    }
    files::replace(&path, target.to_string_lossy().as_bytes())
}

#[cfg(unix)]
fn link(run: &Path, target: &Path, path: &Path) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    // A kill may leave it, and what begins so is cleared away.
    let link = builder
        .prefix(".tmp")
        .make_in(run, |at| std::os::unix::fs::symlink(target, at))?;
    link.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

/// Windows has them for administrators only.
#[cfg(not(unix))]
fn link(_: &Path, _: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The checkpoint that a file with such a name stands for, or the path itself where it is anything else.
pub fn named(path: &Path) -> PathBuf {
    let is_name = path.ends_with(LAST) || path.ends_with(BEST);
    let target = || {
        let bytes = files::read(path, MOST_BYTES).ok()?;
        let target = PathBuf::from(String::from_utf8(bytes).ok()?.trim());
        let is_checkpoint = target.starts_with(FOLDER) && named_step(&target).is_some();
        let run = path.parent().filter(|_| is_checkpoint)?;
        Some(run.join(target))
    };
    let found = (is_name && path.is_file()).then(target).flatten();
    found.unwrap_or_else(|| path.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_the_checkpoint_whatever_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        for step in [3, 6] {
            fs::create_dir_all(run.join(format!("{FOLDER}/step-{step:08}"))).unwrap();
            point(run, LAST, step).unwrap();
            point(run, LAST, step).unwrap();
            let shown = named(&run.join(LAST)).canonicalize().unwrap();
            assert!(shown.ends_with(format!("step-{step:08}")), "{shown:?}");
        }
        // Where there are no links, a file.
        fs::write(run.join(BEST), "").unwrap();
        point(run, BEST, 3).unwrap();
        assert!(run.join(BEST).is_file());
        let shown = named(&run.join(BEST));
        assert!(shown.is_dir() && shown.ends_with("step-00000003"));
        // What is not ours stays.
        fs::remove_file(run.join(LAST)).unwrap();
        fs::create_dir(run.join(LAST)).unwrap();
        assert!(point(run, LAST, 3).is_err());
        assert_eq!(named(&run.join(LAST)), run.join(LAST));
        let left = fs::read_dir(run).unwrap();
        assert_eq!(left.count(), 3);
    }
}
