//! What is said of a place that holds no data set of the MNIST family, but what people take for one.
use crate::process::command;
use anyhow::{Result, ensure};
use std::fs;
use std::path::Path;

/// Endings of pictures.
const PICTURES: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff"];

/// Endings of archives.
const ARCHIVES: [&str; 8] = ["zip", "tar", "tgz", "gz", "bz2", "xz", "7z", "zst"];

/// The most entries of a folder that are looked at.
const LOOKED_AT: usize = 10_000;

/// Refuses what is not a folder, and a folder that has none of these files, saying what it seems to be.
///
/// # Errors
/// When it is no folder with one of the files.
pub fn check_folder(path: &Path, names: &[&str]) -> Result<()> {
    let shown = path.display();
    let wanted = format!(
        "data are the four files of Fashion-MNIST, or of another set of that form ({}), gzipped with .gz behind their \
         names or not. Get them by `{}`, or take --data sample",
        names.join(", "),
        command("fetch")
    );
    ensure!(
        path.is_dir(),
        "--data {shown} is {}, not a folder: {wanted}",
        match ending_is(path, &ARCHIVES) && !is_one_of(path, names) {
            true => "an archive to be unpacked",
            false => "a file",
        }
    );
    let entries = entries(path);
    if entries.iter().any(|entry| is_one_of(entry, names)) {
        return Ok(());
    }
    let is_picture = |path: &Path| ending_is(path, &PICTURES);
    let holds = |is: &dyn Fn(&Path) -> bool| entries.iter().any(|entry| is(entry));
    // As torchvision's ImageFolder has them, a folder a class.
    let in_folders = |entry: &Path| {
        entry.is_dir()
            && self::entries(entry)
                .iter()
                .any(|e| e.is_dir() || is_picture(e))
    };
    let is_cifar = |entry: &Path| {
        let name = entry.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| {
            ["data_batch_", "test_batch", "cifar-10"]
                .iter()
                .any(|start| name.starts_with(start))
        })
    };
    let seems = match () {
        () if holds(&is_cifar) => "has the files of CIFAR, which are not supported",
        () if holds(&is_picture) => {
            "is a folder of pictures, which are not supported as data to train on (`resnet predict` takes them)"
        }
        () if holds(&in_folders) => {
            "is a folder of folders, as pictures by class are kept, which are not supported as data to train on"
        }
        () if holds(&|entry| ending_is(entry, &ARCHIVES)) => "has archives to be unpacked",
        () if entries.is_empty() => "is empty",
        () => "has none of the files",
    };
    anyhow::bail!(
        "--data {shown} {seems}: {wanted}, or on Debian by the package dataset-fashion-mnist"
    )
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let list = fs::read_dir(folder).into_iter().flatten().take(LOOKED_AT);
    list.flatten().map(|entry| entry.path()).collect()
}

fn ending_is(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.contains(&ending.to_ascii_lowercase().as_str()))
}

fn is_one_of(path: &Path, names: &[&str]) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| names.contains(&name.strip_suffix(".gz").unwrap_or(name)))
}
