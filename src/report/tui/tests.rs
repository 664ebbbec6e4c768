//! Frames of the view in terminals of several sizes. After a change that is meant: `INSTA_UPDATE=always cargo test --locked
//! --lib tui`, and look at what git shows.
use super::model::Model;
use super::paint::Paint;
use super::view::draw;
use crate::config::TrainConfig;
use crate::data::Split;
use crate::train::{Event, Progress, StepResult};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::path::Path;
use std::time::{Duration, Instant};

const CLASSES: [&str; 10] = [
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
];

/// Steps of an epoch.
const STEPS: usize = 10;

/// A run of 4 epochs in the middle of its third, of which each step of 16 examples takes a second.
fn model() -> Model {
    let start = Instant::now();
    let mut model = Model::new(CLASSES.map(String::from).to_vec(), start);
    let mut config = TrainConfig::default();
    config.run.epochs = 4;
    let mut progress = Progress::default();
    let planned = Event::Planned {
        network: "ResNet-18 (d2l): 11,178,378 parameters",
        data: "Fashion-MNIST",
        device: "cpu (AMD EPYC, 2 threads, avx512)",
        memory: 257_000_000,
        dispatches: 100,
        flops: 1,
        batch: 16,
        micro_batch: None,
    };
    model.event(&planned, start);
    let started = Event::Started {
        folder: Path::new("runs/first"),
        config: &config,
        progress: &progress,
    };
    model.event(&started, start);
    let mut now = start;
    for step in 0..2 * STEPS + STEPS / 2 {
        if step % STEPS == 0 {
            let begins = Event::Epoch {
                progress: &progress,
                steps: STEPS,
            };
            model.event(&begins, now);
        }
        now += Duration::from_secs(1);
        let result = StepResult {
            loss: 2.3 * (-(step as f32) / 8.0).exp() + 0.3,
            correct: (16 * (step + 2) / (step + 8)) as u32,
        };
        progress.step += 1;
        progress.batch += 1;
        progress.sums.add(result, 16);
        let stepped = Event::Step {
            progress: &progress,
            result,
            lr: 0.05,
        };
        model.event(&stepped, now);
        if progress.batch == STEPS {
            now += Duration::from_secs(2);
            evaluate(&mut model, &mut progress, now);
        }
    }
    model
}

/// Of 300 images of each class more are right after each epoch.
fn evaluate(model: &mut Model, progress: &mut Progress, now: Instant) {
    let right = 5 + progress.epoch;
    for image in 0..3000_u32 {
        let label = image % 10;
        let spread = (image / 10) as usize % 8;
        let answer = match spread < right {
            true => label,
            false => (label + image / 80 % 3 * 2) % 10,
        };
        let mut logits = [0.0; 10];
        logits[answer as usize] = 1.0;
        let answers = Event::Answers {
            split: Split::Test,
            examples: &[image],
            labels: &[label],
            logits: &logits,
        };
        model.event(&answers, now);
    }
    let tally = model.tally().unwrap();
    let sums = crate::train::Sums {
        loss: 1.0,
        correct: (tally.accuracy() * 3000.0).round() as u64,
        examples: 3000,
    };
    progress.finish_epoch(Split::Test, &sums, 0.05);
    let evaluated = Event::Evaluated {
        folder: Path::new("runs/first"),
        progress,
        epoch: progress.history.last().unwrap(),
    };
    model.event(&evaluated, now);
}

fn frame(model: &Model, (width, height): (u16, u16)) -> String {
    let messages: Vec<String> = (1..=2)
        .map(|epoch| format!("epoch {epoch}/4  train loss 1.{epoch}  train acc 0.{epoch}"))
        .collect();
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw(frame, model, &messages, Paint(true)))
        .unwrap();
    terminal.backend().to_string()
}

#[test]
fn frames_are_as_they_were_looked_at() {
    let model = model();
    for size in [(80, 24), (120, 40), (40, 10)] {
        insta::assert_snapshot!(format!("{}x{}", size.0, size.1), frame(&model, size));
    }
}

#[test]
fn a_frame_fits_every_terminal_at_every_time() {
    let begun = Model::new(CLASSES.map(String::from).to_vec(), Instant::now());
    let model = model();
    for width in [1, 2, 3, 5, 10, 31, 60, 200] {
        for height in [1, 2, 3, 4, 5, 7, 12, 20, 60] {
            frame(&begun, (width, height));
            frame(&model, (width, height));
        }
    }
}

#[test]
fn a_run_that_goes_on_has_its_curves_from_the_start() {
    let mut progress = Progress::default();
    for _ in 0..3 {
        progress.step += 2;
        progress.sums.add(
            StepResult {
                loss: 0.5,
                correct: 8,
            },
            16,
        );
        let sums = progress.sums;
        progress.finish_epoch(Split::Validation, &sums, 0.05);
    }
    let mut config = TrainConfig::default();
    config.training.val_split = Some(crate::config::ValSplit::Images(5));
    let mut model = Model::new(vec!["a".to_string()], Instant::now());
    let started = Event::Started {
        folder: Path::new(""),
        config: &config,
        progress: &progress,
    };
    model.event(&started, Instant::now());
    let points = [(1.0, 0.5), (2.0, 0.5), (3.0, 0.5)];
    for curve in [&model.train_loss, &model.train_acc, &model.eval_acc] {
        assert_eq!(curve.all(), points);
    }
    assert_eq!(model.compared_on().0, "val acc");
}

/// Set where this program is to take the terminal and panic.
#[cfg(target_os = "linux")]
const PANICS: &str = "VIEW_TEST_PANICS";

/// On a pseudo-terminal, that of the command `script`.
#[cfg(target_os = "linux")]
#[test]
fn a_panic_gives_the_terminal_back_before_it_is_told() {
    if std::env::var_os(PANICS).is_some() {
        super::screen::enter().unwrap();
        panic!("as it is meant");
    }
    let own = std::env::current_exe().unwrap();
    let line = format!(
        "echo before $(stty -g) end; '{}' --exact --nocapture \
         report::tui::tests::a_panic_gives_the_terminal_back_before_it_is_told; echo after $(stty -g) end",
        own.display()
    );
    let mut script = std::process::Command::new("script");
    script.args(["-qfc", &line, "/dev/null"]);
    script.env(PANICS, "1").env("TERM", "xterm");
    let Ok(output) = script.stdin(std::process::Stdio::piped()).output() else {
        crate::process::say("SKIPPED: there is no command `script`");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let at = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("no {what:?}: {text}"))
    };
    let (entered, left) = (at("\x1b[?1049h"), at("\x1b[?1049l"));
    assert!(entered < left && left < at("as it is meant"), "{text}");
    let settings = |begin: &str| text[at(begin) + begin.len()..].split(" end").next();
    assert_eq!(settings("before "), settings("after "));
}
