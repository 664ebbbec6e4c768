//! Runs side by side: their curves in one picture, and the settings in which they differ.
use super::chart::{Chart, Dash, svg};
use super::curves::line;
use super::past::Past;
use crate::files::replace;
use crate::process::one_line;
use anyhow::Result;
use std::collections::BTreeSet;
use std::path::Path;

/// Settings that say where a run is, and not what it does.
const PLACE: [&str; 2] = ["name", "out"];

/// Draws the losses and the accuracies of runs, a colour for each.
///
/// # Errors
/// When the file cannot be written.
pub fn draw(runs: &[Past], names: &[String], file: &Path) -> Result<()> {
    let (mut losses, mut accuracies) = (Vec::new(), Vec::new());
    for (colour, (run, name)) in runs.iter().zip(names).enumerate() {
        let label = |what: &str| format!("{name}: {what}");
        let history = &run.history;
        losses.extend([
            line(&label("train loss"), colour, Dash::Solid, history, |e| {
                Some(e.train_loss)
            }),
            line(&label("val loss"), colour, Dash::Dotted, history, |e| {
                e.val_loss
            }),
            line(&label("test loss"), colour, Dash::Dotted, history, |e| {
                e.test_loss
            }),
        ]);
        accuracies.extend([
            line(&label("train acc"), colour, Dash::Dashed, history, |e| {
                Some(e.train_acc)
            }),
            line(&label("val acc"), colour, Dash::Solid, history, |e| {
                e.val_acc
            }),
            line(&label("test acc"), colour, Dash::Solid, history, |e| {
                e.test_acc
            }),
        ]);
    }
    let chart = |title: &str, series: Vec<Option<_>>| Chart {
        title: title.to_string(),
        x: "epoch".to_string(),
        series: series.into_iter().flatten().collect(),
        ..Chart::default()
    };
    let charts = [chart("Loss", losses), chart("Accuracy", accuracies)];
    replace(file, svg(&charts).as_bytes())
}

/// The settings in which runs differ, each with its value in every run; `None` where it is not set.
pub fn differences(runs: &[Past]) -> Vec<(String, Vec<Option<String>>)> {
    let tables: Vec<toml::Table> = runs.iter().map(|run| run.config.table()).collect();
    let keys: BTreeSet<&String> = tables.iter().flat_map(toml::Table::keys).collect();
    let mut differences = Vec::new();
    for key in keys
        .into_iter()
        .filter(|key| !PLACE.contains(&key.as_str()))
    {
        let values: Vec<Option<String>> = tables
            .iter()
            .map(|table| match table.get(key)? {
                // Kernel by kernel, for programs.
                toml::Value::Table(tilings) => Some(format!("{} kernels", tilings.len())),
                value => Some(value.to_string()),
            })
            .collect();
        let of_first = tables[0].get(key);
        if tables.iter().any(|table| table.get(key) != of_first) {
            differences.push((key.clone(), values));
        }
    }
    differences
}

/// Names that tell runs apart: of their folders, or their paths where two have the same.
pub fn names(runs: &[Past]) -> Vec<String> {
    let short: Vec<String> = runs.iter().map(Past::name).collect();
    let all: BTreeSet<&String> = short.iter().collect();
    match all.len() == short.len() {
        true => short,
        false => {
            let path = |run: &Past| one_line(&run.folder);
            runs.iter().map(path).collect()
        }
    }
}
