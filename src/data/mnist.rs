//! The MNIST family: four IDX files of square grey images in ten classes or more, and the slice inside this program.
use super::check::listed;
use super::idx;
use super::known::{FAMILY, FASHION_MNIST, IDX, Set, find};
use super::source::{Dataset, Examples, Info, Kind};
use crate::process::{ensure_free, one_line};
use anyhow::{Context, Result, ensure};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The slice of Fashion-MNIST inside this program.
///
/// # Errors
/// Never in a program that was built whole.
pub fn sample() -> Result<Dataset> {
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
            classes: FASHION_MNIST.classes.map(str::to_string).to_vec(),
            notes: vec!["the sample has 2,000 training images: expect a low accuracy".to_string()],
            ..Info::default()
        },
        train,
        test,
    })
}

/// Whether a folder has one of the four files.
pub fn is_in(folder: &Path) -> bool {
    IDX.iter().any(|name| find(folder, name).is_some())
}

/// Reads the four files of a folder. Where only one set belongs they must be that set's; a folder that the user names may
/// hold another one, also one of no name.
///
/// # Errors
/// When a file is missing, damaged or not the set's.
pub fn load(folder: &Path, only: Option<&'static Set>) -> Result<Dataset> {
    let shown = one_line(folder.as_os_str());
    let advice = only.unwrap_or(&FASHION_MNIST).advice();
    let paths: Vec<PathBuf> = IDX
        .iter()
        .map(|name| {
            find(folder, name).with_context(|| format!("{shown} has no file {name}.gz. {advice}"))
        })
        .collect::<Result<_>>()?;
    // By the smallest file.
    let known = || FAMILY.into_iter().find(|set| set.files[3].is(&paths[3]));
    let set = only.or_else(known);
    let mut strangers = Vec::new();
    let mut files = Vec::new();
    for (i, path) in paths.into_iter().enumerate() {
        let bytes = idx::read(&path)?;
        if let Some(set) = set.filter(|set| !set.files[i].is(&path)) {
            ensure!(
                only.is_none(),
                "{} is not the file of {} (its SHA-256 differs): remove it and get it again. {}",
                one_line(&path),
                set.title,
                set.advice()
            );
            strangers.push(IDX[i]);
        }
        files.push((path, bytes));
    }
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    ensure_free(bytes as u64, "the images of the data set")?;
    let [train_images, train_labels, test_images, test_labels] =
        <[_; 4]>::try_from(files).expect("four files");
    let of_tests = test_images.0.clone();
    let pair = |images: (PathBuf, Vec<u8>), labels: (PathBuf, Vec<u8>)| {
        pair((&images.0, images.1), (&labels.0, labels.1))
    };
    let (size, train) = pair(train_images, train_labels)?;
    let (test_size, test) = pair(test_images, test_labels)?;
    ensure!(
        test_size == size,
        "{} has images of {test_size}×{test_size}, but those to train on have {size}×{size}",
        one_line(&of_tests)
    );
    let labels = train.labels.iter().chain(&test.labels);
    let classes = labels.max().map_or(0, |label| *label as usize + 1);
    let classes = classes.max(LEAST_CLASSES);
    let titles = FAMILY.map(|set| set.title).join(", ");
    let taken = format!(
        "it is taken as it is, and its classes are called 0 to {}",
        classes - 1
    );
    let note = match (set, strangers.is_empty()) {
        (Some(_), true) => None,
        (Some(set), false) => Some(format!(
            "{shown} is not the original {} ({} differ): {taken}",
            set.title,
            strangers.join(", ")
        )),
        (None, _) => Some(format!(
            "{shown} is none of {titles}, by its {}: {taken}",
            IDX[3]
        )),
    };
    let genuine = set.filter(|_| note.is_none());
    let classes: Vec<String> = match genuine {
        Some(set) => set.classes.map(str::to_string).to_vec(),
        None => (0..classes).map(|class| class.to_string()).collect(),
    };
    let trained: HashSet<u32> = train.labels.iter().copied().collect();
    let untrained = classes.iter().zip(0..);
    let untrained = untrained.filter(|(_, label)| !trained.contains(label));
    let untrained: Vec<&str> = untrained.map(|(name, _)| name.as_str()).collect();
    let lacks = (!untrained.is_empty())
        .then(|| format!("there is no train image of {}", listed(&untrained)));
    Ok(Dataset {
        info: Info {
            name: match genuine {
                Some(set) => format!("{} in {shown}", set.title),
                None => shown,
            },
            kind: Kind::Idx,
            size,
            channels: 1,
            notes: note.into_iter().chain(lacks).collect(),
            classes,
            ..Info::default()
        },
        train,
        test,
    })
}

/// Classes that a set without a name has at least; where a label is larger, it has as many as that needs.
const LEAST_CLASSES: usize = 10;

/// The side of images, and these with their labels, each from a file of this name and these bytes.
fn pair(images: (&Path, Vec<u8>), labels: (&Path, Vec<u8>)) -> Result<(usize, Examples)> {
    let (size, pixels) = idx::images(images.0, images.1)?;
    let of_labels = one_line(labels.0);
    let labels = idx::labels(labels.0, &labels.1)?;
    let count = pixels.len() / (size * size);
    ensure!(
        labels.len() == count,
        "{} has {count} images, but {of_labels} has {} labels: the two do not belong together",
        one_line(images.0),
        labels.len()
    );
    let labels = labels.into_iter().map(u32::from).collect();
    Ok((size, Examples { pixels, labels }))
}
