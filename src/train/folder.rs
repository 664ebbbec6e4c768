//! A run's folder: its name, its configuration, and that no run ever overwrites another.
use super::checkpoint;
use crate::config::{Layer, TrainConfig};
use crate::files::replace;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.toml";

/// Creates the folder of a new run: `wanted`, which must not hold anything yet, or the first free
/// `runs/NNN`.
///
/// # Errors
/// When the folder is taken or cannot be created.
pub fn create(wanted: Option<&Path>) -> Result<PathBuf> {
    if let Some(folder) = wanted {
        let taken = folder.exists()
            && fs::read_dir(folder)
                .with_context(|| format!("--out {}", folder.display()))?
                .next()
                .is_some();
        ensure!(
            !taken,
            "--out {0} already holds something: go on with it by `resnet train --resume {0}`, or take another folder",
            folder.display()
        );
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        return Ok(folder.to_path_buf());
    }
    let runs = Path::new("runs");
    fs::create_dir_all(runs).context("creating the folder runs")?;
    for number in 1.. {
        let folder = runs.join(format!("{number:03}"));
        // Creating is the test, so that two runs started together do not share a folder.
        match fs::create_dir(&folder) {
            Ok(()) => return Ok(folder),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e).with_context(|| format!("creating {}", folder.display())),
        }
    }
    unreachable!("the numbers do not end")
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
