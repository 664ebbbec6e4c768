//! What `--val-split` says: how many training images are held out, or which share of them.
use super::range::IMAGES;
use anyhow::{Result, anyhow};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// The training images that are held out for validation.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(untagged)]
pub enum ValSplit {
    /// So many.
    Images(usize),
    /// This share of them, above 0 and below 1.
    Share(f64),
}

impl ValSplit {
    /// How many of so many.
    pub fn of(self, images: usize) -> usize {
        match self {
            ValSplit::Images(count) => count,
            ValSplit::Share(share) => ((share * images as f64).round() as usize).max(1),
        }
    }

    /// What is held out, in words.
    pub fn words(self) -> String {
        match self {
            ValSplit::Images(count) => format!("{count} training images"),
            ValSplit::Share(share) => format!("a share of {share} of the training images"),
        }
    }
}

impl FromStr for ValSplit {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<ValSplit> {
        let has_point = text.contains('.') && !text.contains(['e', 'E']);
        if let (true, Ok(share)) = (has_point, text.parse::<f64>()) {
            return match share > 0.0 && share < 1.0 {
                true => Ok(ValSplit::Share(share)),
                false => Err(anyhow!("a share must be above 0 and below 1, such as 0.1")),
            };
        }
        let images = IMAGES.parser()(text);
        let images = images.map_err(|why| match why.contains("whole number") {
            true => anyhow!("must be a number of images, or a share of them such as 0.1"),
            false => anyhow!(why),
        })?;
        Ok(ValSplit::Images(images))
    }
}

impl fmt::Display for ValSplit {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            ValSplit::Images(count) => write!(f, "{count}"),
            ValSplit::Share(share) => write!(f, "{share}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_or_a_share_of_the_images_is_held_out() {
        let of = |text: &str| text.parse::<ValSplit>().map(|split| split.of(205));
        assert_eq!(of("50").unwrap(), 50);
        assert_eq!(of("0.1").unwrap(), 21);
        assert_eq!(of("0.001").unwrap(), 1);
        for text in ["0.0", "1.0", "-0.1", "0", "ten", "1e-1", "0.1.2"] {
            let why = of(text).unwrap_err().to_string();
            assert!(why.contains("must be"), "{text}: {why}");
        }
    }
}
