//! What an evaluation answered: the confusion matrix, the loss, and the answers that are furthest from the truth.
use super::answers::predicted;
use super::confusion::Confusion;
use crate::data::Split;
use crate::train::Event;

/// Mistakes that are kept.
const WORST: usize = 24;

/// An evaluation, as far as it has come.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Whose images they are.
    pub split: Split,
    /// Counts of answers.
    pub confusion: Confusion,
    /// The mistakes whose true class was the least probable, the worst first.
    pub mistakes: Vec<Mistake>,
    /// Sum of the images' losses.
    loss: f64,
    examples: u64,
}

/// A wrong answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Mistake {
    /// The image's number in its split.
    pub example: u32,
    /// Its class.
    pub label: usize,
    /// The class it was taken for.
    pub predicted: usize,
    /// Probability of its class.
    pub of_label: f64,
    /// Probability of the class that it was taken for.
    pub of_predicted: f64,
    /// Cross-entropy.
    loss: f64,
}

impl Tally {
    /// Of nothing yet.
    pub fn new(split: Split, classes: Vec<String>) -> Tally {
        Tally {
            split,
            confusion: Confusion::new(classes),
            mistakes: Vec::new(),
            loss: 0.0,
            examples: 0,
        }
    }

    /// Adds a batch: indices, classes and logits `[examples, classes]`.
    pub fn add(&mut self, examples: &[u32], labels: &[u32], logits: &[f32]) {
        self.confusion.add(logits, labels.iter().copied());
        let classes = self.confusion.counts().len();
        for ((logits, &label), &example) in logits.chunks_exact(classes).zip(labels).zip(examples) {
            let label = label as usize;
            let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let above = |logit: f32| f64::from(logit) - f64::from(most);
            let sum: f64 = logits.iter().map(|&logit| above(logit).exp()).sum();
            let loss = sum.ln() - above(logits[label]);
            self.loss += loss;
            self.examples += 1;
            let predicted = predicted(logits);
            if predicted == label {
                continue;
            }
            let full = self.mistakes.len() == WORST;
            if full && self.mistakes.last().is_some_and(|last| last.loss >= loss) {
                continue;
            }
            let at = self.mistakes.partition_point(|other| other.loss >= loss);
            let mistake = Mistake {
                example,
                label,
                predicted,
                of_label: (-loss).exp(),
                of_predicted: 1.0 / sum,
                loss,
            };
            self.mistakes.insert(at, mistake);
            self.mistakes.truncate(WORST);
        }
    }

    /// Mean loss.
    pub fn mean_loss(&self) -> f64 {
        self.loss / self.examples as f64
    }

    /// Share of right answers.
    pub fn accuracy(&self) -> f64 {
        let counts = self.confusion.counts();
        let right: u64 = (0..counts.len()).map(|class| counts[class][class]).sum();
        right as f64 / self.examples as f64
    }

    /// Images that were answered.
    pub fn examples(&self) -> u64 {
        self.examples
    }
}

/// Gathers the answers of each evaluation of a run.
pub struct Gather {
    classes: Vec<String>,
    tally: Option<Tally>,
}

impl Gather {
    /// Of a run that tells these classes apart.
    pub fn new(classes: Vec<String>) -> Gather {
        Gather {
            classes,
            tally: None,
        }
    }

    /// Takes note of answers.
    pub fn event(&mut self, event: &Event) {
        let Event::Answers {
            split,
            examples,
            labels,
            logits,
        } = event
        else {
            return;
        };
        // They come in the order of the split, so that the first image begins an evaluation.
        if examples.first() == Some(&0) {
            self.tally = None;
        }
        let classes = &self.classes;
        let tally = self
            .tally
            .get_or_insert_with(|| Tally::new(*split, classes.clone()));
        tally.add(examples, labels, logits);
    }

    /// The newest evaluation.
    pub fn tally(&self) -> Option<&Tally> {
        self.tally.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_mistakes_are_those_whose_class_was_least_probable() {
        let mut tally = Tally::new(Split::Test, ["a", "b"].map(String::from).to_vec());
        // Image i has class 0 and is taken for class 1 by i tenths; every fifth is right.
        for i in 0..100_u32 {
            let by = match i % 5 {
                0 => -1.0,
                _ => i as f32 / 10.0,
            };
            tally.add(&[i], &[0], &[0.0, by]);
        }
        assert_eq!(tally.mistakes.len(), WORST);
        let worst: Vec<u32> = tally.mistakes.iter().map(|m| m.example).collect();
        let wrong = (0..100).rev().filter(|i| i % 5 != 0);
        assert_eq!(worst, wrong.take(WORST).collect::<Vec<u32>>());
        let first = &tally.mistakes[0];
        assert_eq!((first.label, first.predicted), (0, 1));
        assert!((first.of_label - 1.0 / (1.0 + 9.9_f64.exp())).abs() < 1e-6);
        assert!((first.of_label + first.of_predicted - 1.0).abs() < 1e-12);
        assert_eq!((tally.accuracy(), tally.examples()), (0.2, 100));
    }
}
