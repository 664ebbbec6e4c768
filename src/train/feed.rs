//! How the examples of a step get to the device: by index out of the data set that stays there, or sent before it.
use crate::backend::Backend;
use crate::config::{FeedName, Usage};
use crate::data::{ImageSource, Preprocess, Split};
use crate::graph::{Graph, TensorId};
use crate::ops::Normalise;
use crate::plan::mib;
use crate::tensor::{DType, Shape, TensorDesc};
use anyhow::Result;

/// Where the images are that steps take. It changes no bit of any result.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Feed {
    /// On the device, all of them, as bytes.
    #[default]
    Resident,
    /// With the host, which sends each step its images. They are read while the step before computes.
    Streamed,
}

impl Feed {
    /// What is wanted. `auto` is resident where the images of these splits take at most half of the device's memory, and
    /// those of each fit one of its buffers.
    ///
    /// # Errors
    /// When the images are to be resident and cannot, or the device's memory cannot be asked for.
    pub fn choose(
        wanted: FeedName,
        source: &dyn ImageSource,
        splits: &[Split],
        backend: &dyn Backend,
    ) -> Result<Feed> {
        let bytes = |split: &Split| (source.len(*split) * source.info().image_bytes()) as u64;
        let all: u64 = splits.iter().map(bytes).sum();
        let largest = splits.iter().map(bytes).max().unwrap_or(0);
        let memory = backend.memory()?.unwrap_or(u64::MAX);
        let most = match wanted {
            FeedName::Auto => memory / 2,
            FeedName::Resident => memory,
            FeedName::Streamed => return Ok(Feed::Streamed),
        };
        let fits = all <= most && largest <= backend.max_buffer();
        if wanted == FeedName::Resident && !fits {
            return Err(Usage::error(format!(
                "--feed resident: the images take {}, those of one split up to {}, but {} has {} and buffers of up to {}: \
                 take --feed streamed",
                mib(all),
                mib(largest),
                backend.device(),
                mib(memory),
                mib(backend.max_buffer())
            )));
        }
        Ok(match fits {
            true => Feed::Resident,
            false => Feed::Streamed,
        })
    }
}

/// Images and labels in the graph. A step takes some of them by index and prepares the images for the network.
#[derive(Clone, Copy, Debug)]
pub struct DataTensors {
    /// u8 `[count, from, from, channels]`.
    pub images: TensorId,
    /// u32 `[count, 1, 1, 1]`.
    pub labels: TensorId,
    /// u32, the table of [`Preprocess::taps`].
    pub taps: TensorId,
    /// Side of the images as the network gets them.
    pub size: usize,
    /// What they are normalised by, if they are.
    pub normalise: Option<Normalise>,
    /// What activations and their gradients are stored as, f32, f16 or bfloat16.
    pub stored: DType,
    /// Whether there is an input for what happens to each image.
    pub augmented: bool,
}

impl DataTensors {
    /// The states of the part of a data set called `name` with `count` images of `from`×`from`×`channels`. Activations
    /// are stored as f32, and nothing is augmented.
    pub fn resident(
        g: &mut Graph,
        name: &str,
        count: usize,
        from: usize,
        channels: usize,
        preprocess: &Preprocess,
    ) -> DataTensors {
        let images = TensorDesc::u8(Shape([count, from, from, channels]));
        let labels = TensorDesc::u32(Shape::examples(count));
        DataTensors {
            images: g.state(&format!("data.{name}.images"), images),
            labels: g.state(&format!("data.{name}.labels"), labels),
            taps: taps(g, from, preprocess),
            size: preprocess.size,
            normalise: preprocess.normalise(),
            stored: DType::F32,
            augmented: false,
        }
    }

    /// The inputs of steps on `batch` examples that are sent their images. Otherwise as [`DataTensors::resident`].
    pub fn staged(
        g: &mut Graph,
        batch: usize,
        from: usize,
        channels: usize,
        preprocess: &Preprocess,
    ) -> DataTensors {
        let images = TensorDesc::u8(Shape([batch, from, from, channels]));
        let labels = TensorDesc::u32(Shape::examples(batch));
        DataTensors {
            images: g.input(&format!("staged.images.{batch}"), images),
            labels: g.input(&format!("staged.labels.{batch}"), labels),
            taps: taps(g, from, preprocess),
            size: preprocess.size,
            normalise: preprocess.normalise(),
            stored: DType::F32,
            augmented: false,
        }
    }
}

fn taps(g: &mut Graph, from: usize, preprocess: &Preprocess) -> TensorId {
    let (size, resized) = (preprocess.size, preprocess.resized());
    let (_, width) = preprocess.taps(from, resized);
    let taps = TensorDesc::u32(Shape([size, 1, 1, width]));
    g.state(&format!("data.taps.{from}.{size}"), taps)
}
