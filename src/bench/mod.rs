//! Measures a device on synthetic images: the same steps that training and evaluation run.
use crate::backend::Backend;
use crate::data::{Dataset, Images};
use crate::model::{Arch, initialise};
use crate::plan::Limits;
use crate::train::{Optimizer, Part, Prepared, Session, Spec};
use anyhow::{Context, Result};
use serde::Serialize;
use std::time::Instant;

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Examples per step.
    pub batch_size: usize,
    /// Side of the images after resizing.
    pub image_size: usize,
    /// Measured steps.
    pub steps: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The device's name.
    pub device: String,
    /// Training steps.
    pub train: Rate,
    /// Evaluation steps.
    pub infer: Rate,
    /// The most memory that was in use: the process's on the CPU, the device's buffers on a GPU.
    pub peak_memory_bytes: u64,
    /// The plan of a training step.
    pub plan: Totals,
}

/// Examples per second over some steps.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Rate {
    /// The median.
    pub examples_per_second: f64,
    /// The slowest step.
    pub min: f64,
    /// The fastest step.
    pub max: f64,
}

/// Totals of a plan.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Totals {
    /// Kernel calls.
    pub dispatches: usize,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes moved when every dispatch touches its tensors once.
    pub bytes: u64,
    /// Bytes of its buffers.
    pub memory_bytes: u64,
}

impl Settings {
    /// The plan of a training step as text.
    ///
    /// # Errors
    /// When the images are too small for the network.
    pub fn dump(&self, limits: Limits) -> Result<String> {
        let prepared = Prepared::new(&self.spec(), &self.data(), limits)?;
        let plan = prepared
            .plan(Part::Train)
            .context("a training step is planned")?;
        Ok(plan.dump(prepared.graph()))
    }

    fn spec(&self) -> Spec {
        Spec {
            arch: Arch::resnet18_d2l(1, 10),
            batch_size: self.batch_size,
            image_size: self.image_size,
            limit_batches: None,
            optimizer: Some(Optimizer {
                momentum: 0.0,
                nesterov: false,
                weight_decay: 0.0,
            }),
        }
    }

    /// One batch of images whose grey levels have no pattern; their values do not matter.
    fn data(&self) -> Dataset {
        let images = || {
            let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0];
            Images {
                count: self.batch_size,
                size: 28,
                channels: 1,
                pixels: (0..self.batch_size * 28 * 28).map(noise).collect(),
                labels: (0..self.batch_size).map(|i| (i % 10) as u32).collect(),
            }
        };
        let classes = (0..10).map(|class| class.to_string()).collect();
        Dataset {
            name: "synthetic".to_string(),
            train: images(),
            test: images(),
            classes,
            notes: Vec::new(),
        }
    }
}

/// Runs the steps and takes their times. The first step of each kind warms up and is not counted.
///
/// # Errors
/// When the memory is too small or the device fails.
pub fn measure(settings: &Settings, backend: Box<dyn Backend>) -> Result<Report> {
    let (spec, data) = (settings.spec(), settings.data());
    let prepared = Prepared::new(&spec, &data, backend.limits())?;
    prepared.check_memory(&spec, &data, backend.as_ref())?;
    let plan = prepared
        .plan(Part::Train)
        .context("a training step is planned")?;
    let plan = Totals {
        dispatches: plan.dispatches.len(),
        flops: plan.flops(),
        bytes: plan.bytes(),
        memory_bytes: plan.memory_bytes(),
    };
    let mut session = Session::open(prepared, &data, backend)?;
    for (tensor, values) in initialise(session.params(), 0) {
        session.write(tensor, &values)?;
    }
    session.set_learning_rate(0.01)?;
    let mut peak = 0;
    let train = time(&mut session, Part::Train, settings, &mut peak)?;
    let infer = time(&mut session, Part::Test, settings, &mut peak)?;
    let device = session.backend().device().to_string();
    Ok(Report {
        device,
        train,
        infer,
        peak_memory_bytes: peak,
        plan,
    })
}

fn time(session: &mut Session, part: Part, settings: &Settings, peak: &mut u64) -> Result<Rate> {
    let indices: Vec<u32> = (0..settings.batch_size as u32).collect();
    let mut rates = Vec::with_capacity(settings.steps);
    for step in 0..=settings.steps {
        let start = Instant::now();
        session.step(part, &indices)?;
        session.wait()?;
        let rate = settings.batch_size as f64 / start.elapsed().as_secs_f64();
        if step > 0 {
            rates.push(rate);
        }
        *peak = (*peak).max(session.backend().memory_used()?);
    }
    session.results()?;
    rates.sort_by(f64::total_cmp);
    Ok(Rate {
        examples_per_second: (rates[(rates.len() - 1) / 2] + rates[rates.len() / 2]) / 2.0,
        min: rates[0],
        max: rates[rates.len() - 1],
    })
}
