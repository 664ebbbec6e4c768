//! A data set whose labels follow the names of another list of classes: those that a network tells apart.
use super::{ImageSource, Info, Split};
use anyhow::{Result, bail};
use std::sync::Arc;
use unicode_normalization::UnicodeNormalization;

/// Another source's images under the labels of other classes.
struct ByName {
    source: Arc<dyn ImageSource>,
    info: Info,
    labels: [Vec<u32>; 3],
}

/// The place of a class among others, however the letters of its name are written: composed or decomposed.
pub fn place(name: &str, classes: &[String]) -> Option<usize> {
    let same = |class: &String| class.nfc().eq(name.nfc());
    classes.iter().position(same)
}

/// The images of a source, whose labels are the places of their classes' names in `classes`. Classes without images may be
/// missing in the source.
///
/// # Errors
/// When the source has images of a class that is not among them.
pub fn by_name(source: Arc<dyn ImageSource>, classes: &[String]) -> Result<Arc<dyn ImageSource>> {
    let info = source.info();
    if info.classes == classes {
        return Ok(source);
    }
    let places = info.classes.iter().map(|name| place(name, classes));
    let places: Vec<Option<usize>> = places.collect();
    let mut labels = [const { Vec::new() }; 3];
    for split in Split::ALL {
        for &label in source.labels(split) {
            match places[label as usize] {
                Some(place) => labels[split as usize].push(place as u32),
                None => bail!(
                    "{} has pictures of {}, which is none of the network's classes: {}",
                    info.name,
                    info.classes[label as usize],
                    classes.join(", ")
                ),
            }
        }
    }
    let info = Info {
        classes: classes.to_vec(),
        ..info.clone()
    };
    Ok(Arc::new(ByName {
        source,
        info,
        labels,
    }))
}

impl ImageSource for ByName {
    fn info(&self) -> &Info {
        &self.info
    }

    fn labels(&self, split: Split) -> &[u32] {
        &self.labels[split as usize]
    }

    fn read(&self, split: Split, indices: &[u32], out: &mut [u8]) -> Result<()> {
        self.source.read(split, indices, out)
    }

    fn fingerprints(&self, split: Split) -> &[u64] {
        self.source.fingerprints(split)
    }
}
