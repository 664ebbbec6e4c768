//! The binary version of CIFAR-10: files of records, each a label and the three planes of an image of 32×32.
use super::known::CIFAR10;
use super::source::{Dataset, Examples, Info, Kind};
use crate::files;
use crate::process::{ensure_free, one_line};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Side of the images in pixels.
const SIDE: usize = 32;

/// Bytes of a record.
const RECORD: usize = 1 + 3 * SIDE * SIDE;

/// The most bytes of a file: the original ones have 10,000 records.
const MOST_BYTES: u64 = 1 << 30;

/// What its archive calls the folder of the files.
const INNER: &str = "cifar-10-batches-bin";

/// The file of test images; those to train on are data_batch_1.bin and so on.
const TEST: &str = "test_batch.bin";

/// The names of the classes, a line each.
const NAMES: &str = "batches.meta.txt";

/// The mean and the standard deviation of each channel over the training images, divided by 255.
const USUAL: [[f32; 3]; 2] = [[0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]];

/// The folder of the files, which is this one or one in it, as the archive has it.
pub fn find(folder: &Path) -> Option<PathBuf> {
    let has = |folder: &PathBuf| folder.join(batch(1)).exists() || folder.join(TEST).exists();
    [folder.to_path_buf(), folder.join(INNER)]
        .into_iter()
        .find(has)
}

/// The name of a file of images to train on.
fn batch(number: usize) -> String {
    format!("data_batch_{number}.bin")
}

/// Reads the files of a folder: as many files of images to train on as there are, in the order of their numbers.
///
/// # Errors
/// When a file is missing, or is not one of whole records.
pub fn load(folder: &Path) -> Result<Dataset> {
    let shown = one_line(folder.as_os_str());
    let classes = names(&folder.join(NAMES))?;
    let batches = (1..).map(|number| folder.join(batch(number)));
    let batches: Vec<PathBuf> = batches.take_while(|path| path.exists()).collect();
    for (there, name) in [
        (!batches.is_empty(), batch(1)),
        (folder.join(TEST).exists(), TEST.to_string()),
    ] {
        ensure!(there, "{shown} has no file {name}. {}", CIFAR10.advice());
    }
    let mut train = Examples::default();
    for path in &batches {
        read(path, classes.len(), &mut train)?;
    }
    let mut test = Examples::default();
    read(&folder.join(TEST), classes.len(), &mut test)?;
    Ok(Dataset {
        info: Info {
            name: format!("CIFAR-10 in {shown}"),
            kind: Kind::Cifar10,
            size: SIDE,
            channels: 3,
            classes,
            usual: Some(USUAL.map(|values| values.to_vec())),
            ..Info::default()
        },
        train,
        test,
    })
}

/// The names in a file, or where it is missing those of the original.
fn names(path: &Path) -> Result<Vec<String>> {
    let Some(bytes) = files::read_if_there(path, 1 << 16)? else {
        return Ok(CIFAR10.classes.map(str::to_string).to_vec());
    };
    let text =
        String::from_utf8(bytes).with_context(|| format!("{} is no text", one_line(path)))?;
    let names = text.lines().map(str::trim).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_string).collect();
    ensure!(
        names.len() == CIFAR10.classes.len(),
        "{} has {} names of classes, not {}",
        one_line(path),
        names.len(),
        CIFAR10.classes.len()
    );
    Ok(names)
}

/// Adds the records of a file, their planes made pixels.
fn read(path: &Path, classes: usize, to: &mut Examples) -> Result<()> {
    let shown = one_line(path);
    let bytes = files::read(path, MOST_BYTES)?;
    ensure!(
        !bytes.is_empty() && bytes.len().is_multiple_of(RECORD),
        "{shown} has {} bytes, which is no number of whole records of {RECORD}: it is truncated, or of CIFAR-100 or another \
         set. {}",
        bytes.len(),
        CIFAR10.advice()
    );
    ensure_free(bytes.len() as u64, "the images of the data set")?;
    for (i, record) in bytes.chunks_exact(RECORD).enumerate() {
        let (label, planes) = (record[0], &record[1..]);
        ensure!(
            usize::from(label) < classes,
            "label {i} in {shown} is {label}, but there are only the classes 0 to {}",
            classes - 1
        );
        to.labels.push(u32::from(label));
        let plane = SIDE * SIDE;
        to.pixels.extend(
            (0..plane).flat_map(|at| [planes[at], planes[plane + at], planes[2 * plane + at]]),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A file of so many records, whose planes have the levels 1, 2 and 3 more than the record's number.
    fn records(path: &Path, count: u8) {
        let record = |i: u8| {
            let planes = (1..=3).flat_map(move |c| [i + c; SIDE * SIDE]);
            [i % 10].into_iter().chain(planes)
        };
        fs::write(path, (0..count).flat_map(record).collect::<Vec<u8>>()).unwrap();
    }

    #[test]
    fn records_become_images_and_bad_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join(INNER);
        fs::create_dir(&inner).unwrap();
        assert_eq!(find(folder.path()), None);
        records(&inner.join("data_batch_1.bin"), 12);
        records(&inner.join("data_batch_2.bin"), 3);
        records(&inner.join(TEST), 2);
        let found = find(folder.path()).unwrap();
        assert_eq!(found, inner);
        let data = load(&found).unwrap();
        assert_eq!((data.train.labels.len(), data.test.labels.len()), (15, 2));
        assert_eq!(data.train.labels[10..13], [0, 1, 0]);
        assert_eq!(
            data.train.pixels[11 * 3072..][..6],
            [12, 13, 14, 12, 13, 14]
        );
        assert_eq!(data.info.classes[9], "truck");
        let says = |words: &str| {
            let error = format!("{:#}", load(&inner).unwrap_err());
            assert!(error.contains(words), "{error}");
        };
        fs::write(inner.join(NAMES), "a\nb\n\n").unwrap();
        says("has 2 names of classes, not 10");
        fs::write(
            inner.join(NAMES),
            "0 1 2 3 4 5 6 7 8 9\n\n".replace(' ', "\n"),
        )
        .unwrap();
        assert_eq!(load(&inner).unwrap().info.classes[9], "9");
        fs::write(inner.join("data_batch_2.bin"), [10; RECORD]).unwrap();
        says("label 0 in");
        fs::write(inner.join("data_batch_2.bin"), [1; RECORD + 1]).unwrap();
        says("no number of whole records");
        fs::remove_file(inner.join(TEST)).unwrap();
        says("has no file test_batch.bin");
    }
}
