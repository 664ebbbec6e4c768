//! The confusion matrix of a classifier, and the accuracy of each class.
use super::answers::predicted;
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
            self.counts[label as usize][predicted(row)] += 1;
        }
    }

    /// The classes in the order of the counts.
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Counts by true class, then by predicted class.
    pub fn counts(&self) -> &[Vec<u64>] {
        &self.counts
    }

    /// What is known of each class.
    pub fn per_class(&self) -> Vec<OfClass<'_>> {
        let share = |right: u64, all: u64| (all > 0).then(|| right as f64 / all as f64);
        let of_class = |(class, row): (usize, &Vec<u64>)| {
            let (right, images) = (row[class], row.iter().sum());
            OfClass {
                class: &self.classes[class],
                images,
                precision: share(right, self.counts.iter().map(|row| row[class]).sum()),
                recall: share(right, images),
            }
        };
        self.counts.iter().enumerate().map(of_class).collect()
    }
}

/// How a class was answered.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OfClass<'a> {
    /// Its name.
    pub class: &'a str,
    /// Examples of it.
    pub images: u64,
    /// Share of it among the answers that said it; `None` where none did.
    pub precision: Option<f64>,
    /// Share of right answers among its examples: its accuracy. `None` where there was no example of it.
    pub recall: Option<f64>,
}

impl fmt::Display for Confusion {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let width = self.classes.iter().map(String::len).max().unwrap_or(0);
        writeln!(f, "{:width$}  precision  recall  predicted as", "class")?;
        for (of_class, row) in self.per_class().into_iter().zip(&self.counts) {
            let share = |share: Option<f64>| share.map_or("-".to_string(), |s| format!("{s:.3}"));
            let OfClass {
                class,
                precision,
                recall,
                ..
            } = of_class;
            let (precision, recall) = (share(precision), share(recall));
            write!(f, "{class:width$}  {precision:>9}  {recall:>6} ")?;
            for count in row {
                write!(f, " {count:>5}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_of_the_answers_and_recall_of_the_examples() {
        let mut confusion = Confusion::new(["a", "b", "c"].map(String::from).to_vec());
        // Of a: two right, one taken for b. Of b: one right. Of c there is none.
        let logits = [1., 0., 0., 1., 0., 0., 0., 1., 0., 0., 1., 0.];
        confusion.add(&logits, [0, 0, 0, 1]);
        let of_class = confusion.per_class();
        let shares: Vec<_> = of_class
            .iter()
            .map(|c| (c.images, c.precision, c.recall))
            .collect();
        let third = 2.0 / 3.0;
        assert_eq!(
            shares,
            [
                (3, Some(1.0), Some(third)),
                (1, Some(0.5), Some(1.0)),
                (0, None, None)
            ]
        );
    }
}
