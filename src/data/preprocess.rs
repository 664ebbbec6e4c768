//! How an image becomes the input of a network. A checkpoint says it, so that training, evaluation and prediction
//! treat images alike.
use crate::ops::{NORMALISED_CHANNELS, Normalise, cropped_taps};
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::RangeInclusive;

/// Means that levels from 0 to 1 may have.
pub const MEANS: RangeInclusive<f32> = 0.0..=1.0;

/// Standard deviations that they may have. Less is that of no images.
pub const STDS: RangeInclusive<f32> = 0.001..=1.0;

/// How a picture that is not square becomes one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// Its shorter side is resized and the middle of the longer one is kept, as torchvision's `Resize` and `CenterCrop` do.
    #[default]
    Crop,
    /// Its longer side is resized, and black is put on both sides of the shorter one.
    Pad,
    /// Each side is resized by itself.
    Stretch,
}

/// Images are resized as PIL's bilinear filter does, so that their shorter side has `resize` pixels; the square of `size`
/// pixels in the middle is kept, its levels are divided by 255, and each channel is normalised by its mean and its
/// standard deviation. What is left out of a file is not done; files of earlier versions have `size` alone.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Side of the square in pixels.
    pub size: usize,
    /// The shorter side in pixels before the square is cut out, where it is longer than that of the square.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resize: Option<usize>,
    /// What is subtracted from each channel's values from 0 to 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f32>,
    /// What each channel is divided by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f32>,
    /// How pictures of the data set became squares, where it had been pictures: a picture to be answered about becomes one in
    /// the same way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<Fit>,
}

impl Preprocess {
    /// Images are resized to a square of this side, and nothing else.
    pub fn of_size(size: usize) -> Preprocess {
        Preprocess {
            size,
            resize: None,
            mean: Vec::new(),
            std: Vec::new(),
            fit: None,
        }
    }

    /// What torchvision and timm do with an image for their ResNets that were trained on ImageNet.
    pub fn imagenet() -> Preprocess {
        Preprocess {
            size: 224,
            resize: Some(256),
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            fit: None,
        }
    }

    /// The shorter side in pixels before the square is cut out.
    pub fn resized(&self) -> usize {
        self.resize.unwrap_or(self.size)
    }

    /// The filter from an axis of `from` pixels that becomes one of `to` to the square's: see [`cropped_taps`].
    pub fn taps(&self, from: usize, to: usize) -> (Vec<u32>, usize) {
        cropped_taps(from, to, self.size)
    }

    /// What the values from 0 to 1 are normalised by, if they are.
    pub fn normalise(&self) -> Option<Normalise> {
        let of_channels = |values: &[f32]| {
            let mut all = [1.0; NORMALISED_CHANNELS];
            all.iter_mut().zip(values).for_each(|(all, of)| *all = *of);
            all
        };
        (!self.std.is_empty()).then(|| Normalise {
            mean: of_channels(&self.mean),
            std: of_channels(&self.std),
        })
    }

    /// Refuses what is no preprocessing of images of so many channels.
    ///
    /// # Errors
    /// Naming the number that is out of its range.
    pub fn check(&self, channels: usize) -> Result<()> {
        self.check_sides()?;
        self.check_levels(channels)
    }

    /// Refuses a square that cannot be cut out.
    ///
    /// # Errors
    /// Naming both sides.
    pub fn check_sides(&self) -> Result<()> {
        let (size, resized) = (self.size, self.resized());
        ensure!(
            resized >= size,
            "no {size} pixels can be cut out of the {resized} that the shorter side of an image becomes"
        );
        Ok(())
    }

    /// Refuses means and deviations of other levels than those of so many channels.
    ///
    /// # Errors
    /// Naming the number that is out of its range.
    pub fn check_levels(&self, channels: usize) -> Result<()> {
        let (means, stds) = (self.mean.len(), self.std.len());
        if (means, stds) == (0, 0) {
            return Ok(());
        }
        ensure!(
            channels <= NORMALISED_CHANNELS,
            "images of {channels} channels are not normalised, but those of {NORMALISED_CHANNELS} at most"
        );
        ensure!(
            (means, stds) == (channels, channels),
            "{means} mean(s) and {stds} standard deviation(s) for images of {channels} channel(s): there must be one of \
             each for every channel"
        );
        for (what, values, range) in [
            ("mean", &self.mean, MEANS),
            ("standard deviation", &self.std, STDS),
        ] {
            if let Some(value) = values.iter().find(|value| !range.contains(*value)) {
                bail!(
                    "the {what} {value} of levels that were divided by 255: it must be from {} to {}",
                    range.start(),
                    range.end()
                );
            }
        }
        Ok(())
    }
}

/// Numbers as a flag takes them.
pub fn listed(values: &[f32]) -> String {
    let texts: Vec<String> = values.iter().map(f32::to_string).collect();
    texts.join(",")
}

impl fmt::Display for Preprocess {
    /// In a few words, such as `images of 224×224 from the middle of 256, mean 0.5, standard deviation 0.25`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "images of {size}×{size}", size = self.size)?;
        if let Some(resize) = self.resize {
            write!(f, " from the middle of {resize}")?;
        }
        if !self.std.is_empty() {
            let (mean, std) = (listed(&self.mean), listed(&self.std));
            write!(f, ", mean {mean}, standard deviation {std}")?;
        }
        match self.fit {
            None | Some(Fit::Crop) => {}
            Some(Fit::Pad) => write!(f, ", padded to squares")?,
            Some(Fit::Stretch) => write!(f, ", stretched to squares")?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_done_is_not_written() {
        let written = |preprocess: &Preprocess| serde_json::to_string(preprocess).unwrap();
        assert_eq!(written(&Preprocess::of_size(28)), r#"{"size":28}"#);
        let imagenet = Preprocess::imagenet();
        let text = written(&imagenet);
        assert_eq!(
            text,
            r#"{"size":224,"resize":256,"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}"#
        );
        assert_eq!(serde_json::from_str::<Preprocess>(&text).unwrap(), imagenet);
        let old: Preprocess = serde_json::from_str(r#"{"size":28}"#).unwrap();
        assert_eq!(old, Preprocess::of_size(28));
        assert!(serde_json::from_str::<Preprocess>(r#"{"size":28,"crop":3}"#).is_err());
    }
}
