//! `resnet compare`: results of runs side by side, the settings in which they differ, and their curves in one picture.
use super::runs::Row;
use crate::process;
use crate::report::{Past, columns, compare};
use anyhow::Result;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet compare runs/first runs/second
  resnet compare runs/* --out curves.svg    draws their curves too";

/// Arguments of `resnet compare`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// Folders of runs, two or more.
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    runs: Vec<PathBuf>,
    /// Draws the curves of all of them into this SVG file.
    #[arg(long, value_name = "FILE.svg")]
    out: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    runs: Vec<Run>,
    /// Settings that differ, each with its value in every run.
    differences: BTreeMap<String, Vec<Option<String>>>,
}

#[derive(Serialize)]
struct Run {
    #[serde(flatten)]
    row: Row,
    train_loss: Option<f64>,
    train_acc: Option<f64>,
    val_acc: Option<f64>,
    test_acc: Option<f64>,
}

/// Prints both tables, and draws.
///
/// # Errors
/// When a folder is no run's, a file in it is damaged, or the picture cannot be written.
pub fn run(args: Args) -> Result<()> {
    let runs = args.runs.iter().map(|run| Past::read(run));
    let runs: Vec<Past> = runs.collect::<Result<_>>()?;
    let names = compare::names(&runs);
    if let Some(file) = &args.out {
        compare::draw(&runs, &names, file)?;
    }
    let differences = compare::differences(&runs);
    let results: Vec<Run> = runs.iter().map(result).collect();
    let mut out = process::output();
    if args.json {
        let report = Report {
            runs: results,
            differences: differences.into_iter().collect(),
        };
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        return Ok(());
    }
    let head = [
        "run",
        "epochs",
        "train loss",
        "train acc",
        "val acc",
        "test acc",
        "best acc",
        "examples/s",
    ];
    let mut rows = vec![head.map(str::to_string).to_vec()];
    for (name, run) in names.iter().zip(&results) {
        rows.push(cells(name, run));
    }
    let right = [[false].as_slice(), &[true; 7]].concat();
    write!(out, "{}", columns(&rows, &right))?;
    if differences.is_empty() {
        writeln!(out, "\nall settings are the same")?;
        return Ok(());
    }
    let mut rows = vec![[vec!["setting".to_string()], names].concat()];
    for (key, values) in differences {
        let values = values
            .into_iter()
            .map(|value| value.unwrap_or("-".to_string()));
        rows.push([key].into_iter().chain(values).collect());
    }
    write!(out, "\n{}", columns(&rows, &[]))?;
    Ok(())
}

fn result(past: &Past) -> Run {
    let last = past.history.last();
    Run {
        row: Row::of(past),
        train_loss: last.map(|last| last.train_loss),
        train_acc: last.map(|last| last.train_acc),
        val_acc: last.and_then(|last| last.val_acc),
        test_acc: last.and_then(|last| last.test_acc),
    }
}

fn cells(name: &str, run: &Run) -> Vec<String> {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_string(), |value| format!("{value:.digits$}"))
    };
    let best = match (run.row.best_acc, run.row.best_epoch) {
        (Some(acc), Some(epoch)) => format!("{acc:.4} ({epoch})"),
        _ => "-".to_string(),
    };
    vec![
        name.to_string(),
        format!("{}/{}", run.row.epochs, run.row.of_epochs),
        number(run.train_loss, 4),
        number(run.train_acc, 4),
        number(run.val_acc, 4),
        number(run.test_acc, 4),
        best,
        number(run.row.examples_per_second, 1),
    ]
}
