//! Files that are either whole or absent, whenever the power fails; and those that are read, of a size that fits them.
use crate::process::one_line;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::Path;

/// Refuses a path that a file cannot take by renaming: what is there must be a regular file, or nothing. A device or a
/// FIFO would be gone for everybody, and a symbolic link may point at what somebody else keeps.
///
/// # Errors
/// When something else is there, which the error names.
pub fn check_replaceable(path: &Path) -> Result<()> {
    let shown = one_line(path);
    let there = match fs::symlink_metadata(path) {
        Ok(there) => there.file_type(),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            ensure!(
                folder.is_dir(),
                "there is no folder {}: make it, or name a file in another one",
                one_line(folder)
            );
            return Ok(());
        }
        Err(error) => return Err(error).with_context(|| format!("looking at {shown}")),
    };
    if there.is_symlink() {
        let target = fs::read_link(path).unwrap_or_default();
        bail!(
            "{shown} is a symbolic link to {}, which is not replaced: name that file itself, or one that does not \
             exist yet",
            one_line(&target)
        );
    }
    ensure!(
        there.is_file(),
        "{shown} is {}, which is not replaced: name a regular file, or one that does not exist yet",
        kind(there)
    );
    Ok(())
}

/// Opens a file to be read. Only regular files: a FIFO would be waited for, and a device may never end.
///
/// # Errors
/// When it cannot be opened, or is not a regular file.
pub fn open(path: &Path) -> Result<File> {
    let refuse = |found: FileType| -> Result<()> {
        ensure!(
            found.is_file(),
            "{} is {}: only regular files are read",
            one_line(path),
            kind(found)
        );
        Ok(())
    };
    let reading = || format!("reading {}", one_line(path));
    // First by its name, since opening alone acts on some devices; then what was opened.
    refuse(fs::metadata(path).with_context(reading)?.file_type())?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(
        &mut options,
        rustix::fs::OFlags::NONBLOCK.bits() as i32,
    );
    let file = options.open(path).with_context(reading)?;
    refuse(file.metadata().with_context(reading)?.file_type())?;
    Ok(file)
}

/// The bytes of a regular file that has at most so many.
///
/// # Errors
/// When it cannot be read, is not a regular file or larger.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let too_large = || {
        format!(
            "{} is too large: at most {most} bytes are read of such a file",
            one_line(path)
        )
    };
    let file = open(path)?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    ensure!(size <= most, too_large());
    let mut bytes = Vec::new();
    let read = bytes
        .try_reserve_exact(size as usize)
        .map_err(|_| io::Error::from(ErrorKind::OutOfMemory))
        .and_then(|()| file.take(most + 1).read_to_end(&mut bytes));
    read.with_context(|| format!("reading {}", one_line(path)))?;
    ensure!(bytes.len() as u64 <= most, too_large());
    Ok(bytes)
}

/// The same; nothing where there is no such file.
///
/// # Errors
/// As [`read`].
pub fn read_if_there(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    match read(path, most) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => match error.downcast_ref::<io::Error>() {
            Some(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
            _ => Err(error),
        },
    }
}

/// What people call something that is not a regular file.
fn kind(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.is_fifo() {
            return "a FIFO";
        }
        if found.is_char_device() || found.is_block_device() {
            return "a device";
        }
        if found.is_socket() {
            return "a socket";
        }
    }
    match found.is_dir() {
        true => "a folder",
        false => "not a regular file",
    }
}

/// Writes bytes so that the file holds either all of them or what it held before.
///
/// # Errors
/// When the disk fails, or [`check_replaceable`] refuses what is there.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_by(path, ".tmp", |file| {
        let written = file.write_all(bytes);
        written.with_context(|| format!("writing {}", one_line(path)))
    })
}

/// The same with what `write` writes, for what does not fit the memory. Until it is whole, the file's name begins with
/// `prefix`.
///
/// # Errors
/// As [`replace`], and when `write` fails.
pub fn replace_by(
    path: &Path,
    prefix: &str,
    write: impl FnOnce(&mut File) -> Result<()>,
) -> Result<()> {
    check_replaceable(path)?;
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    // Readable for others as far as the user's umask lets them, like any file that is not temporary.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder
        .tempfile_in(folder)
        .with_context(|| format!("creating a file in {}", one_line(folder)))?;
    write(file.as_file_mut())?;
    file.as_file()
        .sync_all()
        .with_context(|| format!("writing {}", one_line(path)))?;
    file.persist(path)
        .with_context(|| format!("writing {}", one_line(path)))?;
    sync_folder(folder)
}

/// Opens a file to be written on at its end, and makes it if it is not there.
///
/// # Errors
/// When the disk fails, or [`check_replaceable`] refuses what is there.
pub fn append(path: &Path) -> Result<File> {
    check_replaceable(path)?;
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.with_context(|| format!("writing {}", one_line(path)))
}

/// Writes a new file and waits until it is on the disk.
///
/// # Errors
/// When the disk fails, or there is such a file already.
pub fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = File::create_new(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("writing {}", one_line(path)))
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
    sync().with_context(|| format!("syncing {}", one_line(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{metadata, read_dir};

    #[test]
    fn a_file_is_replaced_with_the_permissions_of_any_other() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["replaced", "other"].map(|name| folder.path().join(name));
        std::fs::write(&other, b"").unwrap();
        replace(&path, b"old").unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"new");
        let permissions = |path: &Path| metadata(path).unwrap().permissions();
        assert_eq!(permissions(&path), permissions(&other));
        assert_eq!(read_dir(folder.path()).unwrap().count(), 2);
    }

    /// A FIFO, a symbolic link to a file and one to nothing, a device and a folder.
    #[cfg(unix)]
    fn irregular(folder: &Path) -> Vec<std::path::PathBuf> {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        let [fifo, link, dangling, device, inner] =
            ["fifo", "link", "dangling", "device", "folder"].map(|name| folder.join(name));
        let kept = folder.join("kept");
        std::fs::write(&kept, b"keep").unwrap();
        let mode = Mode::from_raw_mode(0o666);
        mknodat(CWD, &fifo, FileType::Fifo, mode, 0).unwrap();
        std::os::unix::fs::symlink(&kept, &link).unwrap();
        std::os::unix::fs::symlink(folder.join("nothing"), &dangling).unwrap();
        std::fs::create_dir(&inner).unwrap();
        let mut all = vec![fifo, link, dangling, inner];
        // Only root may make a device: a copy of /dev/full.
        if mknodat(CWD, &device, FileType::CharacterDevice, mode, makedev(1, 7)).is_ok() {
            all.push(device);
        }
        all
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        for path in irregular(folder.path()) {
            let before = std::fs::symlink_metadata(&path).unwrap().file_type();
            let error = replace(&path, b"new").unwrap_err().to_string();
            assert!(
                error.contains("is not replaced") && error.contains(path.to_str().unwrap()),
                "{error}"
            );
            assert!(write_synced(&path, b"new").is_err());
            let after = std::fs::symlink_metadata(&path).unwrap().file_type();
            assert_eq!(before, after);
        }
        assert_eq!(read(&folder.path().join("kept"), 9).unwrap(), b"keep");
        assert!(!folder.path().join("nothing").exists());
        // A new file is new.
        let error = write_synced(&folder.path().join("kept"), b"new").unwrap_err();
        assert!(format!("{error:#}").contains("kept"), "{error:#}");
    }

    #[cfg(unix)]
    #[test]
    fn only_regular_files_of_a_fitting_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        for path in irregular(folder.path()) {
            if path.ends_with("link") {
                assert_eq!(read(&path, 4).unwrap(), b"keep");
                continue;
            }
            let error = read(&path, 9).unwrap_err();
            let dangling = path.ends_with("dangling");
            let word = if dangling { "reading" } else { "only regular" };
            assert!(format!("{error:#}").contains(word), "{error:#}");
            assert_eq!(read_if_there(&path, 9).is_ok(), dangling);
        }
        let error = read(&folder.path().join("kept"), 3).unwrap_err();
        assert!(error.to_string().contains("at most 3 bytes"), "{error}");
    }
}
