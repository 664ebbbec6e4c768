//! Whether a session fits its device, and the largest part of a batch that would: all of it planned,
//! nothing allocated.
use super::feed::Feed;
use super::step_plans::{SessionSpec, StepPlans};
use crate::backend::Backend;
use crate::config::{FeedName, MicroBatch};
use crate::data::ImageSource;
use crate::ops::LOSS_LOG_CAPACITY;
use crate::plan::{Plan, mib};
use anyhow::{Result, bail};

/// The examples per pass that `wanted` comes to on this device. `auto` is the whole batch where that fits,
/// else the largest part of it that does, preferably one that divides it; what fits not at all stays whole,
/// for [`StepPlans::check_memory`] to refuse.
///
/// # Errors
/// When the network does not fit the images, or the device's memory cannot be asked for.
pub fn micro_batch(
    wanted: Option<MicroBatch>,
    spec: &SessionSpec,
    source: &dyn ImageSource,
    backend: &dyn Backend,
) -> Result<Option<usize>> {
    if wanted != Some(MicroBatch::Auto) {
        return Ok(wanted.and_then(MicroBatch::examples));
    }
    let batch = spec.batch_size;
    let room = Room::of(backend)?;
    let with = |micro| SessionSpec {
        micro_batch: Some(micro),
        ..spec.clone()
    };
    if room.fits(&with(batch), source, backend)? {
        return Ok(Some(batch));
    }
    let Some(most) = room.largest_micro_batch(spec, source, backend)? else {
        return Ok(Some(batch));
    };
    // Passes of one size treat all examples alike; but a batch with few divisors is not cut smaller for it.
    let divisor = (2..=most).rev().find(|n| batch.is_multiple_of(*n));
    let even = batch.div_ceil(batch.div_ceil(most));
    Ok(Some(divisor.filter(|n| 2 * n >= even).unwrap_or(even)))
}

impl StepPlans {
    /// Plans for a device, fed and in the micro-batches as it is `wanted`, which may depend on the device.
    ///
    /// # Errors
    /// When the network does not fit the images, or the session does not fit the device.
    pub fn fitting(
        spec: SessionSpec,
        feed: FeedName,
        wanted: Option<MicroBatch>,
        source: &dyn ImageSource,
        backend: &dyn Backend,
    ) -> Result<StepPlans> {
        let feed = Feed::choose(feed, source, &spec.splits(source), backend)?;
        let spec = SessionSpec { feed, ..spec };
        let micro_batch = micro_batch(wanted, &spec, source, backend)?;
        let spec = SessionSpec {
            micro_batch,
            ..spec
        };
        let plans = StepPlans::new(&spec, source, backend.limits())?;
        plans.check_memory(source, backend)?;
        Ok(plans)
    }

    /// Bytes that the session takes on a device, with what its kernels take beside its buffers.
    fn needed(&self, backend: &dyn Backend) -> u64 {
        let plans: Vec<&Plan> = self.plans().collect();
        self.memory() + backend.scratch(&plans)
    }

    /// Refuses what the device's memory or its largest buffer cannot hold, naming what would fit.
    ///
    /// # Errors
    /// When the memory is too small or cannot be asked for.
    pub fn check_memory(&self, source: &dyn ImageSource, backend: &dyn Backend) -> Result<()> {
        let spec = &self.spec;
        let room = Room::of(backend)?;
        let (needed, buffer) = (self.needed(backend), self.largest_buffer());
        let size = spec.preprocess.size;
        let batch = match spec.micro_batch {
            Some(micro) if micro < spec.batch_size => format!(
                "batch size {} in micro-batches of {micro} at {size}×{size}",
                spec.batch_size
            ),
            _ => format!("batch size {} at {size}×{size}", spec.batch_size),
        };
        let device = backend.device();
        let (needs, has) = if needed > room.memory {
            (mib(needed), format!("{device} has {}", mib(room.memory)))
        } else if buffer > room.buffer {
            (
                format!("a buffer of {}", mib(buffer)),
                format!("{device} allows {}", mib(room.buffer)),
            )
        } else {
            return Ok(());
        };
        let mut fitting = Vec::new();
        if spec.optimizer.is_some()
            && let Some(micro) = room.largest_micro_batch(spec, source, backend)?
        {
            fitting.push(format!(
                "--micro-batch {micro} (gradient accumulation, same batch)"
            ));
        }
        let with = |batch| SessionSpec {
            batch_size: batch,
            micro_batch: None,
            ..spec.clone()
        };
        let fits = |batch| room.fits(&with(batch), source, backend);
        // BatchNorm needs at least two examples.
        if let Some(batch) = largest(2..spec.batch_size, fits)? {
            fitting.push(format!("--batch-size {batch}"));
        }
        let advice = match fitting.is_empty() {
            false => format!("{} would fit", fitting.join(" or ")),
            true => "no batch size would fit; take a smaller --image-size".to_string(),
        };
        bail!("{batch} needs {needs}, but {has}: {advice}")
    }
}

/// What a device can hold, in bytes.
struct Room {
    memory: u64,
    buffer: u64,
}

impl Room {
    fn of(backend: &dyn Backend) -> Result<Room> {
        Ok(Room {
            memory: backend.memory()?.unwrap_or(u64::MAX),
            buffer: backend.max_buffer(),
        })
    }

    fn fits(
        &self,
        spec: &SessionSpec,
        source: &dyn ImageSource,
        backend: &dyn Backend,
    ) -> Result<bool> {
        let prepared = StepPlans::new(spec, source, backend.limits())?;
        let needed = prepared.needed(backend);
        Ok(needed <= self.memory && prepared.largest_buffer() <= self.buffer)
    }

    /// The largest part of the batch that fits.
    fn largest_micro_batch(
        &self,
        spec: &SessionSpec,
        source: &dyn ImageSource,
        backend: &dyn Backend,
    ) -> Result<Option<usize>> {
        let with = |micro| SessionSpec {
            micro_batch: Some(micro),
            ..spec.clone()
        };
        let fits = |micro| self.fits(&with(micro), source, backend);
        // Smaller ones would take more passes than a step may have.
        let least = spec.batch_size.div_ceil(LOSS_LOG_CAPACITY).max(2);
        largest(least..spec.batch_size, fits)
    }
}

/// The largest number of a range that fits, where all below one that fits do too.
pub(super) fn largest(
    range: std::ops::Range<usize>,
    fits: impl Fn(usize) -> Result<bool>,
) -> Result<Option<usize>> {
    let (mut low, mut high) = (range.start, range.end);
    // What lies below `low` fits, and nothing from `high` on does.
    while low < high {
        let middle = low + (high - low) / 2;
        if fits(middle)? {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok((low > range.start).then(|| low - 1))
}
