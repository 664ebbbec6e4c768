//! `resnet runs`: the runs in a folder, and what becomes of each.
use crate::process::{self, command, one_line};
use crate::report::{Past, State, columns, runs_in};
use crate::train::RUNS;
use anyhow::{Result, ensure};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  resnet runs                  those in the folder runs
  resnet runs elsewhere        those in another one
  resnet runs --json           as JSON";

/// Arguments of `resnet runs`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
pub struct Args {
    /// The folder that the runs are in.
    #[arg(value_name = "DIR", default_value = RUNS)]
    folder: PathBuf,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    runs: Vec<Row>,
}

/// A run.
#[derive(Serialize)]
pub struct Row {
    /// The name of its folder.
    pub name: String,
    /// Its folder.
    pub run: String,
    /// What becomes of it.
    pub state: State,
    /// Finished epochs.
    pub epochs: usize,
    /// Epochs that it is to have.
    pub of_epochs: usize,
    /// The epoch with the best accuracy.
    pub best_epoch: Option<usize>,
    /// That accuracy.
    pub best_acc: Option<f64>,
    /// Training examples per second of training steps.
    pub examples_per_second: Option<f64>,
    /// Its device.
    pub device: String,
}

impl Row {
    /// What the files of a run tell.
    pub fn of(past: &Past) -> Row {
        let best = past.best();
        let rate = past.history.last().map(|last| last.examples_per_second);
        Row {
            name: past.name(),
            run: past.folder.display().to_string(),
            state: past.state,
            epochs: past.history.len(),
            of_epochs: past.config.run.epochs,
            best_epoch: best.as_ref().map(|(epoch, _)| epoch.epoch),
            best_acc: best.map(|(_, acc)| acc),
            examples_per_second: rate,
            device: past.device(),
        }
    }
}

/// Lists the runs.
///
/// # Errors
/// When the folder cannot be read, or the files of a run in it are damaged; the others are listed first.
pub fn run(args: Args) -> Result<()> {
    let shown = one_line(&args.folder);
    ensure!(
        args.folder.is_dir(),
        "there is no folder {shown}: name the one that the runs are in; `{}` makes a run",
        command("train")
    );
    let (runs, unreadable) = runs_in(&args.folder)?;
    for error in &unreadable {
        process::fail(error);
    }
    let runs: Vec<Row> = runs.iter().map(Row::of).collect();
    let mut out = process::output();
    if args.json {
        writeln!(out, "{}", serde_json::to_string(&Report { runs })?)?;
    } else if runs.is_empty() && unreadable.is_empty() {
        process::say(format_args!(
            "there is no run in {shown}; `{}` makes one",
            command("train")
        ));
    } else {
        let head = ["run", "state", "epochs", "best acc", "examples/s", "device"];
        let mut rows = vec![head.map(str::to_string).to_vec()];
        rows.extend(runs.iter().map(cells));
        let right = [false, false, true, true, true, false];
        write!(out, "{}", columns(&rows, &right))?;
    }
    out.flush()?;
    ensure!(
        unreadable.is_empty(),
        "{} of the runs in {shown} could not be read",
        unreadable.len()
    );
    Ok(())
}

fn cells(row: &Row) -> Vec<String> {
    let best = match (row.best_acc, row.best_epoch) {
        (Some(acc), Some(epoch)) => format!("{acc:.4} ({epoch})"),
        _ => "-".to_string(),
    };
    let rate = row.examples_per_second;
    vec![
        row.name.clone(),
        row.state.to_string(),
        format!("{}/{}", row.epochs, row.of_epochs),
        best,
        rate.map_or("-".to_string(), |rate| format!("{rate:.1}")),
        row.device.clone(),
    ]
}
