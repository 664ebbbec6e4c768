//! Sizes and names that files claim: refused where they enter, with a reason, and never printed as a terminal would
//! obey them.
use crate::cli::{resnet, train};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The bytes of a safetensors file with other metadata.
fn with_metadata(file: &[u8], lie: impl Fn(&mut Value)) -> Vec<u8> {
    let (length, rest) = file.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let (header, tensors) = rest.split_at(length);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    let told = &mut header["__metadata__"]["resnet"];
    let mut metadata: Value = serde_json::from_str(told.as_str().unwrap()).unwrap();
    lie(&mut metadata);
    *told = metadata.to_string().into();
    let header = header.to_string();
    let length = (header.len() as u64).to_le_bytes();
    [&length[..], header.as_bytes(), tensors].concat()
}

/// What `resnet` says to these arguments, which it must refuse soon and without a control character.
fn refusal(args: &[&str]) -> String {
    let started = Instant::now();
    let output = resnet().args(args).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        matches!(output.status.code(), Some(1 | 2)),
        "{args:?}: {:?} {text}",
        output.status
    );
    assert!(started.elapsed() < Duration::from_secs(20), "{args:?}");
    let obeyed = |c: char| c.is_control() && c != '\n';
    assert!(!text.contains(obeyed), "{args:?}: {text:?}");
    assert!(!text.contains("panicked"), "{args:?}: {text}");
    text
}

#[test]
fn weights_that_lie_about_their_network_are_refused() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).assert().success();
    let weights = resnet::train::checkpoint::weights_of(&run).unwrap();
    let honest = fs::read(weights).unwrap();
    let names = |count: usize| {
        let names: Vec<String> = (0..count).map(|class| format!("class {class}")).collect();
        json!(names)
    };
    let set = |pointer: &'static str, value: Value| {
        move |metadata: &mut Value| *metadata.pointer_mut(pointer).unwrap() = value.clone()
    };
    let huge = json!(1_u64 << 32);
    let size = "/preprocess/size";
    let mut lies: Vec<(&str, Value, &str)> = vec![
        (size, json!(0), "at least 1"),
        (size, json!(4097), "at most 4096"),
        (size, huge.clone(), "at most 4096"),
        ("/arch/stem", json!(65), "this network needs"),
        ("/arch/conv_bias", json!(false), "bias"),
        ("/arch/shortcut_bn", json!(true), "no tensor"),
        ("/arch/block", json!("bottleneck"), "this network needs"),
        ("/arch/block", json!("pre_act_basic"), "bn1"),
        ("/arch/stages/1/width", json!(127), "this network needs"),
        ("/arch/stages/3/blocks", json!(1000), "weights"),
        ("/arch/stages/0/blocks", json!(900), "no tensor"),
        ("/arch/stages", json!([]), "0 stages"),
        ("/arch/classes", json!(11), "10 names"),
        ("/classes", names(9), "9 names"),
        ("/classes/3", json!("class".repeat(14_000)), "70000 bytes"),
        ("/classes/3", json!(" "), "name of class 3"),
        ("/classes/3", json!("bag"), "two classes"),
        ("/classes/3", json!("\u{1b}]0;pwn\u{7}"), "control"),
        ("/version", json!(99), "version 99"),
        ("/version", json!("\u{1b}[31m"), "version"),
    ];
    for (preprocess, word) in [
        (
            json!({"size": 28, "resize": 20}),
            "no 28 pixels can be cut out",
        ),
        (json!({"size": 28, "resize": 5000}), "at most 4096"),
        (
            json!({"size": 28, "mean": [0.5]}),
            "0 standard deviation(s)",
        ),
        (
            json!({"size": 28, "mean": [0.5, 0.5], "std": [0.5, 0.5]}),
            "1 channel(s)",
        ),
        (
            json!({"size": 28, "mean": [0.5], "std": [0.0]}),
            "from 0.001 to 1",
        ),
        (
            json!({"size": 28, "mean": [124], "std": [0.5]}),
            "from 0 to 1",
        ),
        (
            json!({"size": 28, "mean": [1e300], "std": [0.5]}),
            "from 0 to 1",
        ),
    ] {
        lies.push(("/preprocess", preprocess, word));
    }
    for number in [
        "in_channels",
        "stem",
        "classes",
        "stages/0/blocks",
        "stages/2/width",
    ] {
        let pointer: &'static str = format!("/arch/{number}").leak();
        lies.push((pointer, json!(0), "from 1 to"));
        lies.push((pointer, huge.clone(), "from 1 to"));
        lies.push((pointer, json!(u64::MAX), "from 1 to"));
        lies.push((pointer, json!(-1), "invalid value"));
    }
    let path = folder.path().join("lie.safetensors");
    let shown = path.to_str().unwrap();
    for (pointer, value, word) in lies {
        fs::write(&path, with_metadata(&honest, set(pointer, value.clone()))).unwrap();
        let text = refusal(&["eval", shown, "--data", "sample", "--device", "cpu"]);
        assert!(text.contains(word), "{pointer} {value}: {text}");
        assert!(text.contains("lie.safetensors"), "{text}");
    }
    // Eleven classes with eleven names, but weights of ten.
    let eleven = |metadata: &mut Value| {
        metadata["arch"]["classes"] = json!(11);
        metadata["classes"] = names(11);
    };
    fs::write(&path, with_metadata(&honest, eleven)).unwrap();
    let text = refusal(&["eval", shown, "--data", "sample", "--device", "cpu"]);
    assert!(text.contains("11 classes"), "{text}");
    let image = folder.path().join("image.png");
    let grey = image::GrayImage::from_fn(28, 28, |x, _| image::Luma([(9 * x) as u8]));
    grey.save(&image).unwrap();
    let text = refusal(&["predict", shown, image.to_str().unwrap(), "--device", "cpu"]);
    assert!(text.contains("this network needs"), "{text}");
}

#[test]
fn files_of_settings_are_refused_with_what_they_hold_written_out() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("config.toml");
    let key = "conv2d.grad_weight.vec4 32×7×7×64 3×3×64×64 stride 1 pad 1";
    for (text, word) in [
        ("epochs = \u{1b}]0;pwn\u{7}\u{1b}[31m1", r"\x1b"),
        ("\"\\u001B[31m\" = 1", "unknown key"),
        ("data = \"\u{9b}31m\"\nepochs = \"\u{1b}\"", "epochs"),
        (
            &format!("[tilings]\n\"{key}\" = \"64x64 by 4294967296\""),
            "only 32 images",
        ),
        (
            &format!("[tilings]\n\"{key}\" = \"64x64 by 0\""),
            "splits of nothing",
        ),
        ("[tilings]\n\"\\u001B[31m\" = \"64x64\"", "no convolution's"),
        (&"# a comment\n".repeat(100_000), "too large"),
    ] {
        fs::write(&path, text).unwrap();
        let text = refusal(&["config", "--config", path.to_str().unwrap()]);
        assert!(
            text.contains(word) && text.contains("config.toml"),
            "{text}"
        );
    }
}

#[test]
fn golden_cases_that_lie_are_refused() {
    let folder = TempDir::new().unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let manifest = fs::read(golden.join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let network = &manifest["networks"][0];
    let file = network["file"].as_str().unwrap();
    fs::copy(golden.join(file), folder.path().join(file)).unwrap();
    let huge = json!(1_u64 << 62);
    for (key, value) in [
        ("batch", huge.clone()),
        ("batches", huge.clone()),
        ("size", huge.clone()),
        ("size", json!(60_000)),
        ("stem", huge.clone()),
        ("stem", json!(60_000)),
        ("classes", json!(60_000)),
        ("layers", json!([60_000, 1])),
        ("file", json!("\u{1b}[31m")),
    ] {
        let mut network = network.clone();
        network[key] = value;
        let lie = json!({ "format": 1, "networks": [network] });
        fs::write(folder.path().join("manifest.json"), lie.to_string()).unwrap();
        let cases = folder.path().to_str().unwrap();
        let started = Instant::now();
        let output = resnet()
            .args(["verify", "--device", "cpu", "--cases", cases])
            .output();
        let output = output.unwrap();
        let text = format!("{:?}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{key}: {text}");
        assert!(!output.stderr.contains(&0x1b) && !output.stdout.contains(&0x1b));
        assert!(!text.contains("panicked"), "{key}: {text}");
        assert!(started.elapsed() < Duration::from_secs(20), "{key}");
    }
}

#[test]
fn plans_that_no_device_could_hold_are_refused() {
    let bench = ["bench", "--image-size", "4096", "--batch-size", "65536"];
    for what in [
        &["--dump-graph", "--device", "cpu"][..],
        &["--predict", "--peak", "1", "--bandwidth", "1"],
    ] {
        let text = refusal(&[&bench[..], what].concat());
        assert!(text.contains("any device could hold"), "{text}");
    }
    let shapes = ["shapes", "--table", "--image-size", "4294967296"];
    assert!(refusal(&shapes).contains("at most 4096"));
}

/// A FIFO would be waited for.
#[cfg(unix)]
#[test]
fn fifos_are_not_read_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("fifo");
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
    let run = folder.path().join("run");
    train(&run, &[]).assert().success();
    // The fifo of a second name: that of a run's lock.
    let locked = folder.path().join("fifo-locked");
    fs::create_dir(&locked).unwrap();
    fs::hard_link(&path, locked.join(".lock")).unwrap();
    let locked = locked.to_str().unwrap();
    let (fifo, run) = (path.to_str().unwrap(), run.to_str().unwrap());
    for args in [
        &[
            "train", "--data", "sample", "--device", "cpu", "--out", locked,
        ][..],
        &["config", "--config", fifo],
        &[
            "train", "--data", "sample", "--device", "cpu", "--init", fifo,
        ],
        &["eval", fifo, "--device", "cpu"],
        &["eval", run, "--data", fifo, "--device", "cpu"],
        &["predict", run, fifo, "--device", "cpu"],
        &["fetch", "--data", "sample", "--preview", fifo],
        &[
            "bench",
            "--image-size",
            "28",
            "--batch-size",
            "2",
            "--steps",
            "1",
            "--device",
            "cpu",
            "--trace",
            fifo,
        ],
    ] {
        assert!(refusal(args).contains("fifo"), "{args:?}");
        assert!(fs::symlink_metadata(&path).unwrap().file_type().is_fifo());
    }
}
