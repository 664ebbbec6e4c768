//! Pictures in folders: which files there are, of which class and for which split. Nothing is decoded here.
use super::Split;
use crate::process::one_line;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use unicode_normalization::UnicodeNormalization;

/// Names of folders that hold a split, in any case of their letters.
const SPLITS: [(Split, &[&str]); 3] = [
    (Split::Train, &["train", "training"]),
    (Split::Validation, &["val", "valid", "validation"]),
    (Split::Test, &["test", "testing"]),
];

/// What systems and programs leave in folders, besides what begins with a dot.
const LEFT_BEHIND: [&str; 5] = [
    "Thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
    "__MACOSX",
    "$RECYCLE.BIN",
];

/// The files of a data set.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Listing {
    /// The folder that paths are told from.
    pub root: PathBuf,
    /// Names of the classes, sorted.
    pub classes: Vec<String>,
    /// The files of each of [`Split::ALL`], in the order of their examples.
    pub splits: [Vec<File>; 3],
    /// The splits that the folder has, whether there is anything in them or not.
    pub named: Vec<Split>,
    /// What was left out, as systems and programs leave it in folders: names, and how often.
    pub hidden: BTreeMap<String, usize>,
    /// What else was left out: names below the folder, and why.
    pub skipped: Vec<[String; 2]>,
    /// What else the user should know.
    pub notes: Vec<String>,
}

/// A file of a data set.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Its class.
    pub label: u32,
    /// Its bytes.
    pub bytes: u64,
    /// When it was last changed, in nanoseconds since 1970; 0 where the system does not say.
    pub changed: u128,
}

impl File {
    /// The file at a path, of which this is known.
    pub fn new(path: PathBuf, label: u32, metadata: &Metadata) -> File {
        let changed = metadata.modified().ok();
        let changed = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        File {
            path,
            label,
            bytes: metadata.len(),
            changed: changed.map_or(0, |time| time.as_nanos()),
        }
    }
}

impl Listing {
    /// The name of a path in one line, from the folder on.
    pub fn shown(&self, path: &Path) -> String {
        one_line(path.strip_prefix(&self.root).unwrap_or(path).as_os_str())
    }

    /// The images of each class in each split.
    pub fn counts(&self) -> Vec<[usize; 3]> {
        let mut counts = vec![[0; 3]; self.classes.len()];
        for (split, files) in self.splits.iter().enumerate() {
            for file in files {
                counts[file.label as usize][split] += 1;
            }
        }
        counts
    }
}

/// Whether there is a folder in this one that may be a class or a split.
pub fn has_folders(root: &Path) -> bool {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut visible = entries.filter(|entry| !is_hidden(&entry.file_name()));
    visible.any(|entry| entry.path().is_dir())
}

/// Lists `root/train/<class>/…` with `root/val/<class>/…` and `root/test/<class>/…`, or `root/<class>/…`, where all are to
/// train on. Classes are the names of the folders, sorted by their bytes; files are sorted by class, then by name.
///
/// # Errors
/// When a folder cannot be read, two folders are the same split, or no folder is a class.
pub fn list(root: &Path) -> Result<Listing> {
    let mut walk = Walk {
        listing: Listing {
            root: root.to_path_buf(),
            ..Listing::default()
        },
        above: vec![canonical(root)?],
    };
    let top = walk.entries(root)?;
    let folders = |top: &[Entry]| -> Vec<Entry> {
        let folders = top.iter().filter(|entry| entry.is_folder);
        folders.cloned().collect()
    };
    let mut classes: [Vec<Entry>; 3] = Default::default();
    let splits: Vec<(Split, Entry)> = folders(&top)
        .into_iter()
        .filter_map(|entry| Some((split_of(&entry.name)?, entry)))
        .collect();
    let is_train =
        |(split, entry): &&(Split, Entry)| *split == Split::Train && has_folders(&entry.path);
    if splits.iter().any(|split| is_train(&split)) {
        for (split, entry) in splits {
            let at = split as usize;
            if walk.listing.named.contains(&split) {
                bail!(
                    "{}: two folders are the {} images, and one of them is {}: leave one",
                    one_line(root.as_os_str()),
                    split.name(),
                    one_line(&entry.name)
                );
            }
            walk.listing.named.push(split);
            let inner = walk.entries(&entry.path)?;
            walk.outside(&inner);
            classes[at] = folders(&inner);
        }
        let others: Vec<Entry> = top
            .into_iter()
            .filter(|entry| split_of(&entry.name).is_none())
            .collect();
        walk.outside(&others);
        for entry in others.iter().filter(|entry| entry.is_folder) {
            walk.skip(&entry.path, "a folder beside train that is no split");
        }
    } else {
        ensure!(
            splits.is_empty() || splits.len() < folders(&top).len(),
            "{}: there are {}, but no folder train with a folder for each class: make it, or name the folder of the classes \
             itself",
            one_line(root.as_os_str()),
            names(splits.iter().map(|(_, entry)| &entry.name))
        );
        walk.listing.named = vec![Split::Train];
        walk.outside(&top);
        classes[0] = folders(&top);
    }
    // A class has the name that the first folder of it has.
    let mut names: BTreeMap<OsString, OsString> = BTreeMap::new();
    for Entry { name, .. } in classes.iter().flatten() {
        let first: &OsString = names.entry(composed(name)).or_insert_with(|| name.clone());
        let note = format!(
            "folders called {} are written with composed and with decomposed letters, as on macOS: they are one class",
            one_line(first)
        );
        if first != name && !walk.listing.notes.contains(&note) {
            walk.listing.notes.push(note);
        }
    }
    let sorted: BTreeMap<&OsString, &OsString> =
        names.iter().map(|(key, name)| (name, key)).collect();
    walk.listing.classes = sorted.keys().map(one_line).collect();
    let labels: BTreeMap<&OsString, u32> = sorted.into_values().zip(0..).collect();
    for (split, classes) in classes.iter().enumerate() {
        for class in classes {
            walk.class(class, labels[&composed(&class.name)], split)?;
        }
    }
    Ok(walk.listing)
}

/// A name as most systems write it, by which it is known in any writing: macOS likes to write `ä` as `a` and an accent.
pub fn composed(name: &OsStr) -> OsString {
    match name.to_str() {
        Some(name) => name.nfc().collect::<String>().into(),
        None => name.to_os_string(),
    }
}

/// Names of folders as a text lists them.
fn names<'n>(names: impl Iterator<Item = &'n OsString>) -> String {
    names.map(one_line).collect::<Vec<_>>().join(" and ")
}

/// The split that a folder of this name holds, or that a table calls so.
pub fn split_of(name: &OsStr) -> Option<Split> {
    let name = name.to_str()?.to_lowercase();
    let is = |(_, names): &&(Split, &[&str])| names.contains(&name.as_str());
    SPLITS.iter().find(is).map(|(split, _)| *split)
}

/// Whether a file or folder of this name is none of the user's.
fn is_hidden(name: &OsStr) -> bool {
    let is = |known: &&str| name.eq_ignore_ascii_case(known);
    name.as_encoded_bytes().starts_with(b".") || LEFT_BEHIND.iter().any(is)
}

/// What a folder holds, with links followed.
#[derive(Clone)]
struct Entry {
    name: OsString,
    path: PathBuf,
    metadata: Metadata,
    is_folder: bool,
}

struct Walk {
    listing: Listing,
    /// Where the folders really are that one is in, so that a link back to one of them is found.
    above: Vec<PathBuf>,
}

impl Walk {
    /// What is to be looked at in a folder, in the order of the names. The rest is taken note of.
    fn entries(&mut self, folder: &Path) -> Result<Vec<Entry>> {
        let reading = || format!("reading the folder {}", one_line(folder.as_os_str()));
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder).with_context(reading)? {
            let entry = entry.with_context(reading)?;
            let (name, path) = (entry.file_name(), entry.path());
            if is_hidden(&name) {
                *self.listing.hidden.entry(one_line(&name)).or_default() += 1;
                continue;
            }
            let is_link = entry.file_type().with_context(reading)?.is_symlink();
            let metadata = match is_link {
                true => fs::metadata(&path),
                false => entry.metadata(),
            };
            match metadata {
                Ok(metadata) => entries.push(Entry {
                    is_folder: metadata.is_dir(),
                    name,
                    path,
                    metadata,
                }),
                Err(error) => self.skip(&path, &format!("a link that leads nowhere: {error}")),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn skip(&mut self, path: &Path, why: &str) {
        let shown = self.listing.shown(path);
        self.listing.skipped.push([shown, why.to_string()]);
    }

    /// Takes note of the files that are in no folder of a class.
    fn outside(&mut self, entries: &[Entry]) {
        for entry in entries.iter().filter(|entry| !entry.is_folder) {
            self.skip(&entry.path, "in no folder of a class");
        }
    }

    /// The files below the folder of a class, however deep.
    fn class(&mut self, folder: &Entry, label: u32, split: usize) -> Result<()> {
        let real = canonical(&folder.path)?;
        // Also above the data set, where everything on the disk would be found.
        if self.above.iter().any(|place| place.starts_with(&real)) {
            let back = format!(
                "a loop of links: it leads back to {}",
                one_line(real.as_os_str())
            );
            self.skip(&folder.path, &back);
            return Ok(());
        }
        self.above.push(real);
        for entry in self.entries(&folder.path)? {
            if entry.is_folder {
                self.class(&entry, label, split)?;
            } else if entry.metadata.is_file() {
                let file = File::new(entry.path, label, &entry.metadata);
                self.listing.splits[split].push(file);
            } else {
                self.skip(&entry.path, "not a regular file");
            }
        }
        self.above.pop();
        Ok(())
    }
}

fn canonical(folder: &Path) -> Result<PathBuf> {
    let real = fs::canonicalize(folder);
    real.with_context(|| format!("reading the folder {}", one_line(folder.as_os_str())))
}
