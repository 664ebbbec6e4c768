//! Fashion-MNIST from file to memory: where it is looked for, how it is checked, how it is fetched,
//! and the order in which training sees it. Everything stays u8; the device resizes and scales.
pub mod fetch;
pub mod files;
mod idx;
mod preview;
mod sampler;

pub use preview::contact_sheet;
pub use sampler::Sampler;

use anyhow::{Context, Result, bail, ensure};
use etcetera::BaseStrategy;
use files::File;
use std::path::{Path, PathBuf};

/// The names of Fashion-MNIST's classes, in the order of its labels.
pub const CLASS_NAMES: [&str; idx::CLASSES] = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

/// Where Debian's package dataset-fashion-mnist puts the files.
pub const PACKAGE_FOLDER: &str = "/usr/share/datasets/fashion-mnist";

/// Labelled images, all of the same size.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Images {
    /// Number of images and labels.
    pub count: usize,
    /// Height and width.
    pub size: usize,
    /// Channels per pixel.
    pub channels: usize,
    /// Grey levels, `[count, size, size, channels]`.
    pub pixels: Vec<u8>,
    /// Class numbers, one per image.
    pub labels: Vec<u32>,
}

/// A data set with its two parts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dataset {
    /// Name for people.
    pub name: String,
    /// Where it came from: a folder, or the embedded sample.
    pub source: String,
    /// What people should be told before it is used, one sentence each.
    pub notes: Vec<String>,
    /// What is trained on.
    pub train: Images,
    /// What is tested on.
    pub test: Images,
    /// Names of the classes in the order of the labels.
    pub classes: Vec<String>,
}

/// Loads the data set that `--data` chooses: `sample` is the embedded one (`./sample` is a folder
/// of that name), anything else a folder. Without a choice it is looked for in [`PACKAGE_FOLDER`],
/// then in [`cache_folder`], and must be the original Fashion-MNIST there.
///
/// # Errors
/// When no data set is found, or a file is missing, damaged or contradicts another one.
pub fn load(choice: Option<&str>) -> Result<Dataset> {
    match choice {
        Some("sample") => sample(),
        Some(folder) => load_folder(Path::new(folder), Origin::Given),
        None => {
            let package = Path::new(PACKAGE_FOLDER);
            if has_any_file(package) {
                return load_folder(package, Origin::Package);
            }
            let cache = cache_folder()?;
            if has_any_file(&cache) {
                return load_folder(&cache, Origin::Cache);
            }
            bail!(
                "Fashion-MNIST is neither in {PACKAGE_FOLDER} nor in {}. One of these helps:\n  \
                 resnet fetch                        downloads it (30 MB)\n  \
                 apt install dataset-fashion-mnist   installs Debian's and Ubuntu's package\n  \
                 --data DIR                          uses a folder that has its four files\n  \
                 --data sample                       uses the {SAMPLE_COUNTS} inside this program",
                cache.display()
            )
        }
    }
}

/// Where `resnet fetch` puts the files: `resnet/fashion-mnist` in the user's cache folder.
///
/// # Errors
/// When the user has no home folder.
pub fn cache_folder() -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy()
        .context("there is no home folder for the cache; name a folder by --data DIR")?;
    Ok(base.cache_dir().join("resnet").join("fashion-mnist"))
}

/// Whether any of the four files is in the folder.
pub fn has_any_file(folder: &Path) -> bool {
    files::FILES.iter().any(|f| f.find(folder).is_some())
}

const SAMPLE_COUNTS: &str = "2,000 training and 500 test images";

/// Where a folder comes from decides how strictly it is checked and what helps when it is broken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Package,
    Cache,
    Given,
}

impl Origin {
    fn remedy(self) -> &'static str {
        match self {
            Origin::Package => {
                "repair it by `apt install --reinstall dataset-fashion-mnist`, or use --data DIR or --data sample"
            }
            Origin::Cache => "repair it by `resnet fetch`, or use --data DIR or --data sample",
            Origin::Given => {
                "put it right, name another folder by --data, or leave --data out to use Fashion-MNIST"
            }
        }
    }
}

fn load_folder(folder: &Path, origin: Origin) -> Result<Dataset> {
    let remedy = || {
        format!(
            "the data in {} cannot be used ({})",
            folder.display(),
            origin.remedy()
        )
    };
    ensure!(
        folder.is_dir(),
        "--data {}: there is no such folder; it should hold {} and the other three files of Fashion-MNIST",
        folder.display(),
        files::TRAIN_IMAGES.name()
    );
    let mut strangers = Vec::new();
    let mut part = |images, labels| -> Result<Images> {
        let (images, pixels) = read(folder, images, origin, &mut strangers, idx::images)?;
        let (labels, numbers) = read(folder, labels, origin, &mut strangers, idx::labels)?;
        Images::new(pixels, numbers)
            .with_context(|| format!("{} and {} disagree", images.display(), labels.display()))
    };
    let train = part(files::TRAIN_IMAGES, files::TRAIN_LABELS).with_context(remedy)?;
    let test = part(files::TEST_IMAGES, files::TEST_LABELS).with_context(remedy)?;
    let mut data = Dataset {
        name: "Fashion-MNIST".to_string(),
        source: folder.display().to_string(),
        notes: Vec::new(),
        train,
        test,
        classes: CLASS_NAMES.map(String::from).to_vec(),
    };
    if !strangers.is_empty() {
        data.name = data.source.clone();
        data.classes = (0..idx::CLASSES).map(|c| c.to_string()).collect();
        data.notes.push(format!(
            "{} is not the original Fashion-MNIST ({}): it is used as it is, and its classes are called 0 to {}",
            folder.display(),
            strangers.join("; "),
            idx::CLASSES - 1
        ));
    }
    Ok(data)
}

/// Reads one file of a folder. Content that is not the original's is an error where the original
/// is expected, and is noted in `strangers` where people bring their own.
fn read<T>(
    folder: &Path,
    file: File,
    origin: Origin,
    strangers: &mut Vec<String>,
    parse: fn(&[u8]) -> Result<T>,
) -> Result<(PathBuf, T)> {
    let path = file
        .find(folder)
        .with_context(|| format!("{} is missing", folder.join(file.name()).display()))?;
    let mut read = || -> Result<T> {
        let bytes = files::read(&path)?;
        let content = parse(&bytes)?;
        if let Err(error) = file.check(&bytes) {
            if origin != Origin::Given {
                return Err(error);
            }
            strangers.push(format!("{}: {error}", file.stem));
        }
        Ok(content)
    };
    let content = read().with_context(|| path.display().to_string())?;
    Ok((path, content))
}

/// The embedded slice of Fashion-MNIST.
fn sample() -> Result<Dataset> {
    let part = |images: &[u8], labels: &[u8]| -> Result<Images> {
        Images::new(
            idx::images(&files::gunzip(images)?)?,
            idx::labels(&files::gunzip(labels)?)?,
        )
    };
    Ok(Dataset {
        name: "a sample of Fashion-MNIST".to_string(),
        source: "embedded sample".to_string(),
        notes: vec![format!(
            "the embedded sample has only {SAMPLE_COUNTS}: accuracies stay below those of the whole Fashion-MNIST"
        )],
        train: part(
            include_bytes!("sample/train-images-idx3-ubyte.gz"),
            include_bytes!("sample/train-labels-idx1-ubyte.gz"),
        )?,
        test: part(
            include_bytes!("sample/t10k-images-idx3-ubyte.gz"),
            include_bytes!("sample/t10k-labels-idx1-ubyte.gz"),
        )?,
        classes: CLASS_NAMES.map(String::from).to_vec(),
    })
}

impl Images {
    /// Pairs 28×28 grey images with their labels.
    fn new(pixels: Vec<u8>, labels: Vec<u32>) -> Result<Images> {
        let count = pixels.len() / (idx::SIZE * idx::SIZE);
        ensure!(
            count == labels.len(),
            "there are {count} images but {} labels",
            labels.len()
        );
        Ok(Images {
            count,
            size: idx::SIZE,
            channels: 1,
            pixels,
            labels,
        })
    }
}

#[cfg(test)]
mod tests;
