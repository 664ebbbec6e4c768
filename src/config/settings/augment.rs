//! The settings of what happens to training images at random.
use crate::config::Usage;
use crate::config::range::{PIXELS, degrees, probability};
use crate::data::{Augmentation, Flip};
use anyhow::Result;
use serde::Serialize;

/// What happens to training images at random, once they have the size that the network is given.
#[derive(Clone, PartialEq, Debug, Serialize, clap::Args)]
#[command(next_help_heading = "Augmentation")]
pub struct Augment {
    /// Mirrors every training image left to right with probability 1/2, anew in each epoch.
    #[arg(long)]
    pub flip: bool,
    /// Mirrors every training image in each second epoch: one half of them in the first, the other half in the next.
    #[arg(long)]
    pub flip_alternating: bool,
    /// Moves every training image by up to N pixels in all directions; what comes in is black.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = PIXELS.parser::<usize>())]
    pub shift: usize,
    /// Turns every training image by up to so many degrees in both directions; what comes in is black.
    #[arg(long, value_name = "DEGREES", default_value_t = 0.0, value_parser = degrees)]
    pub rotate: f32,
    /// Erases a rectangle of 2 to 33 % of a training image with this probability: it becomes 0, after --mean and --std.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.0, value_parser = probability)]
    pub erase: f32,
    /// Cuts a square of N×N pixels out of every training image, whose centre may be anywhere in it: it becomes 0, after
    /// --mean and --std.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = PIXELS.parser::<usize>())]
    pub cutout: usize,
}

impl Augment {
    /// Refuses what would leave nothing of images of `size`×`size` pixels.
    ///
    /// # Errors
    /// Naming the setting and the size.
    pub fn check(&self, size: usize) -> Result<()> {
        for (flag, pixels) in [("--shift", self.shift), ("--cutout", self.cutout)] {
            if pixels >= size {
                return Err(Usage::error(format!(
                    "{flag} {pixels}: must be less than the side of the images, {size}"
                )));
            }
        }
        Ok(())
    }

    /// What these settings do to images, by the choices of a seed; `None` for nothing.
    pub fn by(&self, seed: u64) -> Option<Augmentation> {
        let augmentation = Augmentation {
            seed,
            rotate: self.rotate,
            shift: self.shift,
            flip: match (self.flip, self.flip_alternating) {
                (_, true) => Flip::Alternating,
                (true, false) => Flip::Random,
                (false, false) => Flip::Off,
            },
            erase: self.erase,
            cutout: self.cutout,
        };
        Some(augmentation).filter(|augmentation| !augmentation.is_none())
    }
}
