//! A run's folder: its name, its configuration, that no run ever overwrites another, and what a run that failed
//! leaves behind.
use super::checkpoint;
use crate::config::{Layer, TrainConfig};
use crate::files::replace;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.toml";

/// Where the folders of runs without a name of their own are.
const RUNS: &str = "runs";

/// Refuses what [`create`] could not create; nothing is created.
///
/// # Errors
/// When the folder is taken, or nothing can be written where it is to be.
pub fn check(wanted: Option<&Path>) -> Result<()> {
    let folder = wanted.unwrap_or(Path::new(RUNS));
    let named = || match wanted {
        Some(folder) => format!("--out {}", folder.display()),
        None => format!("the folder {RUNS}"),
    };
    if wanted.is_some() && folder.exists() && !is_empty(folder).with_context(named)? {
        let shown = folder.display();
        match checkpoint::latest(folder) {
            Ok(_) => bail!(
                "--out {shown} already holds a run: resume it with `resnet train --resume {shown}`, or take \
                 another folder"
            ),
            Err(_) => bail!(
                "--out {shown} already holds files that are not a resumable run: take another folder, or \
                 remove them"
            ),
        }
    }
    let absolute = std::path::absolute(folder).with_context(named)?;
    let existing = absolute.ancestors().find(|folder| folder.exists());
    let existing = existing.with_context(|| format!("{}: no such place", named()))?;
    tempfile::tempfile_in(existing).with_context(|| {
        format!(
            "{}: nothing can be written into {}; take another folder with --out",
            named(),
            existing.display()
        )
    })?;
    Ok(())
}

/// Creates the folder of a new run: `wanted`, which must not hold anything yet, or the first free
/// `runs/NNN`.
///
/// # Errors
/// When the folder is taken or cannot be created.
pub fn create(wanted: Option<&Path>) -> Result<PathBuf> {
    check(wanted)?;
    let creating = |folder: &Path| format!("creating {}", folder.display());
    if let Some(folder) = wanted {
        fs::create_dir_all(folder).with_context(|| creating(folder))?;
        return Ok(folder.to_path_buf());
    }
    let runs = Path::new(RUNS);
    fs::create_dir_all(runs).with_context(|| creating(runs))?;
    for number in 1.. {
        let folder = runs.join(format!("{number:03}"));
        // Creating is the test, so that two runs started together do not share a folder.
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| creating(&folder)),
        }
    }
    unreachable!("the numbers do not end")
}

/// Removes the folder of a run that failed and left nothing but its settings there, so that it does not stand in
/// the way of the next one. A checkpoint keeps it, and so does whatever else was written into it.
pub fn clear_failed(run: &Path) {
    // An error here would hide the failure itself, and what cannot be removed does no harm.
    let _ = fs::remove_dir(run.join(checkpoint::FOLDER));
    let only_settings = fs::read_dir(run)
        .is_ok_and(|mut entries| entries.all(|e| e.is_ok_and(|e| e.file_name() == CONFIG)));
    if only_settings {
        let _ = fs::remove_file(run.join(CONFIG));
        let _ = fs::remove_dir(run);
    }
}

fn is_empty(folder: &Path) -> Result<bool> {
    ensure!(folder.is_dir(), "not a folder");
    Ok(fs::read_dir(folder)?.next().is_none())
}

/// Writes the resolved configuration into the run.
///
/// # Errors
/// When the disk fails.
pub fn write_config(run: &Path, config: &TrainConfig) -> Result<()> {
    let text = config.to_toml()?;
    replace(&run.join(CONFIG), text.as_bytes())
}

/// The run that a checkpoint belongs to: its own folder, one of its checkpoints or the weights in one; `None` for a
/// file elsewhere.
///
/// # Errors
/// When the path cannot be resolved.
pub fn run_of(checkpoint: &Path) -> Result<Option<PathBuf>> {
    let resolve = || format!("resolving {}", checkpoint.display());
    let path = checkpoint.canonicalize().with_context(resolve)?;
    let is_run = |folder: &&Path| {
        let inside = path
            .strip_prefix(folder)
            .is_ok_and(|rest| rest.as_os_str().is_empty() || rest.starts_with(checkpoint::FOLDER));
        inside && folder.join(CONFIG).is_file()
    };
    Ok(path.ancestors().find(is_run).map(Path::to_path_buf))
}

/// Reads the settings of a run.
///
/// # Errors
/// When the folder is not a run's, or its file is damaged.
pub fn settings(run: &Path) -> Result<Layer> {
    let path = run.join(CONFIG);
    ensure!(
        path.is_file(),
        "{} is not a run's folder: it has no {CONFIG}",
        run.display()
    );
    Layer::file(&path)
}
