//! Data sets: what one is, Fashion-MNIST and where it is looked for, the order of the examples, their augmentation,
//! and pictures of other people's.
mod advice;
mod augment;
mod colour;
mod decode;
mod divided;
pub mod fetch;
mod idx;
mod jpeg;
mod listing;
mod picture;
mod prefetch;
mod preprocess;
mod sampler;
mod source;
#[cfg(test)]
mod tests;

pub use augment::Augmentation;
pub use colour::{fit, read_colour};
pub use divided::Divided;
pub use listing::pictures;
pub use picture::{Background, Picture};
pub use prefetch::Prefetch;
pub use preprocess::{MEANS, Preprocess, STDS, listed};
pub use sampler::Sampler;
pub use source::{Dataset, Examples, ImageSource, Info, Split};

use crate::process::{command, ensure_free};
use anyhow::{Context, Result, bail, ensure};
use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The classes in the order of their labels, under the chapter's names.
const CLASSES: [&str; 10] = [
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

/// Where Debian's package puts the files.
const DEBIAN: &str = "/usr/share/datasets/fashion-mnist";

/// The name of a data set that lies inside this program.
pub const SAMPLE: &str = "sample";

/// One of the four files, without the ending `.gz`.
struct Known {
    name: &'static str,
    /// SHA-256 of the decompressed bytes: compressors differ, the images do not.
    sha256: &'static str,
}

/// Training images and labels, test images and labels.
const FILES: [Known; 4] = [
    Known {
        name: "train-images-idx3-ubyte",
        sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    },
    Known {
        name: "train-labels-idx1-ubyte",
        sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    },
    Known {
        name: "t10k-images-idx3-ubyte",
        sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    },
    Known {
        name: "t10k-labels-idx1-ubyte",
        sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
];

impl Known {
    fn matches(&self, bytes: &[u8]) -> bool {
        let digest = Sha256::digest(bytes);
        digest
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            == self.sha256
    }
}

/// Loads what `--data` asks for: `sample`, a folder, or by default the first of Debian's folder and
/// the cache that has the files.
///
/// # Errors
/// When there is no data, or a file is not what its name says.
pub fn load(choice: Option<&str>) -> Result<Dataset> {
    match choice {
        Some(SAMPLE) => sample(),
        Some(folder) => load_folder(Path::new(folder), false),
        None => {
            let debian = PathBuf::from(DEBIAN);
            if holds_all(&debian) {
                return load_folder(&debian, true);
            }
            let cache = cache_folder()?;
            // A folder that lacks some files is read only for the error that names them.
            let broken = |folder: &&PathBuf| FILES.iter().any(|f| find(folder, f.name).is_some());
            if holds_all(&cache) {
                load_folder(&cache, true)
            } else if let Some(folder) = [&cache, &debian].into_iter().find(broken) {
                load_folder(folder, true)
            } else {
                bail!(
                    "Fashion-MNIST is neither in {DEBIAN} nor in {}. {}",
                    cache.display(),
                    advice()
                )
            }
        }
    }
}

fn holds_all(folder: &Path) -> bool {
    FILES.iter().all(|f| find(folder, f.name).is_some())
}

/// How to come by a data set.
fn advice() -> String {
    format!(
        "Get it by `{}`, or on Debian and Ubuntu by `sudo apt-get install dataset-fashion-mnist`; or name its folder by \
         --data DIR; or take the 2,500 images inside this program by --data sample",
        command("fetch")
    )
}

/// Where `resnet fetch` puts the files.
///
/// # Errors
/// When the user has no home folder.
pub fn cache_folder() -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy().context("looking for the cache folder")?;
    Ok(base.cache_dir().join("resnet").join("fashion-mnist"))
}

/// The slice of the data set inside this program.
fn sample() -> Result<Dataset> {
    let pair = |images: &[u8], labels: &[u8]| -> Result<(usize, Examples)> {
        let images = (Path::new("the sample's images"), idx::unzip(images)?);
        let labels = (Path::new("the sample's labels"), idx::unzip(labels)?);
        pair(images, labels)
    };
    let (size, train) = pair(
        include_bytes!("sample/train-images-idx3-ubyte.gz"),
        include_bytes!("sample/train-labels-idx1-ubyte.gz"),
    )?;
    let (_, test) = pair(
        include_bytes!("sample/t10k-images-idx3-ubyte.gz"),
        include_bytes!("sample/t10k-labels-idx1-ubyte.gz"),
    )?;
    Ok(Dataset {
        info: Info {
            name: "Fashion-MNIST sample".to_string(),
            size,
            channels: 1,
            classes: CLASSES.map(str::to_string).to_vec(),
            notes: vec!["the sample has 2,000 training images: expect a low accuracy".to_string()],
        },
        train,
        test,
    })
}

/// Reads the four files of a folder. In the places where only Fashion-MNIST belongs, files must be
/// `genuine`; a folder that the user names may hold another set of the same form.
fn load_folder(folder: &Path, genuine: bool) -> Result<Dataset> {
    let shown = folder.display();
    ensure!(
        folder.exists(),
        "the data folder {shown} does not exist. {}",
        advice()
    );
    advice::check_folder(folder, &FILES.map(|known| known.name))?;
    let mut strangers = Vec::new();
    let mut files = Vec::new();
    for known in &FILES {
        let path = find(folder, known.name)
            .with_context(|| format!("{shown} has no file {}.gz. {}", known.name, advice()))?;
        let bytes = idx::read(&path)?;
        if !known.matches(&bytes) {
            ensure!(
                !genuine,
                "{} is not the file of Fashion-MNIST (its SHA-256 differs): remove it and run `{}`, or install the package \
                 dataset-fashion-mnist again",
                path.display(),
                command("fetch")
            );
            strangers.push(known.name);
        }
        files.push((path, bytes));
    }
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    ensure_free(bytes as u64, "the images of the data set")?;
    let [train_images, train_labels, test_images, test_labels] =
        <[_; 4]>::try_from(files).expect("four known files");
    let of_tests = test_images.0.clone();
    let pair = |images: (PathBuf, Vec<u8>), labels: (PathBuf, Vec<u8>)| {
        pair((&images.0, images.1), (&labels.0, labels.1))
    };
    let (size, train) = pair(train_images, train_labels)?;
    let (test_size, test) = pair(test_images, test_labels)?;
    ensure!(
        test_size == size,
        "{} has images of {test_size}×{test_size}, but those to train on have {size}×{size}",
        of_tests.display()
    );
    let genuine = strangers.is_empty();
    let note = || {
        format!(
            "{shown} is not the original Fashion-MNIST ({} differ): it is taken as it is, and its classes \
             are called 0 to 9",
            strangers.join(", ")
        )
    };
    Ok(Dataset {
        info: Info {
            name: match genuine {
                true => format!("Fashion-MNIST in {shown}"),
                false => shown.to_string(),
            },
            size,
            channels: 1,
            classes: match genuine {
                true => CLASSES.map(str::to_string).to_vec(),
                false => (0..CLASSES.len()).map(|class| class.to_string()).collect(),
            },
            notes: (!genuine).then(note).into_iter().collect(),
        },
        train,
        test,
    })
}

/// The file of this name, compressed or not.
fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [format!("{name}.gz"), name.to_string()]
        .map(|n| folder.join(n))
        .into_iter()
        .find(|p| p.exists())
}

/// The side of images, and these with their labels, each from a file of this name and these bytes.
fn pair(images: (&Path, Vec<u8>), labels: (&Path, Vec<u8>)) -> Result<(usize, Examples)> {
    let (size, pixels) = idx::images(images.0, images.1)?;
    let of_labels = labels.0.display();
    let labels = idx::labels(labels.0, &labels.1)?;
    let count = pixels.len() / (size * size);
    ensure!(
        labels.len() == count,
        "{} has {count} images, but {of_labels} has {} labels: the two do not belong together",
        images.0.display(),
        labels.len()
    );
    let wrong = labels
        .iter()
        .position(|&label| usize::from(label) >= CLASSES.len());
    if let Some(at) = wrong {
        bail!(
            "label {at} in {of_labels} is {}, but there are only the classes 0 to 9",
            labels[at]
        );
    }
    let labels = labels.into_iter().map(u32::from).collect();
    Ok((size, Examples { pixels, labels }))
}
