//! What a data set is to the rest of the program: labelled square images in splits, read by index. And one that
//! lies in memory.
use super::found::Found;
use super::preprocess::Fit;
use anyhow::{Context, Result};
use std::collections::HashSet;

/// A part of a data set.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Split {
    /// What the parameters are fitted to.
    Train,
    /// What choices such as the best checkpoint are made on; often empty.
    Validation,
    /// What tells how good the result is.
    Test,
}

impl Split {
    /// All of them.
    pub const ALL: [Split; 3] = [Split::Train, Split::Validation, Split::Test];

    /// Its name in texts and graphs.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Validation => "validation",
            Split::Test => "test",
        }
    }
}

/// What is known about a data set without reading an image.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Info {
    /// What it is and where it was found.
    pub name: String,
    /// What kind of data set it is.
    pub kind: Kind,
    /// Side of every image in pixels.
    pub size: usize,
    /// Channels per pixel.
    pub channels: usize,
    /// Names of the classes in the order of the labels.
    pub classes: Vec<String>,
    /// What the user should know about it, a line each.
    pub notes: Vec<String>,
    /// How pictures became its images, if they were pictures.
    pub fit: Option<Fit>,
    /// The mean and the standard deviation of each channel's levels, divided by 255, that everybody normalises it by.
    pub usual: Option<[Vec<f32>; 2]>,
    /// What its folder held, if it is one of pictures.
    pub found: Option<Found>,
}

/// What kind of data set one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// Images in memory that no file told of.
    #[default]
    Memory,
    /// Four IDX files.
    Idx,
    /// The binary version of CIFAR-10.
    Cifar10,
    /// Pictures in a folder for each class.
    Folder,
    /// Pictures whose classes a table tells.
    Table,
}

impl Kind {
    /// In a few words.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Memory => "images inside the program",
            Kind::Idx => "four IDX files, as of MNIST",
            Kind::Cifar10 => "the binary version of CIFAR-10",
            Kind::Folder => "pictures in a folder for each class",
            Kind::Table => "pictures with a table of their classes",
        }
    }
}

impl Info {
    /// Bytes of an image.
    pub fn image_bytes(&self) -> usize {
        self.size * self.size * self.channels
    }
}

/// Labelled images that can be read in any order, from several threads.
pub trait ImageSource: Send + Sync {
    /// What is known about all of them.
    fn info(&self) -> &Info;

    /// The class of each image of a split; their number is the split's.
    fn labels(&self, split: Split) -> &[u32];

    /// Writes the images with these indices to `out`, one after another: levels `[size, size, channels]`.
    /// `out` has room for just these.
    ///
    /// # Errors
    /// When there is no image of such an index or it cannot be read.
    fn read(&self, split: Split, indices: &[u32], out: &mut [u8]) -> Result<()>;

    /// Number of images.
    fn len(&self, split: Split) -> usize {
        self.labels(split).len()
    }

    /// A hash of each image of a split, by which equal images are found; of some sets nothing.
    fn fingerprints(&self, _split: Split) -> &[u64] {
        &[]
    }

    /// The images that tell how good a network is: those to test on or, where there are none, those to validate on.
    fn evaluated(&self) -> Split {
        match self.len(Split::Test) {
            0 => Split::Validation,
            _ => Split::Test,
        }
    }
}

/// How many images of other splits are training images too, level by level.
pub fn shared(source: &dyn ImageSource) -> usize {
    let trained: HashSet<&u64> = source.fingerprints(Split::Train).iter().collect();
    let others = [Split::Validation, Split::Test].map(|split| source.fingerprints(split));
    let others = others.into_iter().flatten();
    others.filter(|hash| trained.contains(hash)).count()
}

/// Labelled images in memory, without validation images.
#[derive(Clone, PartialEq, Debug)]
pub struct Dataset {
    /// What is known about both.
    pub info: Info,
    /// Images to train on.
    pub train: Examples,
    /// Images to test on.
    pub test: Examples,
}

/// Images and their classes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Examples {
    /// Levels `[labels.len(), size, size, channels]`.
    pub pixels: Vec<u8>,
    /// Class of each image.
    pub labels: Vec<u32>,
}

impl ImageSource for Dataset {
    fn info(&self) -> &Info {
        &self.info
    }

    fn labels(&self, split: Split) -> &[u32] {
        self.examples(split)
            .map_or(&[], |examples| &examples.labels)
    }

    fn read(&self, split: Split, indices: &[u32], out: &mut [u8]) -> Result<()> {
        let pixels = self.examples(split).map_or(&[][..], |e| &e.pixels);
        let len = self.info.image_bytes();
        assert_eq!(out.len(), indices.len() * len, "room for these images");
        for (out, &i) in out.chunks_exact_mut(len).zip(indices) {
            let image = pixels.get(i as usize * len..(i as usize + 1) * len);
            out.copy_from_slice(image.with_context(|| {
                format!("{} has no {} image {i}", self.info.name, split.name())
            })?);
        }
        Ok(())
    }
}

impl Dataset {
    fn examples(&self, split: Split) -> Option<&Examples> {
        match split {
            Split::Train => Some(&self.train),
            Split::Validation => None,
            Split::Test => Some(&self.test),
        }
    }
}
