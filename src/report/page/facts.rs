//! What the page says of a run: results, settings and where each came from, versions, time.
use crate::config::TrainConfig;
use crate::data::ImageSource;
use crate::process::{GIT, VERSION, WGPU};
use crate::report::pace::Spoken;
use crate::report::past::Past;
use crate::report::tally::Tally;
use crate::train::EpochResult;
use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Points of the curve of all steps at most: what a screen shows.
const MOST_POINTS: usize = 1500;

/// A name and what is said of it.
#[derive(Serialize)]
pub struct Fact {
    name: String,
    value: String,
}

fn fact(name: &str, value: impl Into<String>) -> Fact {
    Fact {
        name: name.to_string(),
        value: value.into(),
    }
}

/// A setting.
#[derive(Serialize)]
pub struct Setting {
    key: String,
    value: String,
    source: String,
}

/// What stands on top.
pub fn summary(past: &Past, tally: &Tally, when: &str) -> Vec<Fact> {
    let mut facts = vec![
        fact(
            &format!("{} accuracy {when}", tally.split.name()),
            format!("{:.4}", tally.accuracy()),
        ),
        fact(
            &format!("{} loss {when}", tally.split.name()),
            format!("{:.4}", tally.mean_loss()),
        ),
    ];
    if let Some((best, acc)) = past.best() {
        let on = if best.val_acc.is_some() {
            "validation"
        } else {
            "test"
        };
        facts.push(fact(
            &format!("best {on} accuracy, epoch {}", best.epoch),
            format!("{acc:.4}"),
        ));
    }
    if let Some(last) = past.history.last() {
        facts.push(fact(
            "train accuracy, last epoch",
            format!("{:.4}", last.train_acc),
        ));
        facts.push(fact(
            "examples per second",
            format!("{:.1}", last.examples_per_second),
        ));
    }
    let epochs = format!("{}/{}", past.history.len(), past.config.run.epochs);
    facts.push(fact(&format!("epochs ({})", past.state), epochs));
    facts
}

/// On which images the best epoch was chosen, and what that means for its accuracy.
pub fn chosen(past: &Past, has_tests: bool) -> String {
    let held_out = past.best().is_some_and(|(best, _)| best.val_acc.is_some());
    match past.config.training.val_split {
        None if past.config.training.overfit.is_some() => "The best epoch was chosen on the batches that were trained on, since --overfit learns them by \
                             heart. The test images were looked at once, at the end."
            .to_string(),
        _ if held_out && !has_tests => "The best epoch was chosen on the validation images: its accuracy is a little too \
                                        good. There are no test images that would tell by how much."
            .to_string(),
        Some(split) => format!(
            "The best epoch was chosen on {} that were held out for validation. The test images were looked at once, at the \
             end, with the weights of that epoch.",
            split.words()
        ),
        None if held_out => "The best epoch was chosen on the validation images. The test images were looked at once, at the \
                             end, with the weights of that epoch."
            .to_string(),
        None => "The test images were evaluated after every epoch, as in the book's chapter, and the best epoch was chosen \
                 on them: its accuracy is a little too good. --val-split N chooses it on held-out training images."
            .to_string(),
    }
}

/// How many answers were wrong.
pub fn wrong(tally: &Tally) -> String {
    let wrong = (1.0 - tally.accuracy()) * tally.examples() as f64;
    format!("{wrong:.0} of {}", tally.examples())
}

/// Every setting with its value and what gave it.
pub fn settings(past: &Past) -> Vec<Setting> {
    // Of a run that was resumed, what was given last.
    let mut sources: BTreeMap<&str, &str> = BTreeMap::new();
    for started in past.starts() {
        let told = started["sources"].as_object().into_iter().flatten();
        sources.extend(told.filter_map(|(key, source)| Some((key.as_str(), source.as_str()?))));
    }
    let (table, usual) = (past.config.table(), TrainConfig::default().table());
    let mut settings = Vec::new();
    for (key, value) in table.iter().filter(|(_, value)| !value.is_table()) {
        let source = match sources.get(key.as_str()) {
            Some(source) => (*source).to_string(),
            None if usual.get(key) == Some(value) => "default".to_string(),
            None if past.events.is_empty() => "the run's file".to_string(),
            None => "followed from the data, the weights or the device".to_string(),
        };
        settings.push(Setting {
            key: key.clone(),
            value: value.to_string(),
            source,
        });
    }
    settings.sort_by_key(|setting| setting.source == "default");
    settings
}

/// What the run ran on and with.
pub fn origin(past: &Past, data: &dyn ImageSource) -> Vec<Fact> {
    let mut facts = vec![
        fact("device", past.device()),
        fact("data", &data.info().name),
    ];
    let first = past.starts().next();
    if let Some(network) = first.and_then(|started| started["network"].as_str()) {
        facts.push(fact("network", network));
    }
    if let Some(time) = first.and_then(|started| started["time"].as_str()) {
        facts.push(fact("begun", time));
    }
    let version = |version: &str, git: &str| match git.is_empty() {
        true => version.to_string(),
        false => format!("{version}, commit {git}"),
    };
    let told = |started: &Value| {
        let text = |key: &str| started[key].as_str().unwrap_or_default().to_string();
        version(&text("version"), &text("git"))
    };
    let mut versions: Vec<String> = past.starts().map(told).collect();
    versions.dedup();
    if versions.is_empty() {
        versions.push("not written down".to_string());
    }
    facts.push(fact("trained by resnet", versions.join("; ")));
    facts.push(fact("page made by resnet", version(VERSION, GIT)));
    facts.push(fact("wgpu", WGPU));
    let system = format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH);
    facts.push(fact("system", system));
    facts
}

/// The command that makes the run again.
pub fn again(past: &Past) -> Result<String> {
    Ok(format!("resnet train {}", past.config.flags()?.join(" ")))
}

/// The time of each phase, and of all.
pub fn phases(past: &Past) -> Vec<Fact> {
    let seconds = past.seconds();
    let parts = [
        (
            "preparing: data, plans, tuning, compilation",
            seconds.prepare,
        ),
        ("training steps", seconds.train),
        ("evaluation", seconds.evaluate),
        ("checkpoints and reports", seconds.save),
    ];
    let all: f64 = parts.iter().map(|(_, seconds)| seconds).sum();
    let spoken = |seconds: f64| {
        let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        match seconds < 10.0 {
            true => format!("{seconds:.1} s"),
            false => Spoken(time).to_string(),
        }
    };
    let part = |(name, seconds): (&str, f64)| {
        fact(
            name,
            format!(
                "{} ({:.1} %)",
                spoken(seconds),
                100.0 * seconds / all.max(1e-9)
            ),
        )
    };
    let mut facts: Vec<Fact> = parts.into_iter().map(part).collect();
    facts.push(fact("all", spoken(all)));
    facts
}

/// The curves as the page's script draws them: over epochs, and of every step.
pub fn curves(past: &Past) -> Value {
    let column = |value: fn(&EpochResult) -> Option<f64>| -> Vec<Option<f64>> {
        past.history.iter().map(value).collect()
    };
    let all = [
        ("train loss", 0, "", column(|e| Some(e.train_loss))),
        ("train acc", 1, "7 4", column(|e| Some(e.train_acc))),
        ("val acc", 2, "8 3 2 3", column(|e| e.val_acc)),
        ("test acc", 2, "8 3 2 3", column(|e| e.test_acc)),
    ];
    let there = all
        .into_iter()
        .filter(|(.., values)| values.iter().any(Option::is_some));
    let series: Vec<Value> = there
        .map(|(label, colour, dash, values)| {
            json!({ "label": label, "colour": colour, "dash": dash, "values": values })
        })
        .collect();
    let epochs: Vec<usize> = past.history.iter().map(|epoch| epoch.epoch).collect();
    let steps: Vec<(u64, f64)> = past
        .events
        .iter()
        .filter(|event| event["event"] == "step")
        .filter_map(|event| Some((event["step"].as_u64()?, event["loss"].as_f64()?)))
        .collect();
    let each = steps.len().div_ceil(MOST_POINTS).max(1);
    let means = steps.chunks(each).map(|chunk| {
        let sum: f64 = chunk.iter().map(|(_, loss)| loss).sum();
        // As many digits as a chart shows.
        let mean = format!("{:.5}", sum / chunk.len() as f64);
        (chunk[chunk.len() - 1].0, mean.parse().unwrap_or(f64::NAN))
    });
    let (at, losses): (Vec<u64>, Vec<f64>) = means.unzip();
    json!({
        "epochs": { "x": epochs, "series": series },
        "steps": { "x": at, "loss": losses, "each": each },
    })
}
