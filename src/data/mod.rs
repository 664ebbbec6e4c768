//! Data sets: what one is, pictures in folders, sets that have names and where they are looked for, the order of the
//! examples, their augmentation, and pictures of other people's.
mod advice;
mod augment;
mod by_name;
mod cache;
mod check;
mod cifar;
mod colour;
mod decode;
mod divided;
pub mod fetch;
mod folder;
mod found;
mod idx;
mod jpeg;
mod known;
mod labels;
mod listing;
mod mnist;
mod picture;
mod prefetch;
mod preprocess;
mod sampler;
mod source;
mod square;
mod store;
#[cfg(test)]
mod tests;

pub use augment::{Augmentation, Flip};
pub use by_name::{by_name, place};
pub use cache::Wanted;
pub use check::{Allowed, check, counts};
pub use colour::{fit, read_colour};
pub use divided::Divided;
pub use found::Found;
pub use known::{FASHION_MNIST, SETS, Set, is_name, set};
pub use listing::pictures;
pub use mnist::sample;
pub use picture::{Background, Picture};
pub use prefetch::Prefetch;
pub use preprocess::{Fit, MEANS, Preprocess, STDS, listed};
pub use sampler::Sampler;
pub use source::{Dataset, Examples, ImageSource, Info, Kind, Split, shared};
pub use square::read_square;

use crate::process::one_line;
use anyhow::{Context, Result, bail};
use folder::Listing;
use known::{SAMPLE, cache_base, find};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where images come from.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Request<'a> {
    /// The name of a set, `sample` or a folder; absent, Fashion-MNIST.
    pub data: Option<&'a str>,
    /// A table of pictures and their classes.
    pub labels: Option<&'a Path>,
    /// What the user lets pass.
    pub allowed: Allowed,
}

/// Loads what is asked for: a set that has a name, from Debian's folder or the cache, or a folder of any kind. Of pictures it
/// is made what is `wanted`, and `progress` sees how many of how many are done.
///
/// # Errors
/// When there is no data, a file is not what its name says, or pictures are not what can be trained on.
pub fn load(
    request: Request,
    wanted: &Wanted,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Arc<dyn ImageSource>> {
    let Request {
        data,
        labels,
        allowed,
    } = request;
    if let Some(table) = labels {
        let folder = data
            .map(Path::new)
            .or(table.parent())
            .unwrap_or(Path::new(""));
        let root = std::path::absolute(folder.join("")).context("the folder of the pictures")?;
        let listing = labels::list(table, &root)?;
        return pictures_of(listing, Kind::Table, wanted, allowed, progress);
    }
    let folder = match data {
        Some(SAMPLE) => return Ok(Arc::new(sample()?)),
        None => return Ok(Arc::new(named(&FASHION_MNIST)?)),
        Some(data) => match known::set(data) {
            Some(set) => return Ok(Arc::new(named(set)?)),
            None => Path::new(data),
        },
    };
    if !folder.is_dir() {
        return Err(advice::refusal(folder));
    }
    if mnist::is_in(folder) {
        return Ok(Arc::new(mnist::load(folder, None)?));
    }
    if let Some(folder) = cifar::find(folder) {
        return Ok(Arc::new(cifar::load(&folder)?));
    }
    if folder::has_folders(folder) {
        let listing = folder::list(&std::path::absolute(folder).context("the data folder")?)?;
        return pictures_of(listing, Kind::Folder, wanted, allowed, progress);
    }
    Err(advice::refusal(folder))
}

/// A set that has a name, from the first of its places that has it.
///
/// # Errors
/// When none has, or a file is not the set's.
fn named(set: &'static Set) -> Result<Dataset> {
    let read = |folder: &Path| match set.archive {
        Some(_) => cifar::load(folder),
        None => mnist::load(folder, Some(set)),
    };
    let folders = set.folders()?;
    // A folder that lacks some files is read only for the error that names them.
    let begun = |folder: &&PathBuf| {
        set.files
            .iter()
            .any(|known| find(folder, known.name).is_some())
    };
    let whole = folders.iter().find(|folder| set.is_in(folder));
    match whole.or(folders.iter().rev().find(begun)) {
        Some(folder) => read(folder),
        None => bail!(
            "{} is neither in {} nor in {}. {}",
            set.title,
            one_line(&folders[0]),
            one_line(&folders[1]),
            set.advice()
        ),
    }
}

/// The images of pictures.
fn pictures_of(
    listing: Listing,
    kind: Kind,
    wanted: &Wanted,
    allowed: Allowed,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Arc<dyn ImageSource>> {
    let root = one_line(listing.root.as_os_str());
    let (classes, named) = (listing.classes.clone(), listing.named.clone());
    let mut notes = listing.notes.clone();
    // Before anything is decoded; and of what was decoded.
    check::classes(&root, &classes, &listing.counts(), allowed)?;
    let folder = cache_base()?.join("pictures");
    let mut store = cache::open(listing, wanted, allowed, &folder, progress)?;
    let counts = check::counts(&store);
    check::classes(&root, &classes, &counts, allowed)?;
    let info = store.info_mut();
    info.name = root;
    info.kind = kind;
    info.fit = Some(wanted.fit);
    notes.extend(check::notes(&classes, &counts));
    info.notes = notes;
    info.notes.extend(info.found.as_ref().and_then(Found::note));
    for split in [Split::Validation, Split::Test] {
        let none = counts.iter().all(|counts| counts[split as usize] == 0);
        if named.contains(&split) && none {
            info.notes.push(format!(
                "there is no {} image in the folders of classes",
                split.name()
            ));
        }
    }
    Ok(Arc::new(store))
}
