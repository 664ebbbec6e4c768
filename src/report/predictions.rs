//! What a network says of each image, as CSV.
use super::answers::{predicted, softmax};
use anyhow::{Context, Result, anyhow};

/// A table of answers: a row for each image.
pub struct Predictions {
    classes: Vec<String>,
    csv: csv::Writer<Vec<u8>>,
}

impl Predictions {
    /// A table with its header: the image's number, its class, the predicted one, and the probability of each.
    ///
    /// # Errors
    /// Never, since it is written into memory.
    pub fn new(classes: Vec<String>) -> Result<Predictions> {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let named = ["image", "label", "predicted"].into_iter();
        csv.write_record(named.chain(classes.iter().map(String::as_str)))?;
        Ok(Predictions { classes, csv })
    }

    /// Adds an image.
    ///
    /// # Errors
    /// As [`Predictions::new`].
    pub fn add(&mut self, image: u32, label: u32, logits: &[f32]) -> Result<()> {
        let class = |class: usize| self.classes[class].clone();
        let [label, predicted] = [label as usize, predicted(logits)].map(class);
        let row = [image.to_string(), label, predicted].into_iter();
        let probabilities = softmax(logits).into_iter().map(|p| p.to_string());
        Ok(self.csv.write_record(row.chain(probabilities))?)
    }

    /// All of it.
    ///
    /// # Errors
    /// As [`Predictions::new`].
    pub fn into_bytes(self) -> Result<Vec<u8>> {
        let bytes = self.csv.into_inner();
        bytes
            .map_err(|error| anyhow!("{error}"))
            .context("formatting the predictions")
    }
}
