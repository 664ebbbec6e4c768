//! What a folder of pictures held: what was taken of it, and what was left out and why.
use crate::process::command;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What a folder of pictures held.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Found {
    /// How many pictures of each format there are.
    pub formats: BTreeMap<String, usize>,
    /// Width and height of the picture with the fewest pixels.
    pub smallest: [u32; 2],
    /// Width and height of the one with the most.
    pub largest: [u32; 2],
    /// Files that should be pictures and cannot be read, and why.
    pub broken: Vec<[String; 2]>,
    /// Files that are no pictures.
    pub others: Vec<String>,
    /// What systems leave in folders: names, and how often.
    #[serde(skip)]
    pub hidden: BTreeMap<String, usize>,
    /// What else was left out, and why.
    #[serde(skip)]
    pub skipped: Vec<[String; 2]>,
    /// The file of the cache.
    #[serde(skip)]
    pub cache: PathBuf,
}

impl Found {
    /// What people should know of what was left out.
    pub(super) fn note(&self) -> Option<String> {
        let first = |all: &[[String; 2]]| {
            all.first()
                .map_or(String::new(), |[path, why]| format!("{path}: {why}"))
        };
        let list = format!("`{} DIR` lists all", command("data"));
        match (self.broken.len(), self.skipped.len() + self.others.len()) {
            (0, 0) => None,
            (0, 1) if self.others.is_empty() => Some(format!("left out: {}", first(&self.skipped))),
            (0, others) => Some(format!(
                "{others} files that are no pictures of a class are left out; {list}"
            )),
            (1, _) => Some(format!(
                "a picture cannot be read and is left out: {}",
                first(&self.broken)
            )),
            (broken, _) => Some(format!(
                "{broken} pictures cannot be read and are left out, such as {}; {list}",
                first(&self.broken)
            )),
        }
    }

    /// Counts a picture of this format, width and height in.
    pub(super) fn count(&mut self, format: String, size: [u32; 2]) {
        *self.formats.entry(format).or_default() += 1;
        let pixels = |[w, h]: [u32; 2]| u64::from(w) * u64::from(h);
        if self.smallest == [0; 2] || pixels(size) < pixels(self.smallest) {
            self.smallest = size;
        }
        if pixels(size) > pixels(self.largest) {
            self.largest = size;
        }
    }
}
