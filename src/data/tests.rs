//! Good and bad files, as people have them.
use super::*;
use crate::data::idx;
use flate2::{Compression, write::GzEncoder};
use std::fs;
use std::io::Write;
use tempfile::TempDir;

/// A tiny set of the right form: `train` and `test` images of 28×28.
fn folder(train: u32, test: u32) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (part, count) in [("train", train), ("t10k", test)] {
        let pixels = vec![7; 784 * count as usize];
        put(
            &folder,
            &format!("{part}-images-idx3-ubyte"),
            0x803,
            &[count, 28, 28],
            &pixels,
        );
        let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
        put(
            &folder,
            &format!("{part}-labels-idx1-ubyte"),
            0x801,
            &[count],
            &labels,
        );
    }
    folder
}

fn put(folder: &TempDir, name: &str, magic: u32, dims: &[u32], bytes: &[u8]) {
    let mut file = magic.to_be_bytes().to_vec();
    dims.iter().for_each(|d| file.extend(d.to_be_bytes()));
    file.extend(bytes);
    let mut gz = GzEncoder::new(Vec::new(), Compression::fast());
    gz.write_all(&file).unwrap();
    fs::write(
        folder.path().join(format!("{name}.gz")),
        gz.finish().unwrap(),
    )
    .unwrap();
}

/// What a folder that a user names is loaded as, at 28 pixels.
fn opened(folder: &Path) -> Result<Arc<dyn ImageSource>> {
    let request = Request {
        data: folder.to_str(),
        ..Request::default()
    };
    let wanted = Wanted {
        preprocess: Preprocess::of_size(28),
        fit: Fit::Crop,
        channels: None,
    };
    load(request, &wanted, &mut |_, _| ())
}

fn error(folder: &Path) -> String {
    format!("{:#}", opened(folder).err().unwrap())
}

#[test]
fn another_set_of_the_same_form_is_taken_with_a_note() {
    let data = opened(folder(20, 10).path()).unwrap();
    assert_eq!([Split::Train, Split::Test].map(|s| data.len(s)), [20, 10]);
    let Info { notes, classes, .. } = data.info();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].contains("t10k-labels"), "{}", notes[0]);
    assert_eq!(classes[9], "9");
}

/// EMNIST's letters have the labels 1 to 26.
#[test]
fn a_set_has_as_many_classes_as_its_labels_need() {
    let folder = folder(26, 2);
    let labels: Vec<u8> = (1..=26).collect();
    put(&folder, "train-labels-idx1-ubyte", 0x801, &[26], &labels);
    let data = opened(folder.path()).unwrap();
    let Info { notes, classes, .. } = data.info();
    assert_eq!((classes.len(), classes[26].as_str()), (27, "26"));
    assert!(notes[0].contains("called 0 to 26"), "{}", notes[0]);
    assert_eq!(notes[1], "there is no train image of 0");
    assert_eq!(data.labels(Split::Train)[25], 26);
    // Also where only a test image needs it.
    put(&folder, "t10k-labels-idx1-ubyte", 0x801, &[2], &[3, 46]);
    assert_eq!(opened(folder.path()).unwrap().info().classes.len(), 47);
}

#[test]
fn the_sample_is_inside() {
    let data = sample().unwrap();
    assert_eq!(Split::ALL.map(|split| data.len(split)), [2000, 0, 500]);
    assert_eq!(data.info.classes[9], "ankle boot");
    let mut pixels = vec![0; 3 * 784];
    data.read(Split::Test, &[499, 0, 499], &mut pixels).unwrap();
    let of = |i: usize| &data.test.pixels[i * 784..][..784];
    assert_eq!(pixels, [of(499), of(0), of(499)].concat());
    let error = data.read(Split::Train, &[2000], &mut pixels[..784]);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("no train image 2000"), "{error}");
}

#[test]
fn the_installed_files_are_genuine() {
    if !FASHION_MNIST.is_in(&FASHION_MNIST.folders().unwrap()[0]) {
        crate::process::say("SKIPPED: Debian's package of Fashion-MNIST is not installed");
        return;
    }
    let data = named(&FASHION_MNIST).unwrap();
    assert_eq!(Split::ALL.map(|split| data.len(split)), [60_000, 0, 10_000]);
    assert!(data.info.notes.is_empty());
    assert_eq!(data.info.classes[9], "ankle boot");
    let sample = sample().unwrap();
    assert_eq!(
        sample.train.pixels,
        data.train.pixels[..sample.train.pixels.len()]
    );
    assert_eq!(sample.test.labels, data.test.labels[..500]);
}

#[test]
fn wrong_files_are_named() {
    let says = |spoil: &dyn Fn(&TempDir), words: &[&str]| {
        let folder = folder(4, 2);
        spoil(&folder);
        let error = error(folder.path());
        for word in words {
            assert!(error.contains(word), "should say {word:?}: {error}");
        }
    };
    let images = "train-images-idx3-ubyte";
    let labels = "train-labels-idx1-ubyte";
    let gz = |name: &str| format!("{name}.gz");
    says(
        &|f| fs::remove_file(f.path().join(gz(images))).unwrap(),
        &[images, " fetch"],
    );
    says(
        &|f| put(f, images, 0x801, &[4], &[0; 4]),
        &[images, "labels"],
    );
    says(&|f| put(f, images, 0x777, &[4], &[0; 4]), &[images, "IDX"]);
    says(
        &|f| put(f, images, 0x803, &[4, 28, 28], &[0; 100]),
        &[images, "truncated"],
    );
    says(
        &|f| put(f, images, 0x803, &[4, 28, 28], &[0; 4000]),
        &[images, "more bytes"],
    );
    says(
        &|f| put(f, images, 0x803, &[4, 14, 28], &[0; 1568]),
        &[images, "14×28", "square"],
    );
    says(
        &|f| put(f, images, 0x803, &[4, 14, 14], &[0; 784]),
        &["t10k-images-idx3-ubyte", "28×28", "14×14"],
    );
    says(
        &|f| put(f, labels, 0x801, &[3], &[0; 3]),
        &[images, labels, "4 images", "3 labels"],
    );
    says(
        &|f| fs::write(f.path().join(gz(images)), b"plain text").unwrap(),
        &[images, "gzip"],
    );
    says(
        &|f| fs::write(f.path().join(gz(labels)), [0, 0, 8, 1, 0, 0, 0, 0]).unwrap(),
        &[labels, "already decompressed"],
    );
    says(
        &|f| {
            let path = f.path().join(gz(labels));
            let mut bytes = fs::read(&path).unwrap();
            bytes.extend(b"more");
            fs::write(path, bytes).unwrap();
        },
        &[labels, "damaged"],
    );
    says(
        &|f| {
            let path = f.path().join(gz(images));
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
        },
        &[images, "truncated"],
    );
}

#[test]
fn a_missing_folder_offers_what_there_is() {
    let error = error(Path::new("/nonexistent"));
    for word in [
        "/nonexistent",
        " fetch",
        "dataset-fashion-mnist",
        "--data sample",
    ] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn what_is_decompressed_ends_where_the_header_says() {
    let folder = folder(4, 2);
    let labels = "t10k-labels-idx1-ubyte";
    put(&folder, labels, 0x801, &[2], &vec![0; 200 << 20]);
    let path = folder.path().join(format!("{labels}.gz"));
    assert!(idx::read(&path).unwrap().len() <= 17);
    let error = error(folder.path());
    assert!(error.contains("more bytes"), "{error}");
    // Nothing is a header.
    put(&folder, labels, 0, &[0], &vec![0; 200 << 20]);
    assert_eq!(idx::read(&path).unwrap().len(), 17);
    for (magic, dims) in [
        (0x801, &[u32::MAX][..]),
        (0x803, &[u32::MAX, u32::MAX, u32::MAX]),
        (0x803, &[1, 1 << 16, 1 << 16]),
    ] {
        put(&folder, labels, magic, dims, &[0; 4]);
        let error = format!("{:#}", idx::read(&path).unwrap_err());
        assert!(error.contains("at most"), "{error}");
    }
}

#[test]
fn what_is_no_data_set_is_told_what_is() {
    let says = |make: &dyn Fn(&Path), word: &str| {
        let folder = TempDir::new().unwrap();
        make(folder.path());
        let given = match folder.path().join("given") {
            file if file.exists() => file,
            _ => folder.path().to_path_buf(),
        };
        let error = error(&given);
        for word in [word, "train-images-idx3-ubyte", "--data sample"] {
            assert!(error.contains(word), "should say {word:?}: {error}");
        }
    };
    let file = |path: &Path| fs::write(path, b"").unwrap();
    says(&|_| (), "is empty");
    says(&|f| file(&f.join("boot.JPG")), "no folder for each class");
    says(&|f| file(&f.join("archive.zip")), "archives to be unpacked");
    says(&|f| file(&f.join("notes.txt")), "none of what data are");
    says(&|f| file(&f.join("given")), "is a file, not a folder");
    let folder = TempDir::new().unwrap();
    let archive = folder.path().join("fashion.tar.gz");
    file(&archive);
    let error = error(&archive);
    assert!(error.contains("an archive to be unpacked"), "{error}");
}
