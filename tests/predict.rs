//! `resnet predict` on real files and on images of the test set.
use crate::cli::{json, resnet, train};
use predicates::prelude::PredicateBooleanExt;
use serde_json::Value;
use std::fs;
use tempfile::TempDir;

#[test]
fn predict_answers_for_files_and_for_test_images() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).assert().success();
    let data = resnet::data::sample().unwrap();
    let pixels = data.test.pixels[7 * 784..8 * 784].to_vec();
    let garment = image::GrayImage::from_raw(28, 28, pixels).unwrap();
    let file = |name: &str| folder.path().join(name).display().to_string();
    // As the test set has it; dark on white in colour; large, as a photo. The ending tells nothing.
    garment.save(file("dark.png")).unwrap();
    let mut light = garment.clone();
    image::imageops::invert(&mut light);
    let light = image::DynamicImage::from(light).to_rgb16();
    light.save(file("light.png")).unwrap();
    let filter = image::imageops::FilterType::Nearest;
    let large = image::imageops::resize(&garment, 280, 280, filter);
    large.save(file("large.jpg")).unwrap();
    fs::rename(file("large.jpg"), file("large.photo")).unwrap();

    let predict = |more: &str| {
        let mut command = resnet();
        command.arg("predict").arg(&run).args(["--device", "cpu"]);
        command.args(more.split_whitespace());
        command
    };
    let names = ["dark.png", "light.png", "large.photo"].map(file);
    let files = names.join(" ");
    let args = format!("{files} --test-image 0,7 --top 10 --json");
    let output = predict(&args).output().unwrap();
    let report = json(&output.stdout);
    let images = report["images"].as_array().unwrap();
    assert_eq!(images.len(), 5);
    for (image, name) in images.iter().zip(&names) {
        assert_eq!(image["image"], **name);
        assert!(image["label"].is_null());
    }
    let label = &data.info.classes[data.test.labels[7] as usize];
    assert_eq!(images[4]["label"], **label);
    let inverted = images.iter().map(|i| i["inverted"].as_bool().unwrap());
    assert_eq!(
        inverted.collect::<Vec<_>>(),
        [false, true, false, false, false]
    );
    assert_eq!(images[0]["classes"], images[4]["classes"]);
    assert_eq!(images[1]["classes"], images[4]["classes"]);
    assert_ne!(images[3]["classes"], images[4]["classes"]);
    for image in images {
        let classes = image["classes"].as_array().unwrap();
        let probability = |class: &Value| class["probability"].as_f64().unwrap();
        let all: Vec<f64> = classes.iter().map(probability).collect();
        assert!(all.is_sorted_by(|a, b| a >= b), "{all:?}");
        assert!((all.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{all:?}");
        assert_eq!(all.len(), 10);
    }

    // The answers of `predict` are those that `eval` counts.
    let all: Vec<String> = (0..48).map(|i| i.to_string()).collect();
    let args = format!(
        "--test-image {} --batch-size 16 --top 1 --json",
        all.join(",")
    );
    let each = json(&predict(&args).output().unwrap().stdout);
    let each = each["images"].as_array().unwrap();
    let right = each
        .iter()
        .filter(|i| i["classes"][0]["class"] == i["label"]);
    let mut eval = resnet();
    eval.arg("eval")
        .arg(&run)
        .args(["--device", "cpu", "--json"]);
    let report = json(&eval.output().unwrap().stdout);
    assert_eq!(report["accuracy"], right.count() as f64 / 48.0);

    let mut text = predict(&format!("{} --test-image 7 --ground light", names[0]));
    let text = String::from_utf8(text.output().unwrap().stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 8, "{text}");
    assert_eq!(lines[0], format!("{} (inverted)", names[0]));
    assert_eq!(lines[4], format!("test image 7 ({label})"));
    let best = &images[4]["classes"][0];
    let probability = best["probability"].as_f64().unwrap();
    let line = format!("{probability:.3}  █");
    assert!(
        lines[5].contains(best["class"].as_str().unwrap()) && lines[5].contains(&line),
        "{text}"
    );

    // Half a JPEG file is answered for, but not in silence; half a PNG file is an error.
    let photo = fs::read(file("large.photo")).unwrap();
    fs::write(file("cut.jpg"), &photo[..photo.len() / 2]).unwrap();
    let output = predict(&format!("{} --json", file("cut.jpg")))
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(json(&output.stdout)["images"][0]["classes"].is_array());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(
        warning.contains("cut.jpg is truncated: the end of the picture is missing"),
        "{warning}"
    );
    fs::write(file("cut.png"), &fs::read(file("dark.png")).unwrap()[..100]).unwrap();
    let says = |args: &str, code: i32, words: &[&str]| {
        let assert = predict(args).assert().failure().code(code);
        let text = String::from_utf8_lossy(&assert.get_output().stderr).to_string();
        for word in words {
            assert!(
                text.contains(word),
                "`predict {args}` should say {word:?}: {text}"
            );
        }
    };
    says("", 2, &["IMAGE"]);
    says("no.png", 1, &["no.png does not exist", "--test-image 0"]);
    says("src", 1, &["src is a folder", "src/*.png"]);
    says("no*.png", 1, &["no*.png: no file matches"]);
    for path in ["Cargo.toml", &file("cut.png")] {
        says(path, 1, &[path, "not a PNG, JPEG", "--test-image 0"]);
    }
    // What cannot be used does not keep the others from being answered.
    image::GrayImage::new(40, 40)
        .save(file("empty.png"))
        .unwrap();
    garment.save(file("garment.webp")).unwrap();
    says(&file("empty.png"), 1, &["empty.png is empty"]);
    let args = format!(
        "{} {} {} {} --top 1",
        file("cut.png"),
        names[0],
        file("empty.png"),
        file("garment.webp")
    );
    says(
        &args,
        1,
        &["cut.png is not", "empty.png is empty", "2 of 4"],
    );
    let text = String::from_utf8(predict(&args).output().unwrap().stdout).unwrap();
    assert_eq!(text.lines().count(), 4, "{text}");
    let output = predict(&format!("{args} --json")).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report = json(&output.stdout);
    let images = report["images"].as_array().unwrap();
    let answered = images.iter().map(|i| i["error"].is_null());
    assert_eq!(answered.collect::<Vec<_>>(), [false, true, false, true]);
    assert_eq!(images[1]["classes"], images[3]["classes"]);
    says("--test-image 0 --top 0", 2, &["--top 0", "1 to 10"]);
    says("--test-image 0 --top 11", 2, &["--top 11", "1 to 10"]);
    says("--test-image 500", 2, &["--test-image 500", "0 to 499"]);
    says("--test-image 0 --data /nonexistent", 1, &["/nonexistent"]);
}

#[test]
fn folders_and_patterns_are_answered_and_drawn_as_the_network_saw_them() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).assert().success();
    let data = resnet::data::sample().unwrap();
    let pictures = folder.path().join("pictures");
    fs::create_dir(&pictures).unwrap();
    let garment = |i: usize| {
        let pixels = data.test.pixels[i * 784..(i + 1) * 784].to_vec();
        image::GrayImage::from_raw(28, 28, pixels).unwrap()
    };
    for i in 0..3 {
        garment(i).save(pictures.join(format!("{i}.png"))).unwrap();
    }
    fs::write(pictures.join("notes.txt"), "no picture").unwrap();
    let sheet = folder.path().join("sheet.png");
    let mut command = resnet();
    command
        .arg("predict")
        .arg(&run)
        .args(["--device", "cpu", "--json"]);
    // The shell of this test replaces nothing.
    command.arg(&pictures).arg(pictures.join("[12].png"));
    command.args(["--test-image", "3", "--sheet"]).arg(&sheet);
    let output = command.assert().success().get_output().stdout.clone();
    let report = json(&output);
    let images = report["images"].as_array().unwrap();
    let names: Vec<&str> = images
        .iter()
        .map(|image| image["image"].as_str().unwrap())
        .collect();
    let file = |name: &str| pictures.join(name).display().to_string();
    let want = ["0.png", "1.png", "2.png", "1.png", "2.png"].map(file);
    assert_eq!(names[..5], want);
    assert_eq!(names[5], "test image 3");

    // Six pictures of 28 pixels, four times as large, in rows of four.
    let drawn = image::open(&sheet).unwrap().into_luma8();
    assert_eq!(drawn.width(), 8 + 4 * 120);
    for (x, y) in [(0, 0), (13, 9), (27, 27), (14, 20)] {
        let third = drawn.get_pixel(8 + 2 * 120 + 4 * x + 1, 8 + 4 * y + 2);
        assert_eq!(third, garment(2).get_pixel(x, y));
    }
    let dark = |left: u32, top: u32| {
        let text = (left..left + 112).flat_map(|x| (top..top + 30).map(move |y| (x, y)));
        text.filter(|&(x, y)| drawn.get_pixel(x, y).0 == [0])
            .count()
    };
    assert!(dark(8, 8 + 112 + 2) > 50);

    let mut command = resnet();
    command
        .arg("predict")
        .arg(&run)
        .args(["--test-image", "0", "--sheet"])
        .arg(folder.path());
    let refused = command.assert().code(1);
    refused
        .stderr(predicates::str::contains("--sheet").and(predicates::str::contains("is a folder")));
}
