//! `report.html`: one file that needs no network and holds what it promises, and what a browser makes of it.
use crate::cli::{resnet, told, train};
use predicates::prelude::*;
use predicates::str::contains;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

/// A finished run that the tests share, with settings from three places.
fn finished() -> &'static Path {
    static RUN: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let run = folder.path().join("<b>&run");
        let file = folder.path().join("settings.toml");
        fs::write(&file, "weight_decay = 0.001\n").unwrap();
        train(&run, &["--lr", "0.02", "--config"])
            .arg(&file)
            .env("RESNET_MOMENTUM", "0.5")
            .assert()
            .success()
            .stderr(contains("report: "));
        (folder, run)
    });
    run
}

fn page(run: &Path) -> String {
    fs::read_to_string(run.join("report.html")).unwrap()
}

#[test]
fn a_report_is_one_file_with_all_that_it_promises() {
    let run = finished();
    // Slashes are escaped in attributes.
    let page = page(run).replace("&#x2f;", "/");
    for outside in [
        "src=\"http",
        "href=",
        "url(",
        "@import",
        "fetch(",
        "import(",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    let addresses = page
        .match_indices("://")
        .map(|(at, _)| &page[at - 5..(at + 30).min(page.len())]);
    for address in addresses {
        // The namespace of SVG, and what the library's licence says.
        let known = address.contains("://www.w3.org/2000/svg")
            || address.contains("://github.com/leeoniya/uPlot");
        assert!(known, "{address}");
    }
    assert!(!page.contains("<b>&run"), "names are escaped");
    assert!(page.contains("&lt;b&gt;&amp;run"));
    assert!(
        page.contains("Permission is hereby granted, free of charge"),
        "uPlot's licence"
    );
    let eval = told("eval", run, &[]);
    assert!(page.contains(&format!("{:.4}", eval["accuracy"].as_f64().unwrap())));
    let wrong = 48.0 * (1.0 - eval["accuracy"].as_f64().unwrap());
    let shown = (wrong.round() as usize).min(24);
    assert_eq!(page.matches("data:image/png;base64,").count(), shown);
    assert_eq!(page.matches("<svg ").count(), 2);
    for (key, value, source) in [
        ("lr", "0.02", "--lr"),
        ("momentum", "0.5", "RESNET_MOMENTUM"),
        ("weight_decay", "0.001", "settings.toml"),
    ] {
        let row = page
            .lines()
            .find(|line| line.contains(&format!("<code>{key}</code>")))
            .unwrap();
        assert!(row.contains(value) && row.contains(source), "{row}");
    }
    for text in [
        "prefers-color-scheme",
        "@media print",
        "commit ",
        "wgpu",
        "training steps",
        "cpu",
    ] {
        assert!(page.contains(text), "{text}");
    }
    for class in ["t-shirt", "ankle boot"] {
        assert!(page.contains(&format!("<th>{class}</th>")), "{class}");
    }
}

/// The command of the page makes a run with the same weights.
#[test]
fn the_command_of_a_report_makes_the_run_again() {
    let run = finished();
    let page = page(run);
    let begin = page.find("<pre><code>").unwrap() + "<pre><code>".len();
    let end = begin + page[begin..].find("</code>").unwrap();
    let words: Vec<&str> = page[begin..end].split(' ').collect();
    assert_eq!(words[..2], ["resnet", "train"]);
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("again");
    resnet()
        .args(&words[1..])
        .arg("--out")
        .arg(&out)
        .assert()
        .success();
    let weights = |run: &Path| fs::read(run.join("last/weights.safetensors")).unwrap();
    assert!(weights(run) == weights(&out));
}

#[test]
fn a_report_is_made_again() {
    let run = finished();
    let before = page(run);
    let folder = TempDir::new().unwrap();
    let copy = folder.path().join("<b>&run");
    let status = Command::new("cp")
        .arg("-a")
        .args([run, &copy])
        .status()
        .unwrap();
    assert!(status.success());
    for name in [
        "report.html",
        "confusion.csv",
        "confusion.svg",
        "curves.svg",
    ] {
        fs::remove_file(copy.join(name)).unwrap();
    }
    resnet()
        .args(["train", "--resume"])
        .arg(&copy)
        .assert()
        .success()
        .stderr(contains("its report is missing").and(contains("report ")));
    resnet()
        .arg("report")
        .arg(&copy)
        .assert()
        .success()
        .stdout(contains("report.html"));
    assert!(page(&copy) == before);
    for name in ["confusion.csv", "confusion.svg", "curves.svg"] {
        assert_eq!(
            fs::read(copy.join(name)).unwrap(),
            fs::read(run.join(name)).unwrap(),
            "{name}"
        );
    }
    resnet()
        .arg("report")
        .arg(folder.path())
        .assert()
        .code(1)
        .stderr(contains("not a run's folder"));
}

/// Where epochs are compared on held-out images, the page says so, and shows the test images of the best epoch.
#[test]
fn a_report_says_on_what_the_best_epoch_was_chosen() {
    assert!(page(finished()).contains("the best epoch was chosen on them"));
    let folder = TempDir::new().unwrap();
    let run = folder.path().join("run");
    train(&run, &["--val-split", "200"]).assert().success();
    let before = page(&run);
    assert!(before.contains("was chosen on 200 training images that were held out"));
    assert!(
        before.contains("test accuracy after epoch 1")
            && before.contains("best validation accuracy")
    );
    resnet().arg("report").arg(&run).assert().success();
    assert!(page(&run) == before);
}

/// Chromium, where the system has it.
fn chromium() -> Option<Command> {
    let there = |name: &&str| {
        let mut command = Command::new(name);
        command
            .arg("--version")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let name = ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(there)?;
    let mut command = Command::new(name);
    // Root, as in a container, has no sandbox.
    command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--enable-logging=stderr",
    ]);
    Some(command)
}

/// What it makes of a page at a width, and what the page's scripts complained of.
fn shown(file: &Path, width: usize) -> Option<(String, Vec<String>)> {
    let Some(mut command) = chromium() else {
        println!("skipped: there is no Chromium; scripts/report_check.sh installs it");
        return None;
    };
    let profile = TempDir::new().unwrap();
    let output = command
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={width},1000"))
        .args(["--virtual-time-budget=3000", "--dump-dom"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    let complaints = said.lines().filter(|line| line.contains("CONSOLE"));
    let complaints = complaints.map(String::from).collect();
    Some((
        String::from_utf8_lossy(&output.stdout).into_owned(),
        complaints,
    ))
}

#[test]
fn a_browser_draws_the_charts_and_complains_of_nothing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("report.html");
    // What is wider than the window would be told by the page itself.
    let told = "<script>addEventListener('load', () => { document.body.dataset.wide = \
                document.documentElement.scrollWidth > document.documentElement.clientWidth; });</script></body>";
    let text = page(finished()).replace("</body>", told);
    fs::write(&file, &text).unwrap();
    for width in [400, 800, 1600] {
        let Some((dom, complaints)) = shown(&file, width) else {
            return;
        };
        assert!(complaints.is_empty(), "{width}: {complaints:?}");
        for id in ["epochs", "steps"] {
            let figure = &dom[dom.find(&format!("<figure id=\"{id}\"")).unwrap()..];
            let figure = &figure[..figure.find("</figure>").unwrap()];
            assert!(
                figure.contains("<canvas") && figure.contains("u-legend"),
                "{width}: {figure}"
            );
        }
        assert!(dom.contains("drawn replaced"), "{width}");
        assert!(
            dom.contains("data-wide=\"false\""),
            "{width}: wider than the window"
        );
    }
    // The check can fail.
    fs::write(&file, text.replace("new uPlot(", "new noPlot(")).unwrap();
    let (dom, complaints) = shown(&file, 800).unwrap();
    assert!(!complaints.is_empty() && !dom.contains("drawn replaced"));
}
