//! What is answered for a picture, as JSON and as text with bars.
use crate::process::one_line;
use crate::report::answers::softmax;
use anyhow::Result;
use serde::Serialize;
use std::io::Write;
use std::path::Path;

/// Columns of the bar of a certain answer.
const COLUMNS: f64 = 30.0;

/// An eighth of a column to all of it.
const EIGHTHS: [&str; 8] = ["▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"];

/// An answer for a picture.
#[derive(Serialize)]
pub struct Answer {
    pub image: String,
    /// Whether it was made light on dark first.
    pub inverted: bool,
    /// The true class of an image of the test set.
    pub label: Option<String>,
    /// The most probable classes, best first.
    pub classes: Vec<Class>,
    /// What the network says of each class, in their order.
    pub logits: Vec<f32>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A class that a picture may have.
#[derive(Serialize)]
pub struct Class {
    pub class: String,
    pub probability: f64,
}

impl Answer {
    /// What is to be filled in for an image.
    pub fn to(image: String) -> Answer {
        Answer {
            image,
            inverted: false,
            label: None,
            classes: Vec::new(),
            logits: Vec::new(),
            error: None,
        }
    }

    /// The picture's name, the best class, and the true one where it is known, in short lines.
    pub fn caption(&self) -> Vec<String> {
        let name = Path::new(&self.image).file_name();
        let name = name.map_or(self.image.clone(), |name| {
            name.to_string_lossy().to_string()
        });
        let best = self.classes.first();
        let best = best.map(|Class { class, probability }| format!("{probability:.2} {class}"));
        let label = self.label.iter().map(|label| format!("is {label}"));
        [name].into_iter().chain(best).chain(label).collect()
    }
}

/// The `top` most probable classes by softmax; of equal ones the first.
pub fn best(logits: &[f32], classes: &[String], top: usize) -> Vec<Class> {
    let named = |(class, probability): (&String, f64)| Class {
        class: class.clone(),
        probability,
    };
    let mut all: Vec<Class> = classes.iter().zip(softmax(logits)).map(named).collect();
    all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    all.truncate(top);
    all
}

/// For each picture a line with its name, and one for each of its classes.
pub fn print(out: &mut impl Write, answers: &[Answer]) -> Result<()> {
    let named = answers.iter().flat_map(|answer| &answer.classes);
    let width = named.map(|c| c.class.chars().count()).max().unwrap_or(0);
    for answer in answers {
        let image = one_line(&answer.image);
        match (&answer.label, answer.inverted) {
            (Some(label), _) => writeln!(out, "{image} ({label})")?,
            (None, true) => writeln!(out, "{image} (inverted)")?,
            (None, false) => writeln!(out, "{image}")?,
        }
        for Class { class, probability } in &answer.classes {
            let line = format!("  {class:width$}  {probability:.3}  {}", bar(*probability));
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(())
}

/// A share as a bar, to an eighth of a column.
fn bar(share: f64) -> String {
    let eighths = (share * COLUMNS * 8.0).round() as usize;
    let part = (eighths % 8)
        .checked_sub(1)
        .map_or("", |part| EIGHTHS[part]);
    format!("{}{part}", EIGHTHS[7].repeat(eighths / 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share() {
        assert_eq!(bar(1.0), "█".repeat(30));
        assert_eq!(bar(0.05), "█▌");
        assert_eq!(bar(0.004), "▏");
        assert_eq!(bar(0.001), "");
    }
}
