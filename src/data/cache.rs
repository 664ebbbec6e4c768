//! Pictures made into images, once: what they become is kept in a file of the cache until the pictures change.
use super::check::{self, Allowed};
use super::decode;
use super::folder::{File, Listing};
use super::found::Found;
use super::listing::is_called_picture;
use super::preprocess::{Fit, Preprocess};
use super::source::{ImageSource, Split};
use super::square::square;
use super::store::{self, Header, MAGIC, Store};
use crate::files;
use crate::process::{detail, one_line};
use anyhow::{Context, Result, bail};
use image::GenericImageView;
use rayon::prelude::*;
use sha2::{Digest, Sha256};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What the name of such a file ends with, and that of one that is not whole begins with.
const ENDING: &str = "images";
const BEGUN: &str = ".images-";

/// A file begun before this time was left by a process that ended.
const LEFT: Duration = Duration::from_secs(24 * 60 * 60);

/// The most bytes of images that are made at once.
const AT_ONCE: usize = 64 << 20;

/// What is to be made of pictures.
#[derive(Clone, PartialEq, Debug)]
pub struct Wanted {
    /// What happens to images before the network sees them.
    pub preprocess: Preprocess,
    /// How they become squares.
    pub fit: Fit,
    /// Channels; otherwise one where all pictures are grey, and three where one is not.
    pub channels: Option<usize>,
}

/// The images of a listing: those of the cache where nothing has changed, else decoded now. `progress` sees how many of how
/// many files are done. The info has neither name nor notes yet.
///
/// # Errors
/// When more files than `allowed` are broken, or the disk fails.
pub fn open(
    mut listing: Listing,
    wanted: &Wanted,
    allowed: Allowed,
    cache: &Path,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Store> {
    let path = cache.join(name(&listing, wanted));
    let mut store = match store::read(&path) {
        Ok(store) => store,
        Err(error) => {
            if path.exists() {
                detail(format_args!("{error:#}: it is made anew"));
            }
            let others = drop_others(&mut listing);
            write(&path, &listing, others, wanted, allowed, progress)?;
            store::read(&path)?
        }
    };
    let images: usize = Split::ALL.map(|split| store.len(split)).iter().sum();
    let info = store.info_mut();
    info.classes = listing.classes;
    let Some(found) = &mut info.found else {
        bail!("{}: what was found is missing", one_line(&path));
    };
    let of = one_line(listing.root.as_os_str());
    found.hidden = listing.hidden;
    found.skipped = listing.skipped;
    found.cache = path;
    let all = found.broken.len() + images;
    check::broken(&of, &found.broken, all, allowed)?;
    Ok(store)
}

/// The name of the file: of the place and the settings, and of all that decides what is in it.
fn name(listing: &Listing, wanted: &Wanted) -> String {
    let Wanted {
        preprocess,
        fit,
        channels,
    } = wanted;
    let (side, size) = (preprocess.resized(), preprocess.size);
    let settings = format!("{side} {size} {fit:?} {channels:?}");
    let mut place = Sha256::new();
    let mut content = Sha256::new();
    let field = |of: &mut Sha256, bytes: &[u8]| {
        of.update((bytes.len() as u64).to_le_bytes());
        of.update(bytes);
    };
    field(&mut place, listing.root.as_os_str().as_encoded_bytes());
    field(&mut place, settings.as_bytes());
    field(&mut content, MAGIC);
    for class in &listing.classes {
        field(&mut content, class.as_bytes());
    }
    for (split, file) in each(listing) {
        let below = file.path.strip_prefix(&listing.root).unwrap_or(&file.path);
        field(&mut content, below.as_os_str().as_encoded_bytes());
        content.update([split as u8]);
        content.update(file.label.to_le_bytes());
        content.update(file.bytes.to_le_bytes());
        content.update(file.changed.to_le_bytes());
    }
    let hex = |hash: Sha256, bytes: usize| -> String {
        let hash = hash.finalize();
        hash[..bytes]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    format!("{}-{}.{ENDING}", hex(place, 6), hex(content, 12))
}

fn each(listing: &Listing) -> impl Iterator<Item = (usize, &File)> {
    let splits = listing.splits.iter().enumerate();
    splits.flat_map(|(split, files)| files.iter().map(move |file| (split, file)))
}

/// Takes the files out of a listing that neither are called pictures nor are some, and returns their names.
fn drop_others(listing: &mut Listing) -> Vec<String> {
    let mut others = Vec::new();
    let mut splits = std::mem::take(&mut listing.splits);
    for files in &mut splits {
        files.retain(|file| {
            let is = is_called_picture(&file.path) || decode::looks_like_one(&file.path);
            if !is {
                others.push(listing.shown(&file.path));
            }
            is
        });
    }
    listing.splits = splits;
    others
}

/// What a picture becomes.
struct Made {
    pixels: Vec<u8>,
    format: String,
    size: [u32; 2],
}

fn make(file: &File, channels: usize, wanted: &Wanted) -> Result<Made> {
    let decoded = decode::read(&file.path)?;
    let (width, height) = decoded.picture.dimensions();
    let format = format!("{:?}", decoded.format).to_uppercase();
    let pixels = square(decoded.picture, channels, wanted.fit, &wanted.preprocess);
    Ok(Made {
        pixels,
        format,
        size: [width, height],
    })
}

/// Decodes all files and writes what they become.
fn write(
    path: &Path,
    listing: &Listing,
    others: Vec<String>,
    wanted: &Wanted,
    allowed: Allowed,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<()> {
    let folder = path.parent().context("the cache is a folder")?;
    let kept = |mend: &str| {
        format!(
            "the images of {} are kept in {}: {mend}, or name another cache by the variable XDG_CACHE_HOME",
            one_line(listing.root.as_os_str()),
            one_line(folder)
        )
    };
    let instead = || kept("make room there");
    fs::create_dir_all(folder).with_context(|| kept("let this folder be made"))?;
    clear(folder);
    let files: Vec<(usize, &File)> = each(listing).collect();
    let coloured = || {
        files
            .iter()
            .any(|(_, file)| decode::has_colours(&file.path) == Some(true))
    };
    let channels = wanted
        .channels
        .unwrap_or_else(|| if coloured() { 3 } else { 1 });
    let size = wanted.preprocess.resized();
    let at_once = (AT_ONCE / (size * size * channels)).clamp(rayon::current_num_threads(), 256);
    let mut header = Header {
        size,
        channels,
        counts: [0; 3],
        found: Found {
            others,
            ..Found::default()
        },
    };
    let mut tail = (Vec::new(), Vec::new());
    let of = one_line(listing.root.as_os_str());
    files::replace_by(path, BEGUN, |out| {
        let mut done = 0;
        for some in files.chunks(at_once) {
            let made: Vec<Result<Made>> = some
                .par_iter()
                .map(|(_, file)| make(file, channels, wanted))
                .collect();
            for ((split, file), made) in some.iter().zip(made) {
                match made {
                    Ok(made) => {
                        header.counts[*split] += 1;
                        header.found.count(made.format, made.size);
                        tail.0.extend(file.label.to_le_bytes());
                        tail.1.extend_from_slice(&Sha256::digest(&made.pixels)[..8]);
                        out.write_all(&made.pixels).with_context(instead)?;
                    }
                    Err(why) => {
                        let why = one_line(format!("{why:#}"));
                        header.found.broken.push([listing.shown(&file.path), why]);
                    }
                }
            }
            done += some.len();
            progress(done, files.len());
            // No more time is spent on what is refused in any case.
            check::broken(&of, &header.found.broken, files.len(), allowed)?;
        }
        store::finish(out, &header, &tail.0, &tail.1).with_context(instead)
    })?;
    forget(path);
    Ok(())
}

/// Removes what processes left here that were killed. What cannot be removed is left.
fn clear(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let begun = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(BEGUN.as_bytes());
        let changed = entry.metadata().and_then(|metadata| metadata.modified());
        let age = changed.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
        if begun && age.is_ok_and(|age| age > LEFT) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the files that were made of the same folder, with the same settings, before it changed.
fn forget(path: &Path) {
    let name = |path: &Path| {
        path.file_name()
            .map(|name| name.to_string_lossy().into_owned())
    };
    let (Some(folder), Some(own)) = (path.parent(), name(path)) else {
        return;
    };
    let Some((place, _)) = own.split_once('-') else {
        return;
    };
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let other = entry.path();
        let is_older = name(&other).is_some_and(|name| {
            name != own && name.starts_with(&format!("{place}-")) && name.ends_with(ENDING)
        });
        if is_older {
            let _ = fs::remove_file(other);
        }
    }
}
