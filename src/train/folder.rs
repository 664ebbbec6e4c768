//! A run's folder: its name, its configuration, and that no run ever overwrites another.
use crate::config::TrainConfig;
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
    let text = toml::to_string(config).context("formatting the configuration")?;
    replace(&run.join(CONFIG), text.as_bytes())
}

/// Reads the configuration of a run.
///
/// # Errors
/// When the folder is not a run's.
pub fn read_config(run: &Path) -> Result<TrainConfig> {
    let path = run.join(CONFIG);
    ensure!(
        path.is_file(),
        "{} is not a run's folder: it has no {CONFIG}",
        run.display()
    );
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
}
