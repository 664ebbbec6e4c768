//! The networks of the family through the commands: what they are chosen by, what is said of them, and what is refused.
use crate::cli::{json, resnet, train};
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

/// A network of a thousand weights with all that the default has not.
const SMALL: [&str; 12] = [
    "--arch",
    "resnet50",
    "--variant",
    "d2l",
    "--preact",
    "--stem",
    "cifar",
    "--widths",
    "4,8",
    "--blocks",
    "1,1",
    "--zero-init-residual",
];

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).to_string()
}

/// What `resnet` says to a wrong command.
fn refusal(args: &[&str]) -> String {
    let refused = resnet().args(args).assert().failure().code(2);
    stderr(refused.get_output())
}

fn contains(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word}: {said}");
    }
}

#[test]
fn another_network_is_trained_evaluated_resumed_and_started_from() {
    let folder = TempDir::new().unwrap();
    let [run, second] = ["run", "second"].map(|run| folder.path().join(run));
    let network = "pre-activation ResNet (d2l): pre-activation bottleneck blocks 1,1 of width 4,8, 1 channel(s), \
                   10 classes, 3×3 stem, ";
    let trained = train(&run, &SMALL).arg("--json").assert().success();
    let first = trained
        .get_output()
        .stdout
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap();
    contains(json(first)["network"].as_str().unwrap(), &[network]);
    let settings = fs::read_to_string(run.join("config.toml")).unwrap();
    contains(
        &settings,
        &[
            "blocks = [1, 1]",
            "preact = true",
            "zero_init_residual = true",
        ],
    );

    let eval = |path: &Path| {
        resnet()
            .arg("eval")
            .arg(path)
            .args(["--device", "cpu"])
            .assert()
    };
    eval(&run).success();
    let resume = |more: &[&str]| {
        let mut command = resnet();
        command
            .args(["train", "--device", "cpu", "--resume"])
            .arg(&run)
            .args(more);
        command.assert()
    };
    contains(
        &stderr(resume(&["--epochs", "2"]).success().get_output()),
        &[network],
    );
    let refused = resume(&["--epochs", "3", "--arch", "resnet34"])
        .failure()
        .code(2);
    contains(
        &stderr(refused.get_output()),
        &["--arch resnet34: a resumed run keeps its settings"],
    );

    // The network is that of the weights, and flags that say the same are no contradiction.
    let init = ["--init", run.to_str().unwrap()];
    train(&second, &init)
        .args(["--arch", "resnet50", "--blocks", "1,1", "--widths", "4,8"])
        .assert()
        .success();
    let settings = fs::read_to_string(second.join("config.toml")).unwrap();
    contains(
        &settings,
        &[
            "blocks = [1, 1]",
            "stem = \"cifar\"",
            "zero_init_residual = false",
        ],
    );
    let third = folder.path().join("third");
    for (flags, words) in [
        (
            &["--variant", "torchvision"][..],
            "--variant asks for torchvision, but ",
        ),
        (&["--arch", "resnet34"], "--arch asks for resnet34, but "),
        (
            &["--blocks", "2,2", "--widths", "4,8"],
            "--blocks asks for 2,2, but ",
        ),
        (
            &["--preact=false"],
            "--preact asks for blocks without pre-activation, but ",
        ),
        (
            &["--zero-init-residual"],
            "--zero-init-residual is for new weights",
        ),
    ] {
        let refused = train(&third, &init).args(flags).assert().failure().code(2);
        contains(&stderr(refused.get_output()), &[words, "leave it out"]);
    }
    assert!(!third.exists());
}

#[test]
fn shapes_counts_any_network() {
    let of = |more: &str| {
        let output = resnet()
            .args(["shapes", "--json"])
            .args(more.split(' '))
            .assert()
            .success();
        json(&output.get_output().stdout)
    };
    let report = of("--arch resnet50 --channels 3 --classes 1000");
    assert_eq!(report["parameters"], 25_557_032);
    assert_eq!(report["params"], report["parameters"]);
    assert_eq!(report["macs"], 4_089_184_256_u64);
    contains(
        report["network"].as_str().unwrap(),
        &["ResNet-50 (torchvision): bottleneck blocks 3,4,6,3"],
    );
    // The 3×3 stem leaves the size, and there is no pool.
    let layers = of("--arch resnet20 --image-size 32")["layers"].clone();
    assert_eq!(layers[0]["output"], serde_json::json!([1, 16, 32, 32]));
    assert!(
        layers
            .as_array()
            .unwrap()
            .iter()
            .all(|layer| layer["kind"] != "max_pool")
    );
}

#[test]
fn a_network_that_is_not_there_is_refused_with_a_near_one() {
    contains(
        &refusal(&["train", "--arch", "restnet50"]),
        &["--arch", "restnet50", "similar", "'resnet50'"],
    );
    contains(
        &refusal(&["shapes", "--variant", "torch"]),
        &["--variant", "torchvision"],
    );
    contains(
        &refusal(&["bench", "--widths", "8,16"]),
        &["widths 8,16", "blocks 2,2,2,2", "same number"],
    );
    contains(
        &refusal(&["shapes", "--blocks", "2,x"]),
        &["2,x", "whole numbers with commas"],
    );
    // Beyond what a stage may have, and far beyond.
    for blocks in ["1,2000,1,1", "20000"] {
        let words = [
            "--blocks",
            "each must be at most 1024, the most that all stages",
        ];
        contains(&refusal(&["shapes", "--blocks", blocks]), &words);
        let grow = ["grow", "w", "--out", "x", "--blocks", blocks];
        contains(&refusal(&grow), &words);
    }
    contains(
        &refusal(&["shapes", "--blocks", "600,600", "--widths", "4,4"]),
        &["a network of 1200 blocks", "from 1 to 1024"],
    );
}

#[test]
fn images_too_small_for_the_network_are_refused_before_anything_is_planned() {
    let words = [
        "--image-size 8: images of 8×8 are too small",
        "halves them 5 times",
        "take 17 at least",
        "--stem cifar",
    ];
    for command in ["train --data sample", "shapes", "bench"] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.extend(["--image-size", "8"]);
        contains(&refusal(&args), &words);
    }
}

#[test]
fn the_bench_measures_any_network() {
    let small = "--arch resnet50 --variant torchvision --stem cifar --widths 4,8 --blocks 1,1";
    let mut command = resnet();
    command.args("bench --device cpu --image-size 28 --batch-size 4 --steps 1 --json".split(' '));
    let output = command.args(small.split(' ')).assert().success();
    let report = json(&output.get_output().stdout);
    contains(
        report["network"].as_str().unwrap(),
        &["ResNet (torchvision): bottleneck blocks 1,1 of width 4,8"],
    );
}
