//! A table of pictures and their classes, as a CSV or TSV file.
use super::Split;
use super::folder::{File, Listing, composed, split_of};
use crate::files;
use crate::process::one_line;
use anyhow::{Context, Result, bail, ensure};
use csv::{ByteRecord, ReaderBuilder};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The most bytes of a table: some ten million rows.
const MOST_BYTES: u64 = 1 << 30;

/// What the columns are called in a first row that names them.
const PATHS: [&str; 6] = ["path", "file", "filename", "file_name", "image", "picture"];
const LABELS: [&str; 3] = ["label", "class", "category"];
const SPLITS: [&str; 2] = ["split", "set"];

/// Where the columns are.
struct Columns {
    path: usize,
    label: usize,
    split: Option<usize>,
}

/// Lists the pictures of a table, in the order of its rows: `path,label`, or the columns that its first row names, which may
/// be `split` too (train, val or test). Paths are told from `root` on. Fields are separated by tabs where the first row has
/// one, else by commas.
///
/// # Errors
/// When the table cannot be read, a row lacks a field or has a split that is none, or two rows give one picture two classes.
pub fn list(table: &Path, root: &Path) -> Result<Listing> {
    let shown = one_line(table.as_os_str());
    let bytes = files::read(table, MOST_BYTES)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(if first.contains(&b'\t') { b'\t' } else { b',' })
        .from_reader(text);
    let mut rows = reader.byte_records();
    let row = |row: Option<Result<ByteRecord, csv::Error>>| {
        row.transpose().with_context(|| shown.clone())
    };
    let first =
        row(rows.next())?.with_context(|| format!("{shown} is empty: its rows are path,label"))?;
    let (columns, mut next) = match columns(&first).with_context(|| shown.clone())? {
        Some(columns) => (columns, None),
        None => (
            Columns {
                path: 0,
                label: 1,
                split: None,
            },
            Some(first),
        ),
    };
    let mut listing = Listing {
        root: root.to_path_buf(),
        named: vec![Split::Train],
        ..Listing::default()
    };
    // The classes get their numbers once all are known.
    let mut found: Vec<(Split, PathBuf, Vec<u8>)> = Vec::new();
    let mut of_path: HashMap<PathBuf, Vec<u8>> = HashMap::new();
    while let Some(record) = match next.take() {
        Some(first) => Some(first),
        None => row(rows.next())?,
    } {
        let line = record.position().map_or(0, csv::Position::line);
        let field = |at: usize, what: &str| {
            let field = record
                .get(at)
                .filter(|field| !field.trim_ascii().is_empty());
            field.with_context(|| {
                format!("{shown}, line {line}: it has no {what}; a row is path,label")
            })
        };
        let path = root.join(os(field(columns.path, "path")?.to_vec())?);
        let label = os(field(columns.label, "label")?.trim_ascii().to_vec())?;
        let label = composed(&label).into_encoded_bytes();
        let split = match columns.split {
            Some(at) => {
                let name = os(field(at, "split")?.trim_ascii().to_vec())?;
                split_of(&name).with_context(|| {
                    format!(
                        "{shown}, line {line}: the split {} is none of train, val and test",
                        one_line(&name)
                    )
                })?
            }
            None => Split::Train,
        };
        if let Some(other) = of_path
            .insert(path.clone(), label.clone())
            .filter(|other| *other != label)
        {
            bail!(
                "{shown}, line {line}: {} has the class {}, but in a line before it is {}",
                listing.shown(&path),
                one_line(&os(label)?),
                one_line(&os(other)?)
            );
        }
        if !listing.named.contains(&split) {
            listing.named.push(split);
        }
        found.push((split, path, label));
    }
    let sorted: BTreeSet<Vec<u8>> = found.iter().map(|(.., label)| label.clone()).collect();
    for name in &sorted {
        listing.classes.push(one_line(&os(name.clone())?));
    }
    let labels: BTreeMap<&Vec<u8>, u32> = sorted.iter().zip(0..).collect();
    for (split, path, label) in &found {
        let label = labels[label];
        let file = match fs::metadata(path) {
            Ok(metadata) => File::new(path.clone(), label, &metadata),
            // It is told among the files that cannot be read.
            Err(_) => File {
                path: path.clone(),
                label,
                bytes: 0,
                changed: 0,
            },
        };
        listing.splits[*split as usize].push(file);
    }
    Ok(listing)
}

/// The columns that a first row names; `None` where it is a row as all others.
fn columns(first: &ByteRecord) -> Result<Option<Columns>> {
    let is = |field: &[u8], names: &[&str]| {
        let field = field.trim_ascii().to_ascii_lowercase();
        names.iter().any(|name| name.as_bytes() == field)
    };
    let find = |names: &[&str]| first.iter().position(|field| is(field, names));
    match (find(&PATHS), find(&LABELS)) {
        (Some(path), Some(label)) => Ok(Some(Columns {
            path,
            label,
            split: find(&SPLITS),
        })),
        _ => {
            ensure!(
                first.len() == 2,
                "its first row has {} fields: rows are path,label, or the first row names the columns path, label and, where \
                 there is one, split",
                first.len()
            );
            Ok(None)
        }
    }
}

/// Bytes of a table as a name that the system knows.
#[cfg(unix)]
fn os(bytes: Vec<u8>) -> Result<OsString> {
    Ok(std::os::unix::ffi::OsStringExt::from_vec(bytes))
}

/// Bytes of a table as a name that the system knows.
#[cfg(not(unix))]
fn os(bytes: Vec<u8>) -> Result<OsString> {
    let text = String::from_utf8(bytes);
    Ok(text.context("a table must be UTF-8")?.into())
}
