//! Weights of PyTorch's, as torchvision and timm write them, in the hands of the commands. What PyTorch computed with them
//! lies in `torchvision/` (`scripts/golden/pictures.py`).
use crate::cli::{json, resnet, train};
use crate::device::floats;
use resnet::train::checkpoint::{self, WeightsFile};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NETWORK: &[u8] = include_bytes!("torchvision/network.safetensors");
const PICTURES: &[u8] = include_bytes!("torchvision/pictures.safetensors");
const MEAN_AND_STD: &str = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225";

type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// The tensors of the tiny network, but for its counters: bottlenecks, 3 channels, 7 classes.
fn network() -> Tensors {
    let file = SafeTensors::deserialize(NETWORK).unwrap();
    let all = file.iter().filter(|(_, view)| view.dtype() == Dtype::F32);
    all.map(|(name, view)| {
        let tensor = (view.shape().to_vec(), floats(view.data()));
        (name.to_string(), tensor)
    })
    .collect()
}

/// The same with so many channels and classes.
fn network_of(channels: usize, classes: usize) -> Tensors {
    let mut all = network();
    let repeat = |(shape, values): &mut (Vec<usize>, Vec<f32>), at: usize, count: usize| {
        shape[at] = count;
        let len = shape.iter().product();
        *values = values.iter().copied().cycle().take(len).collect();
    };
    repeat(all.get_mut("conv1.weight").unwrap(), 1, channels);
    for name in ["fc.weight", "fc.bias"] {
        repeat(all.get_mut(name).unwrap(), 0, classes);
    }
    all
}

fn write(tensors: &Tensors, to: &Path) {
    let views = tensors.iter().map(|(name, (shape, values))| {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.unwrap())
    });
    fs::write(to, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A folder with the network's file and a picture that its logits are known of.
fn folder() -> (TempDir, PathBuf, PathBuf) {
    let folder = TempDir::new().unwrap();
    let [weights, picture] =
        ["model.safetensors", "picture.png"].map(|name| folder.path().join(name));
    fs::write(&weights, NETWORK).unwrap();
    let file = SafeTensors::deserialize(PICTURES).unwrap();
    let pixels = file.tensor("0/picture").unwrap();
    let [h, w] = [0, 1].map(|at| pixels.shape()[at] as u32);
    let pixels = image::RgbImage::from_raw(w, h, pixels.data().to_vec()).unwrap();
    pixels.save(&picture).unwrap();
    (folder, weights, picture)
}

/// What `predict` answers and says, without any data set.
fn predict(weights: &Path, picture: &Path, flags: &str) -> (Value, String) {
    let mut command = resnet();
    command.arg("predict").arg(weights).arg(picture);
    command.args(["--device", "cpu", "--json"]);
    command.args(flags.split_whitespace());
    let output = command.env("RESNET_DATA", "/nonexistent").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    (json(&output.stdout)["images"][0].clone(), said)
}

fn logits(answer: &Value) -> Vec<f64> {
    let logits = answer["logits"].as_array().unwrap().iter();
    logits.map(|logit| logit.as_f64().unwrap()).collect()
}

/// What a command says that is refused.
fn refused(args: &[&str], code: i32) -> String {
    let output = resnet().args(args).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    said
}

#[test]
fn a_picture_in_colour_has_pytorchs_logits() {
    let (_folder, weights, picture) = folder();
    let file = SafeTensors::deserialize(PICTURES).unwrap();
    let want: Vec<f64> = bytemuck::pod_collect_to_vec(file.tensor("logits").unwrap().data());
    let flags = format!("--resize 40 --image-size 33 {MEAN_AND_STD}");
    let (answer, said) = predict(&weights, &picture, &flags);
    let largest = want
        .iter()
        .fold(0.0_f64, |most, logit| most.max(logit.abs()));
    for (got, want) in logits(&answer).iter().zip(&want) {
        assert!((got - want).abs() <= 1e-4 * largest, "{got}, not {want}");
    }
    assert_eq!(logits(&answer).len(), 7);
    for word in [
        "bottleneck",
        "3 channel(s), 7 classes",
        "images of 33×33 from the middle of 40",
        "mean 0.485,0.456,0.406",
        "(--image-size, --resize, --mean, --std)",
        "classes by their numbers",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let best = (0..7).max_by(|a, b| want[*a].total_cmp(&want[*b])).unwrap();
    assert_eq!(answer["classes"][0]["class"], format!("class {best}"));
    assert_eq!(answer["classes"].as_array().unwrap().len(), 3);

    let shown = [&weights, &picture].map(|path| path.to_str().unwrap());
    let predict = ["predict", shown[0], shown[1]];
    let says = |more: &[&str], code, words: &[&str]| {
        let said = refused(&[&predict, more].concat(), code);
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    };
    says(&["--background", "dark"], 2, &["--background", "colour"]);
    says(&["--mean", "0.5", "--std", "0.5"], 2, &["3 channel(s)"]);
    says(&["--mean", "124,117,104"], 2, &["0.485,0.456,0.406"]);
    says(
        &["--resize", "32"],
        2,
        &["--resize", "no 96 pixels can be cut out of the 32"],
    );
    says(
        &["--test-image", "0", "--data", "sample"],
        1,
        &["1 channel(s)", "takes 3"],
    );
}

#[test]
fn three_channels_and_a_thousand_classes_are_imagenets() {
    let (_folder, weights, picture) = folder();
    write(&network_of(3, 1000), &weights);
    let (answer, said) = predict(&weights, &picture, "");
    for word in [
        "images of 224×224 from the middle of 256",
        "standard deviation 0.229,0.224,0.225",
        "torchvision's preprocessing for ImageNet; --resize",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let flags = format!("--resize 256 --image-size 224 {MEAN_AND_STD}");
    assert_eq!(predict(&weights, &picture, &flags).0, answer);
    // The same part of the picture at another size.
    let (_, said) = predict(&weights, &picture, "--image-size 56");
    assert!(said.contains("56×56 from the middle of 64"), "{said}");
    let (other, _) = predict(&weights, &picture, "--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5");
    assert_ne!(logits(&other), logits(&answer));
}

#[test]
fn pickled_weights_are_refused_and_their_conversion_is_told() {
    let folder = TempDir::new().unwrap();
    // As PyTorch writes them since version 1.6, and before. The ending tells nothing.
    for (name, head) in [
        ("resnet50.pth", &b"PK\x03\x04\x00\x00\x08\x08\x00\x00"[..]),
        ("model.bin", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."),
        ("model.safetensors", b"PK\x03\x04\x00\x00\x08\x08\x00\x00"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, [head, &[0; 1000]].concat()).unwrap();
        let shown = path.to_str().unwrap();
        let out = folder.path().join("run").display().to_string();
        for args in [
            &["eval", shown, "--data", "sample"][..],
            &["predict", shown, "picture.png"],
            &["train", "--data", "sample", "--out", &out, "--init", shown],
        ] {
            let said = refused(args, 1);
            for word in [
                name,
                "import torch, safetensors.torch",
                "weights_only=True",
                ".safetensors\")",
            ] {
                assert!(said.contains(word), "{word}: {said}");
            }
        }
    }
    // A header of this length makes a safetensors file begin like a pickle.
    let (_folder, weights, picture) = self::folder();
    let (length, rest) = NETWORK.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let (header, tensors) = rest.split_at(length);
    let padding = vec![b' '; 0x1_0380 - length];
    let length = 0x1_0380_u64.to_le_bytes();
    assert_eq!(length[..2], [0x80, 3]);
    fs::write(&weights, [&length, header, &padding, tensors].concat()).unwrap();
    predict(&weights, &picture, "--image-size 33");
}

#[test]
fn a_training_begins_with_other_weights_and_perhaps_a_new_last_layer() {
    let (folder, weights, _) = folder();
    let shown = weights.to_str().unwrap();
    let init = |out: &str, more: &[&str]| {
        let mut command = train(&folder.path().join(out), more);
        command
            .args(["--init", shown, "--lr", "1e-30"])
            .output()
            .unwrap()
    };
    let says = |more: &[&str], words: &[&str]| {
        let output = init("refused", more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
    };
    says(&["--new-head"], &[shown, "3 channel(s)", "has 1"]);
    write(&network_of(1, 7), &weights);
    says(&[], &[shown, "7 classes", "sample has 10", "--new-head"]);

    let trained = |out: &str, more: &[&str]| -> Tensors {
        let output = init(out, more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let file = checkpoint::weights_of(&folder.path().join(out)).unwrap();
        let file = fs::read(file).unwrap();
        let file = SafeTensors::deserialize(&file).unwrap();
        let all = file.iter().filter(|(_, view)| view.dtype() == Dtype::F32);
        all.map(|(name, view)| {
            let tensor = (view.shape().to_vec(), floats(view.data()));
            (name.to_string(), tensor)
        })
        .collect()
    };
    let [first, second] = ["first", "second"].map(|out| trained(out, &["--new-head"]));
    assert_eq!(first, second);
    assert_eq!(first["fc.weight"].0, [10, 12]);
    let before = network_of(1, 7);
    // Steps so short that no weight moves; but running statistics do.
    for name in before
        .keys()
        .filter(|name| !name.contains("running") && !name.starts_with("fc."))
    {
        assert!(first[name] == before[name], "{name}");
    }
    let other = trained("other", &["--new-head", "--seed", "1"]);
    assert!(other["fc.weight"] != first["fc.weight"]);
    assert!(other["conv1.weight"] == first["conv1.weight"]);
    // With as many classes the last layer is taken too.
    let ten = network_of(1, 10);
    write(&ten, &weights);
    assert!(trained("whole", &[])["fc.weight"] == ten["fc.weight"]);
}

/// As timm saves what was made with `num_classes=0`.
#[test]
fn weights_without_a_last_layer_get_a_new_one() {
    let (folder, weights, _) = folder();
    let shown = weights.to_str().unwrap();
    let mut body = network_of(1, 7);
    body.retain(|name, _| !name.starts_with("fc."));
    write(&body, &weights);
    for args in [
        &["eval", shown, "--data", "sample"][..],
        &["train", "--data", "sample", "--init", shown],
    ] {
        let said = refused(args, 1);
        for word in ["no last layer (fc.weight)", "train --init", "--new-head"] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
    let run = folder.path().join("run");
    let mut command = train(&run, &["--new-head", "--lr", "1e-30", "--init", shown]);
    command.assert().success();
    let trained = fs::read(checkpoint::weights_of(&run).unwrap()).unwrap();
    let trained = SafeTensors::deserialize(&trained).unwrap();
    assert_eq!(trained.tensor("fc.weight").unwrap().shape(), [10, 12]);
    let kept = floats(trained.tensor("layer1.0.conv1.weight").unwrap().data());
    assert!(kept == body["layer1.0.conv1.weight"].1);
}

#[test]
fn weights_of_other_classes_than_the_data_are_answered_by_a_command() {
    let (_folder, weights, picture) = folder();
    let shown = weights.to_str().unwrap();
    for (channels, more) in [(1, true), (3, false)] {
        write(&network_of(channels, 7), &weights);
        for command in ["eval", "probe"] {
            let said = refused(
                &[command, shown, "--data", "sample", "--image-size", "33"],
                1,
            );
            let words = "name the data that it was trained on by --data DIR";
            assert!(said.contains(words), "{said}");
            let trains = said.contains("train --init") && said.contains("--data sample --new-head");
            assert_eq!(trains, more, "{said}");
        }
    }
    // And a mean or deviation that cannot be by its own flag.
    for (flags, words) in [
        ("--mean 2,0,0 --std 1,1,1", "--mean"),
        ("--mean 0.5 --std 1,1,1", "--mean and --std: 1 mean(s)"),
        ("--mean 0.5,0,0", "--mean and --std: 3 mean(s) and 0"),
    ] {
        let mut args = vec!["predict", shown, picture.to_str().unwrap()];
        args.extend(flags.split(' '));
        let said = refused(&args, 2);
        assert!(
            said.contains(words) && !said.contains("--image-size"),
            "{said}"
        );
    }
}

#[test]
fn preprocessing_travels_with_the_weights() {
    let folder = TempDir::new().unwrap();
    let [run, second] = ["run", "second"].map(|name| folder.path().join(name));
    let flags = ["--resize", "32", "--mean", "0.286", "--std", "0.353"];
    train(&run, &flags).assert().success();
    let weights = checkpoint::weights_of(&run).unwrap();
    let told = WeightsFile::read(&weights)
        .unwrap()
        .told()
        .unwrap()
        .unwrap()
        .preprocess;
    assert_eq!((told.size, told.resize), (28, Some(32)));
    assert_eq!(
        (&told.mean[..], &told.std[..]),
        (&[0.286][..], &[0.353][..])
    );
    let copy = folder.path().join("copy.safetensors");
    fs::copy(&weights, &copy).unwrap();
    let loss = |path: &Path, more: &[&str]| {
        let mut command = resnet();
        command
            .arg("eval")
            .arg(path)
            .args(["--device", "cpu", "--json"]);
        command
            .args(["--data", "sample", "--limit-batches", "1"])
            .args(more);
        command.args(["--batch-size", "16"]);
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        match output.status.success() {
            true => Ok(json(&output.stdout)["loss"].clone()),
            false => Err(said),
        }
    };
    let of_run = loss(&run, &[]).unwrap();
    assert_eq!(loss(&copy, &[]).unwrap(), of_run);
    assert_eq!(loss(&copy, &flags).unwrap(), of_run);
    for other in [["--resize", "30"], ["--mean", "0.5"], ["--std", "0.5"]] {
        let said = loss(&copy, &other).unwrap_err();
        for word in [
            other[0],
            "from the middle of 32, mean 0.286",
            "leave it out",
        ] {
            assert!(said.contains(word), "{word}: {said}");
        }
    }
    // A training that begins with them goes on normalising, unless it is told otherwise.
    let init = |out: &Path, more: &[&str]| {
        let mut command = train(out, more);
        command.arg("--init").arg(&copy);
        let output = command.output().unwrap();
        assert!(output.status.success());
        let weights = checkpoint::weights_of(out).unwrap();
        let told = WeightsFile::read(&weights)
            .unwrap()
            .told()
            .unwrap()
            .unwrap()
            .preprocess;
        (told.mean, String::from_utf8(output.stderr).unwrap())
    };
    let (mean, said) = init(&second, &[]);
    assert_eq!(mean, [0.286]);
    assert!(
        said.contains("mean 0.286, standard deviation 0.353"),
        "{said}"
    );
    let third = folder.path().join("third");
    let (mean, _) = init(&third, &["--mean", "0.5", "--std", "0.25"]);
    assert_eq!(mean, [0.5]);
}
