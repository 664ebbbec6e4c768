//! Measures a device on synthetic images or on a data set: the same steps that training and evaluation run. Predicts
//! from the plan alone what a card would reach.
pub mod cards;
pub mod profile;

use crate::backend::Backend;
use crate::config::{MicroBatch, TrainConfig, Usage};
use crate::data::{
    Dataset, Divided, Examples, ImageSource, Info, Picture, Preprocess, Sampler, Split,
};
use crate::model::{Arch, initialise, zoo};
use crate::ops::Shader;
use crate::ops::tuning::TuningTable;
use crate::plan::{Dispatch, Limits, Plan, Roofline};
use crate::report;
use crate::train::{
    Feed, Optimizer, Program, Session, SessionSpec, StepPlans, micro_batch, passes,
};
use anyhow::{Context, Result, ensure};
use profile::Row;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// The classes of the synthetic images, and their channels.
const CLASSES: usize = 10;
const CHANNELS: usize = 1;

/// What to measure.
#[derive(Clone)]
pub struct Settings {
    /// Device, batch, network and optimiser.
    pub config: TrainConfig,
    /// The network that the settings choose for the images.
    pub arch: Arch,
    /// The images, unless they are synthetic.
    data: Option<Arc<dyn ImageSource>>,
    /// Measured steps.
    pub steps: usize,
    /// Whether there is no training, only evaluation steps as `resnet predict` has them.
    pub inference: bool,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The network, in a line.
    pub network: String,
    /// The device's name.
    pub device: String,
    /// Seconds from the start of the command to the end of the first step.
    pub first_step_seconds: f64,
    /// Training steps, unless only inference is measured.
    pub train: Option<Rate>,
    /// Seconds that everyone who takes note of a training step takes for it: files, lines and views.
    pub observers_seconds: Option<f64>,
    /// The share of the training steps' time in which they waited for their images, where these are streamed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited: Option<f64>,
    /// Evaluation steps.
    pub infer: Rate,
    /// The most memory that was in use: the process's on the CPU, the device's buffers on a GPU.
    pub peak_memory_bytes: u64,
    /// What was tuned, where the device is one to tune.
    pub tuning: Option<String>,
    /// The plan of a training step, or of an evaluation step where only inference is measured.
    pub plan: Totals,
    /// The kernels of that step, where they were to be timed.
    pub profile: Option<Vec<Row>>,
    /// The same dispatch by dispatch, in Chrome's trace format.
    #[serde(skip)]
    pub trace: Option<Value>,
}

/// Examples per second that a card would reach, by the model of [`Roofline::seconds`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Prediction {
    /// Training.
    pub train: f64,
    /// Evaluation.
    pub infer: f64,
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
    /// Bytes of its buffers, of the largest pass where it has several.
    pub memory_bytes: u64,
}

impl Settings {
    /// What is to be measured.
    ///
    /// # Errors
    /// When the images are too small for the network.
    pub fn new(config: TrainConfig, steps: usize, inference: bool) -> Result<Settings> {
        let arch = config.network.choice().arch(CHANNELS, CLASSES)?;
        arch.check_image(config.model.image_size, true)?;
        let frozen = config.optim.freeze.unwrap_or_default();
        frozen.check(&arch).map_err(Usage::error)?;
        Ok(Settings {
            config,
            arch,
            data: None,
            steps,
            inference,
        })
    }

    /// The same on the images of a data set. Where it has too few to evaluate on, a batch of those to train on is held out.
    ///
    /// # Errors
    /// When it has fewer images than two batches, or they are too small for the network.
    pub fn on(self, data: Arc<dyn ImageSource>) -> Result<Settings> {
        let batch = self.config.batch.batch_size;
        let few = data.len(data.evaluated()) < batch;
        let needed = if few { 2 * batch } else { batch };
        let (trained, name) = (data.len(Split::Train), &data.info().name);
        ensure!(
            trained >= needed,
            "{name} has {trained} images to train on, but --batch-size {batch} needs {needed}"
        );
        let data: Arc<dyn ImageSource> = match few {
            true => Arc::new(Divided::held_out(data, batch, self.config.random.seed)?),
            false => data,
        };
        let info = data.info();
        let choice = self.config.network.choice();
        let arch = choice.arch(info.channels, info.classes.len())?;
        let data = Some(data);
        Ok(Settings { arch, data, ..self })
    }

    /// The plan of the measured step on this device as text, of a step of several passes each different one.
    ///
    /// # Errors
    /// When the images are too small for the network.
    pub fn dump(&self, backend: &dyn Backend) -> Result<String> {
        let (mut spec, data) = (self.spec(), self.data());
        spec.micro_batch = micro_batch(self.config.batch.micro_batch, &spec, &*data, backend)?;
        let prepared = StepPlans::new(&spec, &*data, backend.limits())?;
        let mut texts: Vec<(String, usize)> = Vec::new();
        for plan in prepared.runs(self.program()) {
            let text = plan.dump(prepared.graph());
            match texts.last_mut() {
                Some((last, times)) if *last == text => *times += 1,
                _ => texts.push((text, 1)),
            }
        }
        let text = |(text, times): (String, usize)| match times {
            1 => text,
            _ => format!("{text}the above {times} times\n"),
        };
        Ok(texts.into_iter().map(text).collect())
    }

    /// What a card with these peaks would reach; nothing is executed.
    ///
    /// # Errors
    /// When the images are too small for the network.
    pub fn predict(&self, roofline: Roofline) -> Result<Prediction> {
        let prepared = StepPlans::new(&self.spec(), &*self.data(), Limits::NONE)?;
        let rate = |program| {
            let runs = prepared.runs(program).into_iter();
            self.config.batch.batch_size as f64 / runs.map(|plan| roofline.run(plan)).sum::<f64>()
        };
        Ok(Prediction {
            train: rate(Program::Train),
            infer: rate(Program::Evaluate),
        })
    }

    /// The WGSL modules of both steps by name, those of convolutions in every tile that shapes may choose; nothing is
    /// executed.
    ///
    /// # Errors
    /// When the images are too small for the network.
    pub fn modules(&self) -> Result<BTreeMap<String, String>> {
        let prepared = StepPlans::new(&self.spec(), &*self.data(), Limits::NONE)?;
        let mut modules = BTreeMap::new();
        for plan in [Program::Train, Program::Evaluate]
            .map(|program| prepared.runs(program))
            .concat()
        {
            let shaders = shaders(plan).flat_map(Shader::in_every_tile);
            modules.extend(shaders.map(|shader| (shader.label(), shader.wgsl())));
        }
        Ok(modules)
    }

    fn spec(&self) -> SessionSpec {
        SessionSpec {
            arch: self.arch.clone(),
            batch_size: self.config.batch.batch_size,
            micro_batch: self.config.batch.micro_batch.and_then(MicroBatch::examples),
            preprocess: Preprocess::of_size(self.config.model.image_size),
            // Whole batches alone.
            limit_batches: Some(1),
            feed: Feed::Resident,
            augmentation: None,
            views: false,
            optimizer: (!self.inference).then_some(Optimizer::from(&self.config.optim)),
            fuse: self.config.hardware.fuse,
            stored: self.config.hardware.precision.stored(),
            tilings: TuningTable::default(),
        }
    }

    /// The steps whose plan and kernels are told of.
    fn program(&self) -> Program {
        match self.inference {
            true => Program::Evaluate,
            false => Program::Train,
        }
    }

    /// The examples of a measured step, `number` of those before it: of a data set each has others.
    fn indices(&self, program: Program, number: usize) -> Vec<u32> {
        let batch = self.config.batch.batch_size;
        let Some(data) = &self.data else {
            return (0..batch as u32).collect();
        };
        let images = data.len(split(&**data, program));
        let (epoch, at) = (number / (images / batch), number % (images / batch));
        let order = Sampler::new(self.config.random.seed, true).order(epoch, images);
        order[at * batch..][..batch].to_vec()
    }

    /// The images of the data set, or one batch of images whose grey levels have no pattern; their values do not matter.
    fn data(&self) -> Arc<dyn ImageSource> {
        if let Some(data) = &self.data {
            return data.clone();
        }
        let count = self.config.batch.batch_size;
        let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0];
        let examples = Examples {
            pixels: (0..count * Picture::LEN).map(noise).collect(),
            labels: (0..count).map(|i| (i % CLASSES) as u32).collect(),
        };
        Arc::new(Dataset {
            info: Info {
                name: "synthetic".to_string(),
                size: Picture::SIZE,
                channels: CHANNELS,
                classes: (0..CLASSES).map(|class| class.to_string()).collect(),
                ..Info::default()
            },
            train: examples.clone(),
            test: examples,
        })
    }
}

/// The images that a program takes.
fn split(data: &dyn ImageSource, program: Program) -> Split {
    match program {
        Program::Evaluate => data.evaluated(),
        Program::Train | Program::Accumulate => Split::Train,
    }
}

fn shaders(plan: &Plan) -> impl Iterator<Item = Shader> {
    plan.dispatches.iter().map(|d| d.launch().kernel.shader)
}

/// Runs the steps and takes their times. The first step of each kind warms up and is not counted.
/// `started` is when the command began. With `timed` every kernel of a step is timed too, and held against the card's
/// peaks where they are given.
///
/// # Errors
/// When the memory is too small, the device fails, or it has no clock for its kernels.
pub fn measure(
    settings: &Settings,
    mut backend: Box<dyn Backend>,
    started: Instant,
    timed: bool,
    roofline: Option<Roofline>,
) -> Result<Report> {
    let (spec, data) = (settings.spec(), settings.data());
    let wanted = settings.config.batch.micro_batch;
    let mut prepared = StepPlans::fitting(
        spec,
        settings.config.feeding.feed,
        wanted,
        &*data,
        backend.as_ref(),
    )?;
    // What is tuned are the convolutions of a training step.
    let tuning = match settings.config.hardware.deterministic || settings.inference {
        true => None,
        false => prepared.tune(&*data, backend.as_mut())?,
    };
    let runs = prepared.runs(settings.program());
    let kernels: Vec<Dispatch> = runs.iter().flat_map(|run| run.dispatches.clone()).collect();
    let memory = runs.iter().map(|run| run.memory_bytes()).max();
    let plan = Totals {
        dispatches: kernels.len(),
        flops: kernels.iter().map(Dispatch::flops).sum(),
        bytes: kernels.iter().map(Dispatch::bytes).sum(),
        memory_bytes: memory.context("a step is planned")?,
    };
    let mut session = Session::open(prepared, data.clone(), backend)?;
    for (tensor, values) in initialise(session.params(), 0) {
        session.write(tensor, &values)?;
    }
    if !settings.inference {
        session.set_learning_rate(0.01)?;
    }
    let mut peak = 0;
    step(&mut session, settings.program(), settings, 0)?;
    let first_step_seconds = started.elapsed().as_secs_f64();
    session.results()?;
    let train = match settings.inference {
        true => None,
        false => Some(time(&mut session, Program::Train, settings, &mut peak)?),
    };
    let streamed = session.spec().feed == Feed::Streamed;
    let waited = train.filter(|_| streamed).map(|(_, waited)| waited);
    let train = train.map(|(rate, _)| rate);
    let observers_seconds = match train {
        Some(_) => Some(report::seconds_per_step(&data)?),
        None => None,
    };
    let (infer, _) = time(&mut session, Program::Evaluate, settings, &mut peak)?;
    let seconds = match timed {
        true => Some(mean_seconds(&mut session, settings)?),
        false => None,
    };
    let profile = seconds.as_ref();
    let profile = profile.map(|seconds| profile::rows(&kernels, seconds, roofline));
    let trace = seconds.map(|seconds| profile::trace(&kernels, session.graph(), &seconds));
    let device = session.backend().device().to_string();
    Ok(Report {
        network: zoo::title(&settings.arch),
        device,
        first_step_seconds,
        train,
        observers_seconds,
        waited,
        infer,
        peak_memory_bytes: peak,
        tuning,
        plan,
        profile,
        trace,
    })
}

/// The seconds of each dispatch of the told step, their mean over the measured steps.
fn mean_seconds(session: &mut Session, settings: &Settings) -> Result<Vec<f64>> {
    let mut mean = Vec::new();
    for _ in 0..settings.steps {
        let program = settings.program();
        let split = split(&*settings.data(), program);
        let seconds = session.profile(program, split, &settings.indices(program, 0))?;
        mean.resize(seconds.len(), 0.0);
        for (mean, seconds) in mean.iter_mut().zip(seconds) {
            *mean += seconds / settings.steps as f64;
        }
        session.results()?;
    }
    Ok(mean)
}

/// Runs a step to its end.
fn step(session: &mut Session, program: Program, settings: &Settings, number: usize) -> Result<()> {
    let indices = settings.indices(program, number);
    let split = split(&*settings.data(), program);
    for pass in cut(session, program, &indices) {
        match program {
            Program::Evaluate => session.evaluate(split, pass)?,
            Program::Train | Program::Accumulate => session.train(pass)?,
        }
    }
    session.wait()
}

/// The examples of a step as the session takes them.
fn cut<'i>(session: &Session, program: Program, indices: &'i [u32]) -> Vec<&'i [u32]> {
    // It cuts a training step by itself.
    match program {
        Program::Train | Program::Accumulate => vec![indices],
        Program::Evaluate => passes(indices, session.spec().micro_batch),
    }
}

/// The rate of the steps, and the share of their time in which they waited for images.
fn time(
    session: &mut Session,
    program: Program,
    settings: &Settings,
    peak: &mut u64,
) -> Result<(Rate, f64)> {
    let mut rates = Vec::with_capacity(settings.steps);
    let (mut waited, mut all) = (0.0, 0.0);
    let split = split(&*settings.data(), program);
    for i in 0..=settings.steps {
        let next = settings.indices(program, i + 1);
        let (start, before) = (Instant::now(), session.waited());
        // As a training does it: the images of the next step are read while this one computes.
        for pass in cut(session, program, &next) {
            session.prefetch(program, split, pass)?;
        }
        step(session, program, settings, i)?;
        let seconds = start.elapsed().as_secs_f64();
        if i > 0 {
            rates.push(settings.config.batch.batch_size as f64 / seconds);
            waited += (session.waited() - before).as_secs_f64();
            all += seconds;
        }
        session.results()?;
        *peak = (*peak).max(session.backend().memory_used()?);
    }
    rates.sort_by(f64::total_cmp);
    let rate = Rate {
        examples_per_second: (rates[(rates.len() - 1) / 2] + rates[rates.len() / 2]) / 2.0,
        min: rates[0],
        max: rates[rates.len() - 1],
    };
    Ok((rate, waited / all))
}
