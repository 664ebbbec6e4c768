//! A run's folder: its name, its configuration, that no run ever overwrites another, and what a run that failed
//! leaves behind.
use super::checkpoint::{self, is_leftover};
use super::lock::{self, Lock};
use super::near::{RUNS, did_you_mean};
use crate::config::{Layer, TrainConfig, value_name};
use crate::files::{self, replace};
use crate::process::{command, one_line, quoted};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::{Path, PathBuf};

/// The settings of a run.
pub const CONFIG: &str = "config.toml";
/// What happened in a run, for programs.
pub const EVENTS: &str = "events.jsonl";
/// How the line begins that tells of a run's end.
const END: &[u8] = br#"{"event":"end","#;
/// What a run said on stderr.
pub const LOG: &str = "log.txt";

/// The folder of its event files for TensorBoard.
pub const TENSORBOARD: &str = "tensorboard";

/// Words that tell the runs of a day apart. In this order, so that a sorted list has the runs in theirs.
const WORDS: [&str; 52] = [
    "amber", "aspen", "basil", "birch", "cedar", "coral", "dawn", "delta", "elm", "ember", "fern",
    "flint", "grove", "gust", "hazel", "heron", "indigo", "iris", "jade", "juniper", "kelp",
    "kite", "lark", "lotus", "maple", "moss", "nectar", "nova", "oak", "onyx", "pearl", "plum",
    "quail", "quartz", "raven", "river", "sage", "slate", "tansy", "tulip", "ultra", "umber",
    "velvet", "violet", "walnut", "willow", "xenon", "xylem", "yarrow", "yew", "zephyr", "zinc",
];

/// Refuses what [`create`] could not create; nothing is created.
///
/// # Errors
/// When the folder is taken, or nothing can be written where it is to be.
pub fn check(config: &TrainConfig) -> Result<()> {
    let wanted = wanted(config);
    let folder = wanted.as_deref().unwrap_or(Path::new(RUNS));
    let named = || match &wanted {
        Some(folder) => given(config, folder),
        None => format!("the folder {RUNS}"),
    };
    match folder.symlink_metadata() {
        Ok(_) if !folder.exists() => bail!("{}: a link to what does not exist", named()),
        Ok(_) if wanted.is_some() => refuse_taken(folder, &named())?,
        Err(error) if error.kind() == ErrorKind::InvalidFilename => bail!("{}: {error}", named()),
        _ => {}
    }
    let absolute = std::path::absolute(folder).with_context(named)?;
    let existing = absolute.ancestors().find(|folder| folder.exists());
    let existing = existing.with_context(|| format!("{}: no such place", named()))?;
    tempfile::tempfile_in(existing).with_context(|| {
        format!(
            "{}: nothing can be written into {}; take another folder with --out",
            named(),
            one_line(existing)
        )
    })?;
    Ok(())
}

/// The folder that the settings ask for, if they do.
fn wanted(config: &TrainConfig) -> Option<PathBuf> {
    let named = config.run.name.as_ref();
    let named = named.map(|name| Path::new(RUNS).join(name));
    config.run.out.clone().or(named)
}

/// How they ask for it.
fn given(config: &TrainConfig, folder: &Path) -> String {
    match &config.run.name {
        Some(name) => format!("--name {name}: {}", one_line(folder)),
        None => format!("--out {}", one_line(folder)),
    }
}

/// Refuses a folder in which another process trains, or that holds anything but what a run left that never came to a
/// checkpoint.
fn refuse_taken(folder: &Path, shown: &str) -> Result<()> {
    ensure!(folder.is_dir(), "{shown}: not a folder");
    if folder.join(lock::NAME).exists() {
        Lock::take(folder)?;
    }
    ensure!(
        checkpoint::latest(folder).is_err(),
        "{shown} already holds a run: resume it with `{} {}`, or take another folder",
        command("train --resume"),
        quoted(folder)
    );
    ensure!(
        is_free(folder)?,
        "{shown} already holds files that are not a resumable run: take another folder, or remove them"
    );
    Ok(())
}

/// Creates the folder of a new run and locks it: the one that the settings ask for, which must not hold anything yet,
/// or the first free one in `runs` with a name of today.
///
/// # Errors
/// When the folder is taken or cannot be created.
pub fn create(config: &TrainConfig) -> Result<(PathBuf, Lock)> {
    check(config)?;
    let creating = |folder: &Path| format!("creating {}", one_line(folder));
    if let Some(folder) = wanted(config) {
        fs::create_dir_all(&folder).with_context(|| creating(&folder))?;
        let lock = Lock::take(&folder)?;
        // Another run may have been here since.
        ensure!(
            is_free(&folder)?,
            "{} was taken meanwhile: take another folder",
            given(config, &folder)
        );
        clear(&folder)?;
        return Ok((folder, lock));
    }
    let runs = Path::new(RUNS);
    fs::create_dir_all(runs).with_context(|| creating(runs))?;
    for name in names(config) {
        let folder = runs.join(name);
        // Creating is the test, so that two runs started together do not share a folder.
        match fs::create_dir(&folder) {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                if !folder.is_dir() || !is_free(&folder)? {
                    continue;
                }
            }
            Err(e) => return Err(e).with_context(|| creating(&folder)),
        }
        if let Some(lock) = Lock::try_take(&folder)?
            && is_free(&folder)?
        {
            clear(&folder)?;
            return Ok((folder, lock));
        }
    }
    unreachable!("the names do not end")
}

/// Names of a run of today, without end.
fn names(config: &TrainConfig) -> impl Iterator<Item = String> {
    let arch = value_name(&config.network.arch);
    let day = jiff::ZonedDateTime::now().date();
    (1_u64..).flat_map(move |round| {
        let arch = arch.clone();
        WORDS.iter().map(move |word| match round {
            1 => format!("{day}-{arch}-{word}"),
            _ => format!("{day}-{arch}-{word}-{round}"),
        })
    })
}

/// Removes the folder of a run that failed before its first checkpoint, so that it does not stand in the way of the
/// next one. A checkpoint keeps it, and so does whatever else was written into it.
pub fn clear_failed(run: &Path, lock: Lock) {
    // An error here would hide the failure itself, and what cannot be removed does no harm.
    if is_free(run).is_ok_and(|free| free) && clear(run).is_ok() {
        drop(lock);
        let _ = fs::remove_file(run.join(lock::NAME));
        let _ = fs::remove_dir(run);
    }
}

/// Whether a folder holds nothing, or no more than a run that ended before its first checkpoint. Without a lock no run
/// was here, and what there is belongs to somebody.
fn is_free(folder: &Path) -> Result<bool> {
    let entries = checkpoint::entries(folder)?;
    let mut checkpoints = checkpoint::entries(&folder.join(checkpoint::FOLDER))?.into_iter();
    let of_a_run = |path: &PathBuf| {
        let named = |name: &str| path.ends_with(name);
        let files = [
            lock::NAME,
            CONFIG,
            EVENTS,
            LOG,
            checkpoint::FOLDER,
            TENSORBOARD,
        ];
        files.into_iter().any(named) || is_leftover(path)
    };
    let locked = entries.iter().any(|path| path.ends_with(lock::NAME));
    Ok(entries.is_empty()
        || locked
            && entries.iter().all(of_a_run)
            && checkpoints.all(|path| is_leftover(&path))
            && checkpoint::leftovers(folder)?.is_empty())
}

/// Removes from a free folder what a run left, but for the lock.
fn clear(folder: &Path) -> Result<()> {
    for path in checkpoint::entries(folder)? {
        if !path.ends_with(lock::NAME) {
            checkpoint::remove(&path)?;
        }
    }
    Ok(())
}

/// Whether a run came to its end after this step, as its events tell. Of a run of an earlier program, which kept none,
/// nothing else is known.
///
/// # Errors
/// When they cannot be read.
pub fn has_ended(run: &Path, step: u64) -> Result<bool> {
    let path = run.join(EVENTS);
    if !path.exists() {
        return Ok(true);
    }
    let reading = || format!("reading {}", one_line(&path));
    for line in BufReader::new(files::open(&path)?).split(b'\n') {
        let line = line.with_context(reading)?;
        // Only few lines of many are looked at more closely.
        if line.starts_with(END)
            && let Ok(end) = serde_json::from_slice::<serde_json::Value>(&line)
            && end["step"] == step
        {
            return Ok(true);
        }
    }
    Ok(false)
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
    let checkpoint = &*checkpoint::named(checkpoint);
    let resolve = || format!("resolving {}", one_line(checkpoint));
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
    if !path.is_file() {
        let shown = one_line(run);
        ensure!(run.exists(), "there is no run {shown}{}", did_you_mean(run));
        match run_of(run)? {
            Some(whole) => bail!(
                "{shown} is a part of a run: resume that by `{} {}`",
                command("train --resume"),
                quoted(&whole)
            ),
            None => bail!("{shown} is not a run's folder: it has no {CONFIG}"),
        }
    }
    // Earlier versions had it so, and did not say it.
    Layer::file(&path)?.or("decay_all", "true")
}
