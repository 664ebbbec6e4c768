//! What a file of weights tells about itself, in every version that was ever written.
use crate::config::range::IMAGE_SIZE;
use crate::data::{Info, Preprocess};
use crate::model::Arch;
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::HashSet;

/// The version that is written. Version 1 had no number, and `image_size` in the place of `preprocess`.
const VERSION: u64 = 2;

/// The longest name of a class, in bytes.
const MOST_NAME: usize = 256;

/// What an evaluation must know about a file of weights.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WeightsInfo {
    version: u64,
    /// The network.
    pub arch: Arch,
    /// What happens to an image before the network sees it.
    pub preprocess: Preprocess,
    /// Names of the classes in the order of the logits.
    pub classes: Vec<String>,
}

impl WeightsInfo {
    /// Of weights that are about to be trained.
    pub fn new(arch: Arch, preprocess: Preprocess, classes: Vec<String>) -> WeightsInfo {
        WeightsInfo {
            version: VERSION,
            arch,
            preprocess,
            classes,
        }
    }

    /// From the metadata of a file.
    ///
    /// # Errors
    /// When a newer program wrote them, or another one.
    pub(super) fn from_metadata(mut written: Value) -> Result<WeightsInfo> {
        let version = written.get("version").map_or(Some(1), Value::as_u64);
        ensure!(
            version.is_some_and(|version| version <= VERSION),
            "it has version {} of the format, but this program knows those up to {VERSION}: update resnet",
            written["version"]
        );
        if let (Some(1), Some(fields)) = (version, written.as_object_mut()) {
            let size = fields.remove("image_size");
            fields.insert("preprocess".to_string(), json!({ "size": size }));
            fields.insert("version".to_string(), VERSION.into());
        }
        let info: WeightsInfo = serde_json::from_value(written)?;
        info.check()?;
        Ok(info)
    }

    /// Refuses sizes that no network has, and names that do not fit it.
    fn check(&self) -> Result<()> {
        self.arch.check()?;
        let size = self.preprocess.size;
        if let Err(why) = IMAGE_SIZE.parse(&size.to_string()) {
            bail!("its images have {size}×{size} pixels, but a side {why}");
        }
        let resized = self.preprocess.resized();
        if let Err(why) = IMAGE_SIZE.parse(&resized.to_string()) {
            bail!("its images are resized to {resized} pixels, but a side {why}");
        }
        self.preprocess.check(self.arch.in_channels)?;
        let (names, classes) = (self.classes.len(), self.arch.classes);
        ensure!(
            names == classes,
            "it has {names} names of classes, but its network tells {classes} apart"
        );
        let mut seen = HashSet::new();
        for (i, name) in self.classes.iter().enumerate() {
            let shown: String = name.chars().take(40).collect();
            ensure!(
                !name.trim().is_empty() && name.len() <= MOST_NAME,
                "the name of class {i} has {} bytes, but must have from 1 to {MOST_NAME}",
                name.len()
            );
            ensure!(
                !name.contains(char::is_control),
                "the name of class {i}, {shown:?}, has control characters"
            );
            ensure!(
                seen.insert(name),
                "two classes have the name {shown:?}, so that they cannot be told apart"
            );
        }
        Ok(())
    }

    /// Refuses data that are not what the network takes or tells apart; `network` says which network it is.
    ///
    /// # Errors
    /// When the number of classes or of channels differs.
    pub fn check_data(&self, network: &str, data: &Info) -> Result<()> {
        let Arch {
            classes,
            in_channels,
            ..
        } = self.arch;
        let (has_classes, channels) = (data.classes.len(), data.channels);
        ensure!(
            (has_classes, channels) == (classes, in_channels),
            "{network} is for {classes} classes and {in_channels} channel(s), but {} has {has_classes} and {channels}",
            data.name,
        );
        Ok(())
    }
}
