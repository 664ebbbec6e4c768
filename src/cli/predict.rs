//! `resnet predict`: the most probable classes of pictures, from files or out of the test set.
use super::answer::{self, Answer};
use super::evaluated::to_evaluate;
use super::pictures::Pictures;
use super::trained::Checkpoint;
use crate::config::{Batch, Data, Given, Hardware, Model, Preprocessing, Usage};
use crate::data::{Background, Dataset, Split, fit, pictures};
use crate::files;
use crate::model::zoo::title;
use crate::process::{self, one_line};
use crate::report::sheet::{self, Shown};
use crate::train::evaluate_split;
use anyhow::{Context, Result, ensure};
use serde::Serialize;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

const EXAMPLES: &str = "Examples:
  resnet predict runs/first boot.jpg             the three most probable classes
  resnet predict runs/first --test-image 0,7     images of the test set, with their true classes
  resnet predict runs/first photos --sheet seen.png   all pictures of a folder, and a sheet of what the network saw
  resnet predict runs/first *.png --top 1 --json as JSON
  resnet predict resnet50.safetensors cat.jpg  torchvision's or timm's weights, on a photograph";

/// The settings of the data set, which only its test images heed.
const OF_DATA: [&str; 4] = ["data", "labels", "max_broken", "allow_empty"];

/// Arguments of `resnet predict`.
#[derive(clap::Args)]
#[command(before_help = EXAMPLES)]
#[command(mut_args(|arg| match OF_DATA.contains(&arg.get_id().as_str()) {
    true => arg.requires("test_image"),
    false => arg,
}))]
pub struct Args {
    /// A run's folder, one of its checkpoints, or a file of weights.
    checkpoint: PathBuf,
    #[command(flatten)]
    settings: Given<Settings>,
    /// PNG, JPEG, WebP, BMP, GIF or TIFF files of any size, folders of them, or patterns such as "*.png"; for a network of
    /// one channel, one garment in each.
    #[arg(value_name = "IMAGE", required_unless_present = "test_image")]
    images: Vec<PathBuf>,
    /// Takes images of the test set too, by their numbers from 0 on.
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    test_image: Vec<usize>,
    /// Classes to name for each image [default: 3, or all where there are fewer].
    #[arg(long)]
    top: Option<usize>,
    /// Background of the pictures [default: auto]. A light one is inverted, since networks of one channel are trained on
    /// black.
    #[arg(long, alias = "ground", value_enum, requires = "images")]
    background: Option<Background>,
    /// Takes the moving average of the weights, which `train --ema` keeps.
    #[arg(long)]
    ema: bool,
    /// Draws the pictures as the network saw them into this PNG file, each with its most probable class.
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// What may be set; by default all is as it was in the run.
#[derive(clap::Args)]
struct Settings {
    #[command(flatten)]
    hardware: Hardware,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    batch: Batch,
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    preprocessing: Preprocessing,
}

#[derive(Serialize)]
struct Report {
    checkpoint: String,
    network: String,
    /// Absent where no picture could be read.
    device: Option<String>,
    images: Vec<Answer>,
}

/// Predicts and prints.
///
/// # Errors
/// When the checkpoint or the data cannot be read, a flag is out of range, or the device fails; and in the end, when a
/// picture could not be read.
pub fn run(args: Args) -> Result<()> {
    let checkpoint = Checkpoint::read(&args.checkpoint, args.settings.layers())?;
    let mut checkpoint = checkpoint.averaged(args.ema)?;
    let classes = checkpoint.info.classes.len();
    let top = args.top.unwrap_or(classes.min(3));
    if !(1..=classes).contains(&top) {
        return Err(Usage::error(format!(
            "--top {top}: must be from 1 to {classes}, the number of classes"
        )));
    }
    // A run on a few batches is no reason to look at a few pictures only.
    checkpoint.settings.config.limit.limit_batches = None;
    if let Some(file) = &args.sheet {
        files::check_replaceable(file).context("--sheet")?;
    }
    let (mut answers, data) = read(&args, &mut checkpoint)?;
    let readable = answers.iter().filter(|answer| answer.error.is_none());
    let unreadable = answers.len() - readable.count();
    let data = Arc::new(data);
    let device = match unreadable < answers.len() {
        true => Some(predict(&checkpoint, data.clone(), &mut answers, top)?),
        false => None,
    };
    if let (Some(file), Some(_)) = (&args.sheet, &device) {
        let sheet = sheet(&checkpoint, &data, &answers)?;
        files::replace(file, &sheet)?;
    }
    let (all, mut out) = (answers.len(), process::output());
    if args.json {
        let report = Report {
            checkpoint: args.checkpoint.display().to_string(),
            network: title(&checkpoint.info.arch),
            device,
            images: answers,
        };
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
    } else {
        answers.retain(|answer| answer.error.is_none());
        answer::print(&mut out, &answers)?;
    }
    out.flush()?;
    ensure!(
        unreadable == 0,
        "{unreadable} of {all} pictures could not be used"
    );
    Ok(())
}

/// Fills in the classes of what could be read, whose images are the test set. Returns the device.
fn predict(
    checkpoint: &Checkpoint,
    data: Arc<Dataset>,
    answers: &mut [Answer],
    top: usize,
) -> Result<String> {
    let classes = &checkpoint.info.classes;
    let mut session = checkpoint.open(data, false)?;
    let mut readable: Vec<&mut Answer> = answers
        .iter_mut()
        .filter(|answer| answer.error.is_none())
        .collect();
    evaluate_split(&mut session, Split::Test, |session, batch| {
        let logits = session.logits()?;
        for (logits, &i) in logits.chunks_exact(classes.len()).zip(batch) {
            let answer = &mut readable[i as usize];
            ensure!(
                logits.iter().all(|logit| logit.is_finite()),
                "{}: the network of {} outputs NaN or infinity: its training diverged. Use another checkpoint",
                one_line(&answer.image),
                one_line(checkpoint.weights.path())
            );
            answer.classes = answer::best(logits, classes, top);
            answer.logits = logits.to_vec();
        }
        Ok(())
    })?;
    Ok(session.backend().device().to_string())
}

/// The images as a test set, files first, and an answer to be filled in for each.
fn read(args: &Args, checkpoint: &mut Checkpoint) -> Result<(Vec<Answer>, Dataset)> {
    let mut answers = Vec::new();
    let mut images = Pictures::of(checkpoint, args.background)?;
    let refused = |error: anyhow::Error, answer: &mut Answer| {
        process::fail(&error);
        answer.error = Some(format!("{error:#}"));
    };
    for named in &args.images {
        let found = match pictures(named) {
            Ok(found) => found,
            // The others are of use all the same.
            Err(error) => {
                let mut answer = Answer::to(named.display().to_string());
                refused(error, &mut answer);
                answers.push(answer);
                continue;
            }
        };
        for path in found {
            let mut answer = Answer::to(path.display().to_string());
            match images.read(&path, checkpoint) {
                Ok(inverted) => answer.inverted = inverted,
                Err(error) => refused(error, &mut answer),
            }
            answers.push(answer);
        }
    }
    if !args.test_image.is_empty() {
        let data = to_evaluate(checkpoint)?;
        let split = data.evaluated();
        let count = data.len(split);
        for &i in &args.test_image {
            if i >= count {
                return Err(Usage::error(format!(
                    "--test-image {i}: {} has the {} images 0 to {}",
                    data.info().name,
                    split.name(),
                    count - 1
                )));
            }
            images.take(&*data, i, checkpoint)?;
            answers.push(Answer {
                label: Some(data.info().classes[data.labels(split)[i] as usize].clone()),
                ..Answer::to(format!("{} image {i}", split.name()))
            });
        }
    }
    Ok((answers, images.into_data(checkpoint)))
}

/// The pictures that were answered, as the network saw them, as a PNG.
fn sheet(checkpoint: &Checkpoint, data: &Dataset, answers: &[Answer]) -> Result<Vec<u8>> {
    let answered = answers.iter().filter(|answer| answer.error.is_none());
    let (preprocess, channels) = (&checkpoint.info.preprocess, data.info.channels);
    let shape = [data.info.size, data.info.size, channels];
    let images = data.test.pixels.chunks_exact(data.info.image_bytes());
    let shown: Vec<Shown> = answered
        .zip(images)
        .map(|(answer, image)| Shown {
            pixels: fit(image, shape, preprocess),
            lines: answer.caption(),
        })
        .collect();
    sheet::png(preprocess.size, channels, &shown)
}
