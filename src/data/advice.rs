//! What is said of a place that holds no data set, but what people take for one.
use super::known::{FASHION_MNIST, IDX, SETS};
use super::listing::is_called_picture;
use crate::process::{command, one_line, quoted};
use anyhow::{Error, anyhow};
use std::fs;
use std::path::{Path, PathBuf};

/// Endings of tables.
const TABLES: [&str; 3] = ["csv", "tsv", "txt"];

/// Endings of archives.
const ARCHIVES: [&str; 8] = ["zip", "tar", "tgz", "gz", "bz2", "xz", "7z", "zst"];

/// The most entries of a folder that are looked at.
const LOOKED_AT: usize = 10_000;

/// What is said of a path that holds no data set: what it seems to be instead.
pub fn refusal(path: &Path) -> Error {
    let shown = one_line(path.as_os_str());
    let wanted = format!(
        "data are a name ({}), pictures in a folder for each class (DIR/train/CLASS with DIR/val or DIR/test, or DIR/CLASS), pictures with \
         a table of their classes (--labels), the four IDX files of Fashion-MNIST or another set of that form ({}), or the \
         binary version of CIFAR-10. Get Fashion-MNIST by `{}`, or take --data sample",
        SETS.map(|set| set.name).join(", "),
        IDX.join(", "),
        command("fetch")
    );
    if !path.is_dir() {
        return match () {
            () if !path.exists() => anyhow!(
                "the data folder {shown} does not exist. {}",
                FASHION_MNIST.advice()
            ),
            () if ending_is(path, &ARCHIVES) => {
                anyhow!("--data {shown} is an archive to be unpacked, not a folder: {wanted}")
            }
            () if ending_is(path, &TABLES) => anyhow!(
                "--data {shown} is a table, not a folder: name the folder of the pictures by --data DIR, and the table by \
                 --labels {}",
                quoted(path)
            ),
            () => anyhow!("--data {shown} is a file, not a folder: {wanted}"),
        };
    }
    let entries = entries(path);
    let holds = |is: &dyn Fn(&Path) -> bool| entries.iter().any(|entry| is(entry));
    let is_python = |entry: &PathBuf| {
        let name = entry.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| ["data_batch_1", "cifar-10-batches-py"].contains(&name))
    };
    let seems = match () {
        () if holds(&is_called_picture) => {
            "has pictures, but no folder for each class: put them into such folders, or name a table of their classes by \
             --labels"
        }
        () if entries.iter().any(is_python) => {
            "has CIFAR's version for Python, which is not read: take the binary version"
        }
        () if holds(&|entry| ending_is(entry, &ARCHIVES)) => "has archives to be unpacked",
        () if entries.is_empty() => "is empty",
        () => "has none of what data are",
    };
    anyhow!("--data {shown} {seems}: {wanted}, or on Debian by the package dataset-fashion-mnist")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let list = fs::read_dir(folder).into_iter().flatten().take(LOOKED_AT);
    list.flatten().map(|entry| entry.path()).collect()
}

fn ending_is(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| endings.contains(&ending.to_ascii_lowercase().as_str()))
}
