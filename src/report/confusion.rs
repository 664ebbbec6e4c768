//! The confusion matrix of a classifier, and the accuracy of each class.
use serde::Serialize;
use std::fmt;

/// Counts of answers: rows are the true classes, columns the predicted ones.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Confusion {
    classes: Vec<String>,
    counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// An empty matrix over these classes.
    pub fn new(classes: Vec<String>) -> Confusion {
        let counts = vec![vec![0; classes.len()]; classes.len()];
        Confusion { classes, counts }
    }

    /// Adds a batch: its logits `[batch, classes]` and its labels. The first largest logit wins.
    pub fn add(&mut self, logits: &[f32], labels: impl IntoIterator<Item = u32>) {
        for (row, label) in logits.chunks_exact(self.classes.len()).zip(labels) {
            let mut predicted = 0;
            for (class, logit) in row.iter().enumerate() {
                if *logit > row[predicted] {
                    predicted = class;
                }
            }
            self.counts[label as usize][predicted] += 1;
        }
    }

    /// Counts by true class, then by predicted class.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// Share of right answers of each class; `None` where there was no example of it.
    pub fn per_class(&self) -> Vec<(&str, Option<f64>)> {
        let accuracy = |(class, row): (usize, &Vec<u64>)| {
            let all: u64 = row.iter().sum();
            let share = (all > 0).then(|| row[class] as f64 / all as f64);
            (self.classes[class].as_str(), share)
        };
        self.counts.iter().enumerate().map(accuracy).collect()
    }
}

impl fmt::Display for Confusion {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width = self.classes.iter().map(String::len).max().unwrap_or(0);
        writeln!(f, "{:width$}  accuracy  predicted as", "class")?;
        for ((class, accuracy), row) in self.per_class().into_iter().zip(&self.counts) {
            let accuracy = accuracy.map_or("-".to_string(), |a| format!("{a:.3}"));
            write!(f, "{class:width$}  {accuracy:>8} ")?;
            for count in row {
                write!(f, " {count:>5}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
