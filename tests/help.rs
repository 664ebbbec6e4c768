//! What the program says about itself and to the likeliest mistakes, word by word. After a change that is meant:
//! `INSTA_UPDATE=always cargo test --locked --test integration help`, and look at what git shows.
use crate::cli::{resnet, train};
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use std::fs;
use tempfile::TempDir;

/// All commands, in the order of the help.
const COMMANDS: [&str; 21] = [
    "train",
    "lr-find",
    "eval",
    "runs",
    "compare",
    "report",
    "predict",
    "grow",
    "probe",
    "shapes",
    "devices",
    "bench",
    "config",
    "data",
    "fetch",
    "verify",
    "completions",
    "man",
    "torch",
    "help",
    "",
];

/// What somebody types who means something else.
const MISTAKES: [&str; 25] = [
    "trian",
    "train --epoch 3",
    "train --epochs ten",
    "train --epochs 0",
    "train --epochs 3 --epochs 4",
    "train --lr 0",
    "train --lr",
    "train --batchsize 64",
    "train --batch-size 1",
    "train --optimizer adam",
    "train --optimizer adamw --momentum 0.9",
    "train --arch resnet19",
    "train --precision fp16",
    "train --max-time 2",
    "train --overfit 1 --val-split 5000",
    "train --lr 0,1",
    "train --resume runs/01",
    "train --resume runs/001 --out runs/002",
    "train runs/001",
    "eval",
    "eval runs/01",
    "compare 001 runs/01",
    "predict runs/001",
    "completions bsh",
    "man trian",
];

/// What a command line says on both streams, and how it ends. The path of the program is left out.
fn said(folder: &TempDir, line: &str) -> String {
    let mut command = resnet();
    command.current_dir(folder.path()).env_remove("COLUMNS");
    let program = command.get_program().to_string_lossy().to_string();
    let output = command.args(line.split_whitespace()).output().unwrap();
    let text = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let text = text
            .replace(&program, "resnet")
            .replace("resnet.exe", "resnet");
        let lines = text.lines().map(str::trim_end);
        lines.collect::<Vec<_>>().join("\n")
    };
    let code = output.status.code().unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let named = |name: &str, text: &str| match text {
        "" => String::new(),
        text => format!("--- {name} ---\n{text}\n"),
    };
    format!(
        "$ resnet {line}\n{}{}exit code {code}",
        named("stdout", &out),
        named("stderr", &err)
    )
}

/// A folder with an empty run folder in it.
fn place() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::create_dir_all(folder.path().join("runs/001")).unwrap();
    folder
}

#[test]
fn every_help_text_is_as_it_was_looked_at() {
    let folder = place();
    for command in COMMANDS {
        let (line, name) = match command {
            "" => ("--help".to_string(), "resnet".to_string()),
            "help" => ("help help".to_string(), "help".to_string()),
            command => (format!("{command} --help"), command.to_string()),
        };
        insta::assert_snapshot!(format!("help_{name}"), said(&folder, &line));
    }
    let help = resnet().arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // The lines that go on are indented further.
    let names = listed.filter_map(|line| {
        line.strip_prefix("  ")
            .filter(|line| !line.starts_with(' '))
    });
    let listed: Vec<&str> = names
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(
        listed,
        COMMANDS[..20],
        "the commands whose help is looked at"
    );
}

#[test]
fn help_begins_with_examples() {
    for command in COMMANDS.iter().filter(|command| **command != "help") {
        let help = resnet()
            .args(command.split_whitespace())
            .arg("--help")
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        assert!(
            help.starts_with("Examples:\n  resnet "),
            "{command}: {help}"
        );
    }
}

#[test]
fn the_likeliest_mistakes_are_answered_as_it_was_looked_at() {
    let folder = place();
    let all: Vec<String> = MISTAKES.iter().map(|line| said(&folder, line)).collect();
    insta::assert_snapshot!("mistakes", all.join("\n\n"));
}

#[test]
fn colour_is_for_those_who_ask_for_it() {
    let coloured = |args: &[&str], no_color: &str| {
        let mut command = resnet();
        command
            .env_remove("CLICOLOR_FORCE")
            .env("NO_COLOR", no_color);
        let output = command.args(args).output().unwrap();
        [output.stdout, output.stderr].concat().contains(&0x1b)
    };
    // Not on a terminal, as here.
    for args in [&["--help"][..], &["trian"], &["eval", "runs/999"]] {
        let with = |colour: &'static str| [args, &["--color", colour]].concat();
        assert!(
            !coloured(args, "") && !coloured(&with("auto"), ""),
            "{args:?}"
        );
        assert!(
            coloured(&with("always"), "") && coloured(&with("always"), "1"),
            "{args:?}"
        );
        assert!(!coloured(&with("never"), ""), "{args:?}");
    }
    assert!(coloured(&["--color=always", "--help"], ""));
    let refused = resnet()
        .args(["--color", "sometimes", "devices"])
        .assert()
        .code(2);
    refused.stderr(contains("auto, always, never"));
}

#[test]
fn quiet_leaves_errors_and_the_next_command_and_verbose_tells_more() {
    let folder = TempDir::new().unwrap();
    let said = |more: &[&str], name: &str| {
        let done = train(&folder.path().join(name), more).assert().success();
        let stderr = done.get_output().stderr.clone();
        assert!(done.get_output().stdout.starts_with(b"loss "));
        String::from_utf8(stderr).unwrap()
    };
    assert_eq!(said(&["-q"], "quiet"), "");
    let notes = said(&[], "notes");
    let details = said(&["-v"], "details");
    // Their logs are the same, but for times and folders.
    let logged = |name: &str| {
        let log = fs::read_to_string(folder.path().join(name).join("log.txt")).unwrap();
        let words = |line: &str| line.split_whitespace().next().map(str::to_string);
        log.lines().filter_map(words).collect::<Vec<_>>()
    };
    assert_eq!(logged("quiet"), logged("details"));
    assert_eq!(logged("quiet"), logged("notes"));
    for word in [
        "planned in",
        "dispatches",
        "compiled and allocated in",
        "step-00000003",
        "epoch 1: steps",
        "# --batch-size",
    ] {
        assert!(
            details.contains(word) && !notes.contains(word),
            "{word}: {details}"
        );
    }
    assert!(notes.contains("run saved in"));
    resnet()
        .args(["-q", "eval", "runs/999"])
        .assert()
        .code(1)
        .stderr(contains("error: runs/999"));
    let mut stopped = resnet();
    stopped.args(
        "train -q --data sample --device cpu --image-size 28 --max-time 1s --epochs 999 --out"
            .split(' '),
    );
    let stopped = stopped.arg(folder.path().join("time")).assert().code(0);
    stopped.stderr(contains("train --resume").and(contains("planned").not()));
    resnet().args(["-q", "-v", "devices"]).assert().code(2);
}

#[test]
fn the_version_names_what_computes() {
    let version = resnet().arg("--version").assert().success();
    let pattern = r"^resnet \d+\.\d+\.\d+( \([0-9a-f]{7,}\))?\nwgpu \d+\.\d+\.\d+\nCPU vectors: (avx512|avx2|neon|scalar)\n$";
    version.stdout(predicates::str::is_match(pattern).unwrap());
    let mut forced = resnet();
    forced.arg("--version").env("RESNET_CPU_ISA", "scalar");
    forced
        .assert()
        .success()
        .stdout(contains("CPU vectors: scalar"));
    let short = resnet().arg("-V").assert().success();
    short.stdout(predicates::str::is_match(r"^resnet \d+\.\d+\.\d+[^\n]*\n$").unwrap());
}

#[test]
fn every_shell_gets_completions_and_every_command_a_manual_page() {
    for (shell, word) in [
        ("bash", "complete -F _resnet"),
        ("zsh", "#compdef resnet"),
        ("fish", "complete -c resnet"),
        ("powershell", "Register-ArgumentCompleter"),
        ("elvish", "edit:completion"),
    ] {
        let script = resnet().args(["completions", shell]).assert().success();
        script.stdout(
            contains(word)
                .and(contains("lr-find"))
                .and(contains("max-time")),
        );
    }
    let folder = TempDir::new().unwrap();
    resnet()
        .args(["man", "--out"])
        .arg(folder.path())
        .assert()
        .success();
    let mut pages: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    let mut want: Vec<String> = COMMANDS[..19]
        .iter()
        .map(|name| format!("resnet-{name}.1"))
        .collect();
    want.push("resnet.1".to_string());
    want.sort();
    assert_eq!(pages, want);
    let page = fs::read_to_string(folder.path().join("resnet-train.1")).unwrap();
    for word in [
        ".SH EXAMPLES",
        "\\-\\-max\\-time",
        "\n  resnet train \\-\\-epochs 1 ",
    ] {
        assert!(page.contains(word), "{word}");
    }
    let printed = resnet().args(["man", "train"]).assert().success();
    assert_eq!(String::from_utf8_lossy(&printed.get_output().stdout), page);
}

/// bash reads its script and completes by it.
#[cfg(unix)]
#[test]
fn bash_completes_commands_and_flags() {
    let script = resnet()
        .args(["completions", "bash"])
        .output()
        .unwrap()
        .stdout;
    let script = String::from_utf8(script).unwrap();
    for (words, want) in [
        ("resnet lr", "lr-find"),
        ("resnet train --max", "--max-time"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let last = words[words.len() - 1];
        let ask = format!(
            "{script}\nCOMP_WORDS=({}); COMP_CWORD={}; _resnet resnet {last} {}; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.join(" "),
            words.len() - 1,
            words[words.len() - 2]
        );
        let Ok(output) = std::process::Command::new("bash")
            .args(["-c", &ask])
            .output()
        else {
            eprintln!("SKIPPED: there is no bash");
            return;
        };
        let completed = String::from_utf8_lossy(&output.stdout).to_string();
        assert!(
            completed.lines().any(|line| line == want),
            "{words:?}: {completed}"
        );
    }
}
