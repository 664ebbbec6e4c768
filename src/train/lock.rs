//! One process per run: a lock of the operating system on a file in the run's folder. It ends with its process, however
//! that ends.
use crate::files;
use crate::process::one_line;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::Path;
use std::process;
use std::thread::sleep;
use std::time::Duration;

/// The file. It tells the process that holds it, and stays when that one ends.
pub const NAME: &str = ".lock";

/// A run that is this process's alone.
pub struct Lock {
    /// Open as long as the lock is to hold.
    _file: File,
}

impl Lock {
    /// Takes the run in a folder; `None` if another process has it.
    ///
    /// # Errors
    /// When the folder cannot be written, or the lock's name belongs to something that is not a regular file.
    pub fn try_take(run: &Path) -> Result<Option<Lock>> {
        let path = run.join(NAME);
        let shown = one_line(&path);
        // Opening a FIFO of this name would wait for a reader.
        files::check_replaceable(&path)?;
        let opened = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path);
        let mut file = opened.with_context(|| format!("creating {shown}"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // Someone may only be looking whether it is held, for a moment.
                sleep(Duration::from_millis(50));
                if file.try_lock().is_err() {
                    return Ok(None);
                }
            }
            // A file system without locks, as some of networks are.
            Err(TryLockError::Error(error)) if error.kind() == std::io::ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("locking {shown}"));
            }
        }
        let written = file
            .set_len(0)
            .and_then(|()| write!(file, "{}", process::id()));
        written.with_context(|| format!("writing {shown}"))?;
        Ok(Some(Lock { _file: file }))
    }

    /// Takes the run in a folder.
    ///
    /// # Errors
    /// When another process has it, or the folder cannot be written.
    pub fn take(run: &Path) -> Result<Lock> {
        let Some(lock) = Lock::try_take(run)? else {
            bail!(
                "{} is being trained by {}: wait for its end, or stop it",
                one_line(run),
                holder(run)
            );
        };
        Ok(lock)
    }
}

/// Whether a process has the run. Nothing is written.
pub fn is_held(run: &Path) -> bool {
    let path = run.join(NAME);
    // Opening a FIFO of this name would wait for a writer.
    let file = path.is_file().then(|| File::open(&path).ok()).flatten();
    file.is_some_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The process that has the run, as far as its lock can be read.
fn holder(run: &Path) -> String {
    match fs::read_to_string(run.join(NAME)) {
        Ok(id) if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) => {
            format!("process {id}")
        }
        _ => "another process".to_string(),
    }
}
