//! The event files for TensorBoard, read back record by record and field by field.
use crate::cli::{resnet, train};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// The fields of a protobuf message: numbers and the bytes of their values, in order.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..).step_by(7) {
            let (&byte, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
        }
        unreachable!("a number ends")
    }
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                fields.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut bytes) as usize,
            5 => 4,
            other => panic!("wire type {other}"),
        };
        let (value, rest) = bytes.split_at(length);
        fields.push((key >> 3, value.to_vec()));
        bytes = rest;
    }
    fields
}

fn field(message: &[u8], number: u64) -> Option<Vec<u8>> {
    let mut fields = fields(message).into_iter();
    fields
        .find(|(own, _)| *own == number)
        .map(|(_, value)| value)
}

/// The events of a file, whose checksums are right.
fn events(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let masked = |bytes: &[u8]| {
        let crc = crc32c::crc32c(bytes);
        crc.rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
    };
    let mut events = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes[8..12], masked(&bytes[..8]));
        let data = &bytes[12..12 + length];
        assert_eq!(bytes[12 + length..16 + length], masked(data));
        events.push(data.to_vec());
        bytes = &bytes[16 + length..];
    }
    events
}

/// The event files of a run in their order.
fn files(run: &Path) -> Vec<Vec<Vec<u8>>> {
    let entries = fs::read_dir(run.join("tensorboard")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| events(&fs::read(path).unwrap()))
        .collect()
}

fn step(event: &[u8]) -> u64 {
    field(event, 2).map_or(0, |step| u64::from_le_bytes(step.try_into().unwrap()))
}

/// The values of summaries by tag: each with its step and its message.
fn values(events: &[Vec<u8>]) -> BTreeMap<String, Vec<(u64, Vec<u8>)>> {
    let mut all: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for event in events {
        let summary = field(event, 5).unwrap_or_default();
        for (_, value) in fields(&summary) {
            let tag = String::from_utf8(field(&value, 1).unwrap()).unwrap();
            all.entry(tag).or_default().push((step(event), value));
        }
    }
    all
}

fn scalar((step, value): &(u64, Vec<u8>)) -> (u64, f32) {
    (
        *step,
        f32::from_le_bytes(field(value, 2).unwrap().try_into().unwrap()),
    )
}

#[test]
fn what_a_run_measures_is_in_its_event_files() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let told = train(&run, &["--tensorboard", "--json"]).assert().success();
    let told = String::from_utf8(told.get_output().stdout.clone()).unwrap();
    let told: Vec<serde_json::Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let [events] = &files(&run)[..] else {
        panic!("one process writes one file")
    };
    assert_eq!(field(&events[0], 3).unwrap(), b"brain.Event:2");
    // A start, before whose step nothing is there.
    assert_eq!(
        (
            step(&events[1]),
            field(&field(&events[1], 7).unwrap(), 1).unwrap()[0]
        ),
        (1, 1)
    );
    let values = values(events);
    let loss: Vec<(u64, f32)> = values["loss/step"].iter().map(scalar).collect();
    let steps = told.iter().filter(|line| line["event"] == "step");
    let want = steps.map(|line| {
        (
            line["step"].as_u64().unwrap(),
            line["loss"].as_f64().unwrap() as f32,
        )
    });
    assert_eq!(loss, want.collect::<Vec<_>>());
    assert_eq!(
        values["lr"].iter().map(scalar).collect::<Vec<_>>(),
        [(1, 0.05), (2, 0.05), (3, 0.05)]
    );
    let epoch = told.iter().find(|line| line["event"] == "epoch").unwrap();
    for (tag, key) in [
        ("loss/train", "train_loss"),
        ("loss/test", "test_loss"),
        ("accuracy/train", "train_acc"),
        ("accuracy/test", "test_acc"),
        ("speed/examples per second", "examples_per_second"),
    ] {
        let want = [(3, epoch[key].as_f64().unwrap() as f32)];
        assert_eq!(
            values[tag].iter().map(scalar).collect::<Vec<_>>(),
            want,
            "{tag}"
        );
    }
    assert!(!values.contains_key("loss/validation"));
    let [(3, image)] = &values["confusion/test"][..] else {
        panic!("an image of the evaluation")
    };
    let image = field(image, 4).unwrap();
    let png = image::load_from_memory(&field(&image, 4).unwrap()).unwrap();
    let side = |number| u64::from_le_bytes(field(&image, number).unwrap().try_into().unwrap());
    assert_eq!(
        (side(1), side(2)),
        (png.height().into(), png.width().into())
    );
    // As many cells of ten by ten are filled as the file has numbers above 0.
    let table = fs::read_to_string(run.join("confusion.csv")).unwrap();
    let filled = table
        .lines()
        .skip(1)
        .flat_map(|line| line.split(',').skip(1));
    let filled = filled.filter(|count| *count != "0").count();
    let (left, top, cell) = (png.width() - 6 - 620, png.height() - 6 - 620, 62);
    let is_filled = |at: &u32| {
        let (x, y) = (left + at % 10 * cell + 1, top + at / 10 * cell + 1);
        png.to_rgb8().get_pixel(x, y).0 != [255; 3]
    };
    assert_eq!((0..100).filter(is_filled).count(), filled);
    let (_, settings) = &values["settings"][0];
    let plugin = field(&field(&field(settings, 9).unwrap(), 1).unwrap(), 1).unwrap();
    assert_eq!(plugin, b"text");
    let tensor = field(settings, 8).unwrap();
    assert_eq!(field(&tensor, 1).unwrap()[0], 7);
    let text = String::from_utf8(field(&tensor, 8).unwrap()).unwrap();
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert_eq!(text, format!("```toml\n{config}```"));
}

#[test]
fn a_resumed_run_takes_back_what_comes_again_and_a_run_without_the_flag_has_no_file() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &["--tensorboard", "--val-split", "100"])
        .assert()
        .success();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let resumed = resnet()
        .args(["train", "--epochs", "2", "--resume"])
        .arg(&run)
        .assert();
    resumed.success();
    let files = files(&run);
    assert_eq!(files.len(), 2);
    assert_eq!(step(&files[1][1]), 4);
    let values = values(&files[1]);
    let steps: Vec<u64> = values["loss/step"].iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [4, 5, 6]);
    // The test images are looked at once, at the end.
    assert_eq!(values["accuracy/test"].len(), 1);
    assert_eq!(values["accuracy/validation"].len(), 1);
    assert_eq!(values["confusion/test"].len(), 1);
    assert_eq!(values["confusion/validation"].len(), 1);

    let plain = folder.path().join("plain");
    train(&plain, &[]).assert().success();
    assert!(!plain.join("tensorboard").exists());
    // A run that fails before its first checkpoint leaves nothing.
    let failed = folder.path().join("failed");
    train(&failed, &["--tensorboard", "--lr", "1e30"])
        .assert()
        .code(1);
    assert!(!failed.exists());
}
