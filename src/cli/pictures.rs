//! What `resnet predict` looks at: pictures of files and images of the test set, as images for the network.
use super::trained::Checkpoint;
use crate::config::Usage;
use crate::data::{
    Background, Dataset, Examples, Fit, ImageSource, Info, Picture, Preprocess, fit, read_colour,
    read_square,
};
use crate::process::one_line;
use anyhow::{Result, bail};
use std::path::Path;

/// Images of one form for a network.
pub struct Pictures {
    kind: Kind,
    pixels: Vec<u8>,
    count: usize,
}

/// What files are made into.
#[derive(Clone, Copy)]
enum Kind {
    /// Grey images as Fashion-MNIST has them, which steps resize.
    Grey(Background),
    /// Colour, as large as the network takes it.
    Colour,
    /// Squares of so many channels as a data set of pictures has them, which steps cut.
    Square(Fit, usize),
}

impl Pictures {
    /// None yet, for this network.
    ///
    /// # Errors
    /// When pictures have no such channels, or `background` is given and of no use.
    pub fn of(checkpoint: &Checkpoint, background: Option<Background>) -> Result<Pictures> {
        let (channels, fit) = (
            checkpoint.info.arch.in_channels,
            checkpoint.info.preprocess.fit,
        );
        let kind = match (channels, background) {
            (1 | 3, None) if fit.is_some() => Kind::Square(fit.unwrap_or_default(), channels),
            (1, Some(_)) if fit.is_some() => bail!(
                "--background is for networks of garments, but {} was trained on pictures as they are: leave it out",
                one_line(checkpoint.weights.path())
            ),
            (1, background) => Kind::Grey(background.unwrap_or_default()),
            (3, None) => Kind::Colour,
            (3, Some(_)) => {
                return Err(Usage::error(format!(
                    "--background is for networks of one channel, but {} takes pictures in colour as they are: leave it out",
                    one_line(checkpoint.weights.path())
                )));
            }
            (channels, _) => bail!(
                "{} takes images of {channels} channels, but pictures have 1 (grey) or 3 (colour)",
                one_line(checkpoint.weights.path())
            ),
        };
        Ok(Pictures {
            kind,
            pixels: Vec::new(),
            count: 0,
        })
    }

    /// Adds the picture in a file. Returns whether it was made light on dark first.
    ///
    /// # Errors
    /// When there is no such file, or nothing in it can be used.
    pub fn read(&mut self, path: &Path, checkpoint: &Checkpoint) -> Result<bool> {
        let inverted = match self.kind {
            Kind::Grey(background) => {
                let picture = Picture::read(path, background)?;
                self.pixels.extend(picture.pixels);
                picture.inverted
            }
            Kind::Colour => {
                let preprocess = &checkpoint.info.preprocess;
                self.pixels.extend(read_colour(path, preprocess)?);
                false
            }
            Kind::Square(fit, channels) => {
                let preprocess = &checkpoint.info.preprocess;
                self.pixels
                    .extend(read_square(path, channels, fit, preprocess)?);
                false
            }
        };
        self.count += 1;
        Ok(inverted)
    }

    /// Adds an image of those that tell how good a network is, which the data set has.
    ///
    /// # Errors
    /// When the data set's images are of another form.
    pub fn take(
        &mut self,
        data: &dyn ImageSource,
        number: usize,
        checkpoint: &Checkpoint,
    ) -> Result<()> {
        let Info {
            name,
            size,
            channels,
            ..
        } = data.info();
        let mut image = vec![0; data.info().image_bytes()];
        data.read(data.evaluated(), &[number as u32], &mut image)?;
        match (self.kind, *channels, *size) {
            (Kind::Grey(_), 1, Picture::SIZE) => self.pixels.extend(image),
            (Kind::Colour, 3, size) => {
                let shape = [size, size, 3];
                let square = fit(&image, shape, &checkpoint.info.preprocess);
                self.pixels.extend(square);
            }
            (Kind::Square(_, wanted), channels, size) if channels == wanted => {
                let side = Preprocess::of_size(checkpoint.info.preprocess.resized());
                self.pixels
                    .extend(fit(&image, [size, size, channels], &side));
            }
            (Kind::Grey(_), ..) => bail!(
                "--test-image: {name} has images of {size}×{size} in {channels} channel(s), but pictures are made grey \
                 images of {side}×{side}",
                side = Picture::SIZE
            ),
            (Kind::Colour | Kind::Square(..), ..) => bail!(
                "--test-image: {name} has images of {channels} channel(s), but {} takes {}",
                one_line(checkpoint.weights.path()),
                checkpoint.info.arch.in_channels
            ),
        }
        self.count += 1;
        Ok(())
    }

    /// All of them as the test images of a data set; and `checkpoint` knows from now on what is left to be done with them.
    pub fn into_data(self, checkpoint: &mut Checkpoint) -> Dataset {
        let preprocess = &mut checkpoint.info.preprocess;
        let (size, channels) = match self.kind {
            Kind::Grey(_) => (Picture::SIZE, 1),
            Kind::Colour => {
                preprocess.resize = None;
                (preprocess.size, 3)
            }
            Kind::Square(_, channels) => (preprocess.resized(), channels),
        };
        Dataset {
            info: Info {
                name: "a picture".to_string(),
                size,
                channels,
                classes: checkpoint.info.classes.clone(),
                ..Info::default()
            },
            train: Examples::default(),
            test: Examples {
                pixels: self.pixels,
                // The loss by these labels is worked out and not looked at.
                labels: vec![0; self.count],
            },
        }
    }
}
