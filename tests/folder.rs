//! Folders and tables of pictures as data: what is found, what is made of it, and that a training on it is one as on any
//! other data.
use crate::cli::{json, resnet};
use crate::training::tensors;
use assert_cmd::Command;
use image::{GrayImage, Luma, Rgb, RgbImage};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use resnet::train::checkpoint;
use serde_json::Value;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The program with a cache of its own in this folder, where it runs too.
pub fn in_folder(folder: &Path) -> Command {
    let mut command = resnet();
    let cache = folder.join(".cache");
    command
        .current_dir(folder)
        .env("XDG_CACHE_HOME", &cache)
        .env("LOCALAPPDATA", cache);
    command
}

/// A picture of 9×7 pixels that no other name and no other seed gives.
pub fn picture(path: &Path, seed: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let level = |x: u32, y: u32, c: u32| (seed * 37 + x * 11 + y * 5 + c * (seed + x)) as u8;
    let pixel = |x, y| Rgb([0, 1, 2].map(|c| level(x, y, c)));
    RgbImage::from_fn(9, 7, pixel).save(path).unwrap();
}

/// So many pictures of each of these classes, of seeds that begin with `from`.
pub fn classes(folder: &Path, names: &[&str], count: u32, from: u32) {
    for (class, name) in names.iter().enumerate() {
        for i in 0..count {
            picture(
                &folder.join(name).join(format!("{i:03}.png")),
                from + class as u32 * 1000 + i,
            );
        }
    }
}

/// What `resnet data` tells of a folder, at 8 pixels; the run may fail.
pub fn told(folder: &Path, more: &[&str]) -> Value {
    let mut command = in_folder(folder);
    let output = command
        .args(["data", "p", "--image-size", "8", "--json"])
        .args(more)
        .output()
        .unwrap();
    assert!(
        !output.stdout.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    json(&output.stdout)
}

/// A training of seconds, on one epoch of what `p` holds.
pub fn train(folder: &Path, more: &[&str]) -> Command {
    let mut command = in_folder(folder);
    command.args("train --data p --image-size 8 --stem cifar --widths 4 --blocks 1".split(' '));
    command
        .args("--batch-size 8 --device cpu --out run".split(' '))
        .args(more)
        .env("RESNET_EPOCHS", "1");
    command
}

fn counts(told: &Value) -> Vec<(String, [u64; 3])> {
    let classes = told["classes"].as_array().unwrap().iter();
    let count = |class: &Value| {
        let of = |split: &str| class[split].as_u64().unwrap();
        (
            class["name"].as_str().unwrap().to_string(),
            [of("train"), of("validation"), of("test")],
        )
    };
    classes.map(count).collect()
}

#[test]
fn folders_are_classes_and_splits() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p.join("train"), &["cat", "Dog"], 4, 0);
    classes(&p.join("Valid"), &["cat", "Dog"], 2, 100);
    classes(&p.join("test"), &["Dog"], 3, 200);
    // Deeper folders are the class's too.
    picture(&p.join("train/cat/more/deep/x.png"), 77);
    let report = told(folder.path(), &[]);
    let want = [
        ("Dog".to_string(), [4, 2, 3]),
        ("cat".to_string(), [5, 2, 0]),
    ];
    assert_eq!(counts(&report), want);
    assert_eq!(
        (&report["size"], &report["channels"]),
        (&8.into(), &3.into())
    );
    assert_eq!(report["found"]["formats"]["PNG"], 16);
    assert_eq!(report["found"]["largest"], serde_json::json!([9, 7]));
    let notes = report["notes"].to_string();
    assert!(notes.contains("no test image of cat"), "{notes}");

    let sheet = folder.path().join("sheet.png");
    let mut data = in_folder(folder.path());
    data.args(["data", "p", "--image-size", "8", "--preview"])
        .arg(&sheet);
    let text = contains("kept in").and(contains("Dog          4           2        3"));
    data.assert().success().stdout(text);
    let drawn = image::open(sheet).unwrap().into_rgb8();
    assert_eq!(drawn.dimensions(), (10 * 10 + 2, 2 * 10 + 2));
    assert_ne!(drawn.get_pixel(2, 2).0, [255; 3]);

    // The classes by themselves are all to train on.
    fs::rename(p.join("train"), folder.path().join("q")).unwrap();
    fs::remove_dir_all(&p).unwrap();
    fs::rename(folder.path().join("q"), &p).unwrap();
    assert_eq!(
        counts(&told(folder.path(), &[]))[1],
        ("cat".to_string(), [5, 0, 0])
    );
    let grey = GrayImage::from_pixel(5, 5, Luma([3]));
    for name in ["cat", "Dog"] {
        fs::remove_dir_all(p.join(name)).unwrap();
        fs::create_dir(p.join(name)).unwrap();
        grey.save(p.join(name).join("1.png")).unwrap();
    }
    assert_eq!(told(folder.path(), &[])["channels"], 1);
    assert_eq!(told(folder.path(), &["--channels", "3"])["channels"], 3);
}

#[test]
fn a_network_is_trained_on_folders_evaluated_and_asked() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    // Red and green pictures of many sizes.
    for i in 0..30 {
        for (name, colour) in [("grün", [0, 200, 9]), ("rot", [200, 0, 9])] {
            let size = (10 + i, 40 - i);
            let pixel = |x, y| Rgb(colour.map(|level| level + ((x * i + y) % 40) as u8));
            fs::create_dir_all(p.join(name)).unwrap();
            let path = p.join(name).join(format!("{i}.jpg"));
            RgbImage::from_fn(size.0, size.1, pixel).save(path).unwrap();
        }
    }
    train(folder.path(), &[])
        .assert()
        .code(2)
        .stderr(contains("--val-split 0.1"));
    let held = ["--val-split", "0.2", "--epochs", "4", "--lr", "0.1"];
    let said = train(folder.path(), &held).assert().success();
    said.stdout(contains("val acc 1.000").and(contains("test acc").not()));

    let on = |args: &[&str]| {
        let mut command = in_folder(folder.path());
        let output = command
            .args(args)
            .args(["--device", "cpu", "--json"])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        json(&output.stdout)
    };
    // The images that were held out.
    let report = on(&["eval", "run"]);
    assert_eq!(
        (&report["split"], &report["examples"]),
        (&"validation".into(), &12.into())
    );
    assert_eq!(report["accuracy"], 1.0);
    let asked = on(&[
        "predict",
        "run",
        "p/rot/3.jpg",
        "p/grün/29.jpg",
        "--test-image",
        "0",
    ]);
    for (image, class) in asked["images"]
        .as_array()
        .unwrap()
        .iter()
        .zip(["rot", "grün", "grün"])
    {
        assert_eq!(image["classes"][0]["class"], class);
    }
    // A picture is prepared for an answer as for the training: the logits are those of the image in the cache.
    let of_cache = &asked["images"][2]["logits"];
    let files = (0..30).map(|i| format!("p/grün/{i}.jpg"));
    let files: Vec<String> = files.collect();
    let names: Vec<&str> = files.iter().map(String::as_str).collect();
    let all = on(&[&["predict", "run"], &names[..]].concat());
    let same = all["images"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|image| image["logits"] == *of_cache);
    assert_eq!(same.count(), 1);
    in_folder(folder.path())
        .args(["report", "run", "--device", "cpu"])
        .assert()
        .success();
    in_folder(folder.path())
        .args(["probe", "run", "--device", "cpu"])
        .assert()
        .success();
    let resumed = in_folder(folder.path())
        .args(["train", "--resume", "run", "--epochs", "5"])
        .assert();
    resumed.success();

    // A network of colours that goes on with grey pictures gets them in three channels, also when that is resumed.
    for name in ["grün", "rot"] {
        fs::create_dir_all(folder.path().join("grey").join(name)).unwrap();
        for i in 0..8 {
            let file = folder.path().join(format!("grey/{name}/{i}.png"));
            GrayImage::from_fn(9, 9, |x, y| Luma([(x * y * i + name.len() as u32) as u8]))
                .save(file)
                .unwrap();
        }
    }
    let mut command = in_folder(folder.path());
    command.args(
        "train --init run --data grey --val-split 0.25 --epochs 1 --batch-size 4 --device cpu"
            .split(' '),
    );
    command.args(["--out", "goes-on"]).assert().success();
    let again = ["train", "--resume", "goes-on", "--epochs", "2"];
    in_folder(folder.path()).args(again).assert().success();
    // A class that was renamed is not taken for another.
    fs::rename(
        folder.path().join("grey/rot"),
        folder.path().join("grey/blau"),
    )
    .unwrap();
    let refused = in_folder(folder.path())
        .args(["train", "--resume", "goes-on", "--epochs", "3"])
        .assert();
    refused.code(1).stderr(contains(
        "blau, which is none of the network's classes: grün, rot",
    ));

    // Another folder, whose classes are known by their names, and one with a class that is not.
    fs::create_dir_all(folder.path().join("other/rot")).unwrap();
    fs::copy(p.join("rot/1.jpg"), folder.path().join("other/rot/x.jpg")).unwrap();
    let report = on(&["eval", "run", "--data", "other"]);
    assert_eq!(
        (&report["examples"], &report["accuracy"]),
        (&1.into(), &1.0.into())
    );
    fs::rename(
        folder.path().join("other/rot"),
        folder.path().join("other/blau"),
    )
    .unwrap();
    let mut unknown = in_folder(folder.path());
    unknown.args(["eval", "run", "--data", "other", "--device", "cpu"]);
    unknown
        .assert()
        .code(1)
        .stderr(contains("blau, which is none of the network's classes"));
}

/// The sample's images as pictures, and a table with them in their order.
fn sample_as_pictures(p: &Path) {
    let data = resnet::data::sample().unwrap();
    let mut table = csv::Writer::from_path(p.join("labels.csv")).unwrap();
    table.write_record(["split", "path", "label"]).unwrap();
    for (split, examples) in [("train", &data.train), ("test", &data.test)] {
        let images = examples.pixels.chunks_exact(784).zip(&examples.labels);
        for (i, (pixels, label)) in images.enumerate() {
            let path = format!("{split}/{label}/{i}.png");
            fs::create_dir_all(p.join(&path).parent().unwrap()).unwrap();
            let image = GrayImage::from_raw(28, 28, pixels.to_vec()).unwrap();
            image.save(p.join(&path)).unwrap();
            table
                .write_record([split, &path, &label.to_string()])
                .unwrap();
        }
    }
    table.flush().unwrap();
}

#[test]
fn a_training_on_pictures_has_the_bits_of_one_on_idx_files() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    fs::create_dir(&p).unwrap();
    sample_as_pictures(&p);
    let run = |name: &str, data: &[&str]| {
        let run = folder.path().join(name);
        let mut command = in_folder(folder.path());
        command
            .args("train --image-size 28 --stem cifar --widths 4 --blocks 1 --epochs 1".split(' '));
        command
            .args("--batch-size 100 --limit-batches 3 --device cpu --seed 3 --out".split(' '))
            .arg(&run)
            .args(data);
        command.assert().success();
        let mut csv = csv::Reader::from_path(run.join("metrics.csv")).unwrap();
        let header = csv.headers().unwrap().clone();
        let row = csv.records().next().unwrap().unwrap();
        let columns = header
            .iter()
            .zip(row.iter())
            .filter(|(name, _)| name.contains("loss") || name.contains("acc"));
        let columns: Vec<String> = columns
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        assert_eq!(columns.len(), 4, "{columns:?}");
        (columns, tensors(&checkpoint::weights_of(&run).unwrap()))
    };
    let of_idx = run("idx", &["--data", "sample"]);
    assert!(run("table", &["--data", "p", "--labels", "p/labels.csv"]) == of_idx);
    assert!(
        run(
            "streamed",
            &["--labels", "p/labels.csv", "--feed", "streamed"]
        ) == of_idx
    );
    // By folders, the same images come class by class.
    let by_folders = run("folders", &["--data", "p"]);
    assert!(by_folders.1 != of_idx.1);
}

#[test]
fn the_cache_follows_the_folder() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p, &["a", "b"], 3, 0);
    let cached = || {
        let cache = fs::read_dir(folder.path().join(".cache/resnet/pictures")).unwrap();
        let mut names: Vec<_> = cache.map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    told(folder.path(), &[]);
    let first = cached();
    assert_eq!(first.len(), 1);
    let bytes = fs::read(&first[0]).unwrap();
    // What is not changed is not made anew.
    let at = fs::metadata(&first[0]).unwrap().modified().unwrap();
    told(folder.path(), &[]);
    assert_eq!(fs::metadata(&first[0]).unwrap().modified().unwrap(), at);
    // Other settings have a file of their own.
    told(folder.path(), &["--channels", "1"]);
    assert_eq!(cached().len(), 2);
    // A change replaces the file.
    picture(&p.join("a/new.png"), 500);
    assert_eq!(counts(&told(folder.path(), &[]))[0].1, [4, 0, 0]);
    let second = cached();
    assert_eq!(second.len(), 2);
    assert!(!second.contains(&first[0]));
    // A damaged file is made anew: cut, of another version, altered at its end.
    fs::remove_file(p.join("a/new.png")).unwrap();
    for damage in [
        &|bytes: &mut Vec<u8>| bytes.truncate(100) as _,
        &|bytes: &mut Vec<u8>| {
            let end = bytes.len();
            bytes[end - 1] ^= 1;
        },
        &|bytes: &mut Vec<u8>| {
            let end = bytes.len();
            bytes[end - 40] ^= 1;
        },
    ] as [&dyn Fn(&mut Vec<u8>); 3]
    {
        let mut damaged = bytes.clone();
        damage(&mut damaged);
        fs::write(&first[0], damaged).unwrap();
        assert_eq!(counts(&told(folder.path(), &[]))[0].1, [3, 0, 0]);
        assert!(fs::read(&first[0]).unwrap() == bytes);
    }
}

#[test]
fn a_table_tells_the_classes() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    for i in 0..4 {
        picture(&p.join(format!("{i}.png")), i);
    }
    picture(&p.join("with, comma.png"), 9);
    let table = folder.path().join("t.csv");
    let of = |text: &str| {
        fs::write(&table, text).unwrap();
        told(folder.path(), &["--labels", "t.csv"])
    };
    let report = of("0.png,wolf\n1.png,fox\n\"with, comma.png\",fox\n");
    assert_eq!(
        counts(&report),
        [
            ("fox".to_string(), [2, 0, 0]),
            ("wolf".to_string(), [1, 0, 0])
        ]
    );
    let report = of(
        "\u{feff}label\tset\tfile\r\nfox\ttrain\t0.png\r\nwolf\ttrain\t1.png\r\nfox\tval\t2.png\r\n",
    );
    assert_eq!(
        counts(&report),
        [
            ("fox".to_string(), [1, 1, 0]),
            ("wolf".to_string(), [1, 0, 0])
        ]
    );
    // What is not there is broken.
    let report = of("0.png,wolf\n1.png,fox\nnone.png,fox\n");
    assert_eq!(report["found"]["broken"][0][0], "none.png");

    let says = |text: &str, words: &str| {
        fs::write(&table, text).unwrap();
        let mut data = in_folder(folder.path());
        data.args("data p --labels t.csv --image-size 8".split(' '));
        data.assert().code(1).stderr(contains(words));
    };
    says("", "is empty: its rows are path,label");
    says("0.png,wolf\n1.png\n", "line 2: it has no label");
    says(
        "path,label,split\n0.png,wolf,tset\n",
        "line 2: the split tset is none of train, val and test",
    );
    says(
        "0.png,wolf\n0.png,fox\n",
        "line 2: 0.png has the class fox, but in a line before it is wolf",
    );
    says(
        "0.png,wolf,train\n",
        "the first row names the columns path, label",
    );
    says("0.png,wolf\n1.png,wolf\n", "a single class, wolf");
}

#[test]
fn flags_that_do_not_fit_the_data_are_refused() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p.join("train"), &["a", "b"], 4, 0);
    classes(&p.join("val"), &["a", "b"], 2, 100);
    let split = ["--val-split", "0.5"];
    train(folder.path(), &split)
        .assert()
        .code(2)
        .stderr(contains("4 validation images of its own"));
    for flag in [
        "--fit pad",
        "--channels 3",
        "--max-broken 3",
        "--allow-empty",
    ] {
        let mut command = in_folder(folder.path());
        command
            .args(["train", "--data", "sample"])
            .args(flag.split(' '));
        let flag = flag.split(' ').next().unwrap();
        command
            .assert()
            .code(2)
            .stderr(contains(format!("{flag} is for pictures")));
    }
    let mut command = in_folder(folder.path());
    command.args(["train", "--data", "p/t.csv"]);
    fs::write(p.join("t.csv"), "").unwrap();
    command
        .assert()
        .code(1)
        .stderr(contains("--labels p/t.csv"));
    // With images of their own to validate on, those are compared, and none are tested.
    train(folder.path(), &[])
        .assert()
        .success()
        .stdout(contains("val acc"));
}
