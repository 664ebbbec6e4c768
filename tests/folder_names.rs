//! What people's folders really hold, besides pictures of their classes.
use crate::folder::{classes, in_folder, picture, told, train};
use image::{GrayImage, ImageFormat, Luma};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A folder `p` with two classes of four pictures.
fn two() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p, &["a", "b"], 4, 0);
    (folder, p)
}

fn images(told: &Value, class: usize) -> u64 {
    told["classes"][class]["train"].as_u64().unwrap()
}

/// What was left out, as `name: why`.
fn pairs(list: &Value) -> Vec<String> {
    let text = |pair: &Value, i: usize| pair[i].as_str().unwrap().to_string();
    let list = list.as_array().unwrap().iter();
    list.map(|pair| format!("{}: {}", text(pair, 0), text(pair, 1)))
        .collect()
}

#[test]
fn what_systems_leave_in_folders_is_ignored_and_counted() {
    let (folder, p) = two();
    for name in [
        ".DS_Store",
        "Thumbs.db",
        "a/desktop.ini",
        "a/Thumbs.db",
        "b/.hidden.txt",
    ] {
        fs::write(p.join(name), "left behind").unwrap();
    }
    for name in [
        "a/._000.png",
        "__MACOSX/a/000.png",
        ".ipynb_checkpoints/000.png",
        "a/.ipynb_checkpoints/1.png",
    ] {
        picture(&p.join(name), 70);
    }
    fs::write(p.join("a/notes.txt"), "no picture").unwrap();
    fs::write(p.join("readme.md"), "no picture").unwrap();
    let report = told(folder.path(), &[]);
    assert_eq!(report["classes"].as_array().unwrap().len(), 2);
    assert_eq!((images(&report, 0), images(&report, 1)), (4, 4));
    assert_eq!(report["hidden"]["Thumbs.db"], 2);
    assert_eq!(report["hidden"].as_object().unwrap().len(), 7);
    assert_eq!(
        report["found"]["others"],
        serde_json::json!(["a/notes.txt"])
    );
    assert_eq!(
        pairs(&report["skipped"]),
        ["readme.md: in no folder of a class"]
    );
    let mut data = in_folder(folder.path());
    data.args("data p --image-size 8".split(' '));
    data.assert().success().stdout(
        contains("ignored   9 files and folders that systems leave").and(contains("Thumbs.db (2)")),
    );
}

#[test]
fn classes_follow_names_and_those_that_cannot_be_learnt_are_named() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p.join("train"), &["a", "b", "c"], 4, 0);
    classes(&p.join("val"), &["a", "c"], 2, 100);
    let report = told(folder.path(), &[]);
    // Not the second: it is c that the second folder of val holds.
    assert_eq!(report["classes"][2]["validation"], 2);
    assert_eq!(report["classes"][1]["validation"], 0);
    assert!(
        report["notes"]
            .to_string()
            .contains("no validation image of b"),
        "{report}"
    );
    train(folder.path(), &[]).assert().success();

    let says = |words: &str| {
        let stderr = contains(words.to_string());
        let mut data = in_folder(folder.path());
        data.args("data p --image-size 8".split(' '));
        data.assert().code(1).stderr(stderr);
    };
    picture(&p.join("val/d/0.png"), 900);
    says("among the validation images there are pictures of d, but none among those to train on");
    fs::remove_dir_all(p.join("val/d")).unwrap();

    fs::create_dir(p.join("train/empty")).unwrap();
    fs::write(p.join("train/empty/.DS_Store"), "").unwrap();
    says("there is no picture of empty: remove the folder, or keep the class by --allow-empty");
    let report = told(folder.path(), &["--allow-empty"]);
    assert_eq!(
        (report["classes"][3]["name"].as_str(), images(&report, 3)),
        (Some("empty"), 0)
    );
    fs::remove_dir_all(p.join("train/empty")).unwrap();

    for class in ["train/b", "train/c", "val/c"] {
        fs::remove_dir_all(p.join(class)).unwrap();
    }
    says("a single class, a");

    // The folders of a split, and none to train on.
    fs::rename(p.join("train"), p.join("test")).unwrap();
    says("there are test and val, but no folder train");
}

/// A file of so many bytes of a picture in this format.
fn cut(path: &Path, format: ImageFormat, keep: usize) {
    let picture = GrayImage::from_fn(40, 30, |x, y| Luma([(x * y) as u8]));
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, format).unwrap();
    let file = file.into_inner();
    fs::write(path, &file[..file.len() * keep / 100]).unwrap();
}

#[test]
fn broken_files_are_named_and_left_out_up_to_a_limit() {
    let (folder, p) = two();
    cut(&p.join("a/half.png"), ImageFormat::Png, 50);
    cut(&p.join("a/most.jpg"), ImageFormat::Jpeg, 95);
    fs::write(p.join("a/nothing.png"), "").unwrap();
    fs::write(p.join("a/text.png"), "<html>not found</html>").unwrap();
    // A whole JPEG that is called PNG is what it is.
    cut(&p.join("b/jpeg.png"), ImageFormat::Jpeg, 100);
    let report = told(folder.path(), &[]);
    assert_eq!((images(&report, 0), images(&report, 1)), (4, 5));
    let broken = pairs(&report["found"]["broken"]);
    for (found, want) in broken.iter().zip([
        "a/half.png: ",
        "a/most.jpg: the file is truncated: the end of the picture is missing",
        "a/nothing.png: the file is empty",
        "a/text.png: its contents are not PNG, JPEG, WebP, BMP, GIF or TIFF",
    ]) {
        assert!(found.starts_with(want) && found.len() > 12, "{found}");
    }
    assert_eq!(broken.len(), 4);
    let held = ["--val-split", "2"];
    let said = train(folder.path(), &held).assert().success();
    said.stderr(contains(
        "4 pictures cannot be read and are left out, such as a/half.png",
    ));

    let strict = ["--val-split", "2", "--max-broken", "3", "--name", "x"];
    let mut command = in_folder(folder.path());
    command
        .args("train --data p --image-size 8".split(' '))
        .args(strict);
    let said = command.assert().code(1);
    said.stderr(
        contains("4 of 13 pictures in")
            .and(contains("--max-broken allows 3"))
            .and(contains("a/text.png: its contents"))
            .and(contains("by --max-broken 4")),
    );
    for i in 0..2 {
        fs::write(p.join(format!("b/{i}.gif")), "GIF89a").unwrap();
    }
    let mut data = in_folder(folder.path());
    data.args("data p --image-size 8".split(' '));
    // All are printed before it is refused.
    let said = data
        .assert()
        .code(1)
        .stdout(contains("broken: 6").and(contains("b/1.gif: ")));
    said.stderr(contains("6 of 15 pictures"));
    told(folder.path(), &["--max-broken", "6"]);
}

#[cfg(unix)]
#[test]
fn names_may_be_anything() {
    use std::os::unix::ffi::OsStrExt;
    let (folder, p) = two();
    let names: [&[u8]; 5] = [
        b"caf\xe9",
        b"two\nlines",
        b"esc\x1b[31m, x",
        "Übel ä".as_bytes(),
        b"a \"b\" 'c'",
    ];
    for (i, name) in names.iter().enumerate() {
        let class = p.join(std::ffi::OsStr::from_bytes(name));
        picture(&class.join("x.png"), 50 + i as u32);
        let file = class.join(std::ffi::OsStr::from_bytes(&[name, &b".png"[..]].concat()));
        fs::write(file, "").unwrap();
    }
    let report = told(folder.path(), &[]);
    let shown: Vec<&str> = report["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    let want = [
        "a",
        "a \"b\" 'c'",
        "b",
        r"caf\xe9",
        r"esc\x1b[31m, x",
        r"two\x0alines",
        "Übel ä",
    ];
    assert_eq!(shown, want);
    assert!(
        pairs(&report["found"]["broken"])
            .contains(&r"two\x0alines/two\x0alines.png: the file is empty".to_string())
    );
    let said = train(folder.path(), &["--val-split", "2"])
        .assert()
        .success();
    for stream in [&said.get_output().stdout, &said.get_output().stderr] {
        assert!(
            !stream.contains(&0x1b),
            "{}",
            String::from_utf8_lossy(stream)
        );
    }
    let mut eval = in_folder(folder.path());
    eval.args("eval run --device cpu".split(' '))
        .assert()
        .success()
        .stdout(contains(r"two\x0alines"));
    // A table names such files too.
    let mut table = Vec::new();
    for (path, class) in [
        (&b"a/000.png"[..], "a"),
        (b"\"two\nlines/x.png\"", "b"),
        (b"caf\xe9/x.png", "b"),
    ] {
        table.extend(path);
        table.extend(format!(",{class}\n").bytes());
    }
    fs::write(folder.path().join("t.csv"), table).unwrap();
    assert_eq!(images(&told(folder.path(), &["--labels", "t.csv"]), 1), 2);
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_loops_are_named() {
    use std::os::unix::fs::symlink;
    let (folder, p) = two();
    classes(folder.path(), &["elsewhere"], 3, 300);
    symlink(folder.path().join("elsewhere"), p.join("c")).unwrap();
    symlink(
        folder.path().join("elsewhere/000.png"),
        p.join("a/link.png"),
    )
    .unwrap();
    symlink(&p, p.join("a/loop")).unwrap();
    fs::create_dir(p.join("b/deep")).unwrap();
    symlink(p.join("b"), p.join("b/deep/loop")).unwrap();
    symlink("self", p.join("b/self")).unwrap();
    symlink("/nonexistent/x.png", p.join("b/dangling.png")).unwrap();
    let report = told(folder.path(), &[]);
    assert_eq!(
        (images(&report, 0), images(&report, 1), images(&report, 2)),
        (5, 4, 3)
    );
    let skipped = pairs(&report["skipped"]);
    for want in [
        "a/loop: a loop of links",
        "b/deep/loop: a loop of links",
        "b/self: a link",
        "b/dangling.png: a link that leads nowhere",
    ] {
        assert!(
            skipped.iter().any(|line| line.starts_with(want)),
            "{want}: {skipped:?}"
        );
    }
    assert_eq!(skipped.len(), 4);
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_above_its_class_is_a_loop_too() {
    use std::os::unix::fs::symlink;
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    for (split, from) in [("train", 0), ("test", 100)] {
        classes(&p.join(split), &["a", "b"], 2, from);
    }
    // The pictures of the other class are not this one's, and not those of the whole disk either.
    symlink(p.join("train"), p.join("train/a/up")).unwrap();
    symlink("/", p.join("train/b/top")).unwrap();
    let report = told(folder.path(), &[]);
    assert_eq!((images(&report, 0), images(&report, 1)), (2, 2));
    let skipped = pairs(&report["skipped"]);
    assert!(
        skipped[0].starts_with("train/a/up: a loop of links"),
        "{skipped:?}"
    );
    assert_eq!(
        skipped[1],
        "train/b/top: a loop of links: it leads back to /"
    );
}

#[cfg(unix)]
#[test]
fn what_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, p) = two();
    let locked = p.join("a/000.png");
    let allow = |mode| fs::set_permissions(&locked, fs::Permissions::from_mode(mode)).unwrap();
    allow(0);
    if fs::File::open(&locked).is_ok() {
        println!("skipped: this user may read everything");
        return;
    }
    let report = told(folder.path(), &[]);
    assert!(
        pairs(&report["found"]["broken"])[0].starts_with("a/000.png: Permission denied"),
        "{report}"
    );
    allow(0o600);
}

/// A grey PNG of one level, written row by row.
fn blank(path: &Path, width: u32, height: u32, rows: u32) {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8; 4], data: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(kind);
        crc.update(data);
        png.extend((data.len() as u32).to_be_bytes());
        png.extend([&kind[..], data, &crc.sum().to_be_bytes()].concat());
    };
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&sides[..], &[8, 0, 0, 0, 0]].concat());
    let mut pixels = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    let row = vec![0; width as usize + 1];
    (0..rows).for_each(|_| pixels.write_all(&row).unwrap());
    chunk(b"IDAT", &pixels.finish().unwrap());
    chunk(b"IEND", &[]);
    fs::write(path, png).unwrap();
}

#[test]
fn pictures_of_all_sizes_but_absurd_ones_are_read() {
    let (folder, p) = two();
    blank(&p.join("a/pixel.png"), 1, 1, 1);
    blank(&p.join("a/line.png"), 5000, 1, 1);
    // A header of a few bytes that promises gigabytes.
    blank(&p.join("b/huge.png"), 60_000, 60_000, 1);
    blank(&p.join("b/wide.png"), 70_000, 1, 1);
    let report = told(folder.path(), &[]);
    assert_eq!((images(&report, 0), images(&report, 1)), (6, 4));
    assert_eq!(report["found"]["smallest"], serde_json::json!([1, 1]));
    let broken = pairs(&report["found"]["broken"]);
    assert_eq!(broken.len(), 2);
    assert!(
        broken[0].contains("60000×60000 pixels, but at most"),
        "{broken:?}"
    );
}

#[test]
#[ignore = "minutes: it decodes two pictures of 400 million pixels"]
fn pictures_as_large_as_cities_are_read_one_after_another() {
    let (folder, p) = two();
    for name in ["a/city.png", "b/city.png"] {
        blank(&p.join(name), 20_000, 20_000, 20_000);
    }
    let report = told(folder.path(), &[]);
    assert_eq!(report["found"]["broken"], serde_json::json!([]));
    assert_eq!((images(&report, 0), images(&report, 1)), (5, 5));
}

#[test]
fn pictures_of_several_splits_and_rare_classes_are_told() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p.join("train"), &["a"], 20, 0);
    classes(&p.join("train"), &["b"], 2, 500);
    classes(&p.join("test"), &["a", "b"], 2, 700);
    fs::copy(p.join("train/a/003.png"), p.join("test/a/same.png")).unwrap();
    let report = told(folder.path(), &[]);
    assert_eq!(report["shared"], 1);
    let said = train(folder.path(), &[]).assert().success();
    said.stderr(
        contains("1 of the images to evaluate on are training images too")
            .and(contains(
                "the classes are uneven: 20 training images of a, 2 of b",
            ))
            .and(contains("--class-weights balanced")),
    );
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    train(folder.path(), &["--class-weights", "balanced"])
        .assert()
        .success();
    let config = fs::read_to_string(folder.path().join("run/config.toml")).unwrap();
    assert!(config.contains("class_weights = \"balanced\""), "{config}");
    fs::remove_dir_all(folder.path().join("run")).unwrap();
    // Also of images that were held out.
    fs::remove_dir_all(p.join("test")).unwrap();
    for i in 1..20 {
        fs::copy(
            p.join("train/a/000.png"),
            p.join(format!("train/a/{i:03}.png")),
        )
        .unwrap();
    }
    let more = ["--val-split", "0.25", "--name", "held"];
    let mut command = in_folder(folder.path());
    command.args("train --data p --image-size 8 --stem cifar --widths 4 --blocks 1".split(' '));
    command.args("--epochs 1 --batch-size 8 --device cpu".split(' '));
    let said = command.args(more).assert().success();
    said.stderr(contains(
        "of the images to evaluate on are training images too",
    ));
}
