//! What people are told of settings that nothing heeds, and of names with what a terminal would obey.
use crate::checkpoints;
use crate::cli::{self, resnet};
use crate::folder::{classes, in_folder};
use resnet::train::checkpoint;
use std::fs;
use std::process::Output;
use tempfile::TempDir;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).to_string()
}

/// What a training says that finds no device, which is looked for last.
fn notes(more: &[&str], variable: Option<(&str, &str)>) -> String {
    let mut command = resnet();
    command.args("train --data sample --device no-such-card".split(' '));
    command.args(more).envs(variable);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    said(&output)
}

#[test]
fn a_variable_that_nothing_reads_is_told_of_and_kept_in_the_log() {
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    let of_scripts = [
        ("RESNET_PEERS_VENV", "x"),
        ("RESNET_BACKPORTS", "1"),
        ("RESNET_REQUIRE_GPU", "1"),
        ("RESNET_SEED", "1"),
    ];
    let mut command = cli::train(&run, &cli::SMALL);
    let output = command.env("RESNET_GAMMA", "2").envs(of_scripts);
    let said = said(&output.output().unwrap());
    let told: Vec<&str> = said
        .lines()
        .filter(|l| l.contains("nothing reads"))
        .collect();
    assert_eq!(told.len(), 1, "{said}");
    assert!(told[0].starts_with("RESNET_GAMMA is set"), "{said}");
    let log = fs::read_to_string(run.join("log.txt")).unwrap();
    assert!(log.contains(told[0]), "{log}");
    for args in ["config -q", "completions bash"] {
        let mut quiet = resnet();
        let quiet = quiet.args(args.split(' ')).env("RESNET_GAMMA", "2");
        assert_eq!(self::said(&quiet.output().unwrap()), "", "{args}");
    }
}

#[test]
fn what_is_for_new_weights_is_left_out_beside_weights() {
    let run = checkpoints::copy("1-f32");
    let weights = checkpoint::weights_of(&run.path().join("run")).unwrap();
    let init = ["--init", weights.to_str().unwrap()];
    let words = "is for new weights, but --init gives them: it is left out";
    let variable = |value| Some(("RESNET_ZERO_INIT_RESIDUAL", value));
    let told = notes(&init, variable("1"));
    let from = format!("zero_init_residual of RESNET_ZERO_INIT_RESIDUAL {words}");
    assert!(told.contains(&from), "{told}");
    assert!(!notes(&init, variable("0")).contains(words));
    assert!(!notes(&[], variable("1")).contains(words));
    let file = run.path().join("my.toml");
    fs::write(&file, "zero_init_residual = true").unwrap();
    let told = notes(
        &[&init[..], &["--config", file.to_str().unwrap()]].concat(),
        None,
    );
    assert!(told.contains(&format!("my.toml {words}")), "{told}");
}

#[test]
fn a_learning_rate_that_never_falls_is_told() {
    let falls = |schedule: &str, epochs: &str, run: &str| {
        let flags = ["--schedule", schedule, "--lr-epochs", epochs];
        notes(&[&flags[..], &["--epochs", run]].concat(), None)
    };
    for (schedule, epochs) in [("step", "5"), ("multistep", "5,8")] {
        let told = falls(schedule, epochs, "5");
        let words = "never falls: --lr-epochs 5 is not before the end of a run of --epochs 5";
        assert!(told.contains(words), "{told}");
        assert!(!falls(schedule, epochs, "6").contains("never falls"));
    }
}

#[test]
fn images_too_small_for_given_weights_are_answered_by_what_can_be_done() {
    let run = checkpoints::copy("1-f32");
    let weights = checkpoint::weights_of(&run.path().join("run")).unwrap();
    let mut command = resnet();
    command.args("train --data sample --image-size 2 --init".split(' '));
    let output = command.arg(weights).output().unwrap();
    let said = said(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    for word in ["--image-size 2: ", " at least, or other weights by --init"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!said.contains("--stem"), "{said}");
}

/// A terminal would obey escapes, and a log would have lines that nobody wrote.
#[cfg(unix)]
#[test]
fn names_are_printed_in_one_line() {
    let folder = TempDir::new().unwrap();
    let p = folder.path().join("p");
    classes(&p, &["a", "b"], 2, 0);
    let name = "two\nlines\x1b[31m";
    fs::create_dir(folder.path().join(name)).unwrap();
    fs::write(folder.path().join(name).join("x.png"), "no picture").unwrap();
    let picture = format!("{name}/x.png");
    let weights = format!("{name}/w.safetensors");
    fs::write(folder.path().join(&weights), "no weights").unwrap();
    let run = checkpoints::copy("1-f32");
    let run = run.path().join("run");
    let run = run.to_str().unwrap();
    let train = "train --data sample --device no-such-card";
    for (args, more) in [
        (train, &["--out", name][..]),
        (train, &["--name", name]),
        (train, &["--init", &weights]),
        (train, &["--config", &picture]),
        (train, &["--schedule", name]),
        (train, &[name]),
        ("predict", &[run, &picture, "--device", "cpu"]),
        ("predict", &[run, name, "--device", "cpu"]),
        ("eval", &[name]),
        ("eval", &[&weights]),
        ("eval --device cpu --data", &[name, run]),
        ("data", &[name]),
        ("grow --arch resnet34 --out", &[&picture, run]),
        ("runs", &[name]),
        ("report", &[name]),
        ("compare", &[name, run]),
        ("verify --device cpu --cases", &[name]),
        ("fetch --into", &[&picture]),
        ("bench --device cpu --trace", &[name]),
    ] {
        let mut command = in_folder(folder.path());
        let output = command.args(args.split(' ')).args(more).output().unwrap();
        let said = said(&output) + &String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.success(), args == "runs", "{args}: {said}");
        assert!(!said.contains("two\nlines"), "{args} {more:?}: {said}");
        assert!(!said.contains('\x1b'), "{args} {more:?}: {said}");
        assert!(said.contains("lines"), "{args} {more:?}: {said}");
    }
    // And where all goes well.
    let mut command = in_folder(folder.path());
    command.args("train --data p --image-size 8 --stem cifar --widths 4 --blocks 1".split(' '));
    command.args("--epochs 1 --val-split 0.5 --device cpu --out".split(' '));
    let output = command.arg(format!("{name}/run")).output().unwrap();
    let told = said(&output) + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}");
    for args in ["eval", "runs", "report", "probe"] {
        let at = if args == "runs" {
            name.to_string()
        } else {
            format!("{name}/run")
        };
        let mut command = in_folder(folder.path());
        let output = command.arg(args).arg(at).output().unwrap();
        let told = said(&output) + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{args}: {told}");
        assert!(!told.contains("two\nlines"), "{args}: {told}");
    }
    assert!(!told.contains("two\nlines"), "{told}");
}
