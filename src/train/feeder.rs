//! Writes the examples of a step to the device before it runs.
use super::feed::{DataTensors, Feed};
use super::step_graph::StepGraph;
use super::step_plans::SessionSpec;
use crate::backend::Backend;
use crate::data::{Augmentation, ImageSource, Prefetch, Split};
use crate::ops::Change;
use anyhow::Result;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most bytes of images that the host holds while it writes those that stay on the device.
const AT_ONCE: usize = 64 << 20;

/// How many images of so many bytes are written at once: whole words together.
fn at_once(bytes: usize) -> usize {
    (AT_ONCE / bytes.max(1) / 4 * 4).max(4)
}

/// Writes what a step takes before it runs.
pub(super) struct Feeder {
    pub(super) source: Arc<dyn ImageSource>,
    /// Reads what is streamed.
    prefetch: Option<Prefetch>,
    augmentation: Option<Augmentation>,
    /// What happens to the images of evaluations, where they have an input for it.
    pub(super) view: Change,
    /// The time that was spent waiting for what is streamed.
    pub(super) waited: Duration,
    /// The epoch of the training steps.
    pub(super) epoch: usize,
}

impl Feeder {
    /// One that writes what these steps take, after what stays on the device.
    ///
    /// # Errors
    /// When the images cannot be read, or the device fails.
    pub(super) fn open(
        source: Arc<dyn ImageSource>,
        spec: &SessionSpec,
        data: &[(Split, DataTensors)],
        backend: &mut dyn Backend,
    ) -> Result<Feeder> {
        for (split, tensors) in data {
            let preprocess = &spec.preprocess;
            let (taps, _) = preprocess.taps(source.info().size, preprocess.resized());
            backend.write(tensors.taps, bytemuck::cast_slice(&taps))?;
            if spec.feed == Feed::Resident {
                let labels = source.labels(*split);
                let all: Vec<u32> = (0..labels.len() as u32).collect();
                let bytes = source.info().image_bytes();
                let some = at_once(bytes);
                let mut pixels = vec![0; some.min(all.len()) * bytes];
                for (done, indices) in all.chunks(some).enumerate() {
                    let pixels = &mut pixels[..indices.len() * bytes];
                    source.read(*split, indices, pixels)?;
                    backend.write_part(tensors.images, done * some * bytes, pixels)?;
                }
                backend.write(tensors.labels, bytemuck::cast_slice(labels))?;
            }
        }
        let prefetch = match spec.feed {
            Feed::Resident => None,
            Feed::Streamed => Some(Prefetch::new(source.clone())?),
        };
        Ok(Feeder {
            source,
            prefetch,
            augmentation: spec.augmentation,
            view: Change::default(),
            waited: Duration::ZERO,
            epoch: 0,
        })
    }

    /// Has images read that a coming step takes, where they must be read.
    ///
    /// # Errors
    /// When the thread that reads has ended.
    pub(super) fn prefetch(&mut self, split: Split, indices: &[u32]) -> Result<()> {
        match &mut self.prefetch {
            Some(prefetch) => prefetch.request(split, indices),
            None => Ok(()),
        }
    }

    /// Writes the inputs of a step on these examples.
    ///
    /// # Errors
    /// When the images cannot be read, or the device fails.
    pub(super) fn write(
        &mut self,
        backend: &mut dyn Backend,
        step: &StepGraph,
        split: Split,
        indices: &[u32],
    ) -> Result<()> {
        if let Some(prefetch) = &mut self.prefetch {
            let labels = self.source.labels(split);
            let labels: Vec<u32> = indices.iter().map(|&i| labels[i as usize]).collect();
            let places: Vec<u32> = (0..indices.len() as u32).collect();
            let start = Instant::now();
            let pixels = prefetch.take(split, indices)?;
            self.waited += start.elapsed();
            backend.write(step.data.images, &pixels)?;
            backend.write(step.data.labels, bytemuck::cast_slice(&labels))?;
            backend.write(step.indices, bytemuck::cast_slice(&places))?;
        } else {
            backend.write(step.indices, bytemuck::cast_slice(indices))?;
        }
        if let Some(input) = step.augmentation {
            let words = match (split, self.augmentation) {
                (Split::Train, Some(augmentation)) => {
                    augmentation.draw(self.epoch, indices, step.data.size)
                }
                _ => self.view.words().repeat(indices.len()),
            };
            backend.write(input, bytemuck::cast_slice(&words))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_written_in_whole_words_and_never_all_at_once() {
        for bytes in [1, 27, 784, 96 * 96 * 3, 4095 * 4095 * 3] {
            let some = at_once(bytes);
            assert!((some * bytes).is_multiple_of(4), "{bytes}");
            assert!(some * bytes <= AT_ONCE.max(4 * bytes), "{bytes}");
        }
        assert_eq!(at_once(784), 85_596);
    }
}
