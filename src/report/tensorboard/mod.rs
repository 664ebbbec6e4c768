//! Event files for TensorBoard, in the folder `tensorboard` of a run: each step's loss and learning rate, each epoch's
//! losses, accuracies, speed and confusion matrix, and the settings as text.
mod confusion;
mod messages;

use super::tally::{Gather, Tally};
use crate::files;
use crate::process::one_line;
use crate::train::folder::TENSORBOARD;
use crate::train::{EpochResult, Event as Told, Observer};
use anyhow::{Context, Result};
use messages::{
    Data, Event, Metadata, Plugin, START, STRINGS, SessionLog, Shape, Summary, Tensor, Value, What,
};
use prost::Message;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What the first event of a file says.
const VERSION: &str = "brain.Event:2";

/// Writes the file of this process, if the run wants one.
pub struct TensorBoard {
    open: Option<(PathBuf, File)>,
    gather: Gather,
}

impl TensorBoard {
    /// Of a run that tells these classes apart.
    pub fn new(classes: Vec<String>) -> TensorBoard {
        TensorBoard {
            open: None,
            gather: Gather::new(classes),
        }
    }
}

impl Observer for TensorBoard {
    fn on(&mut self, event: &Told) -> Result<()> {
        if self.open.is_some() {
            self.gather.event(event);
        }
        match event {
            Told::Started {
                folder,
                config,
                progress,
            } if config.run.tensorboard => {
                self.open = Some(open(folder)?);
                self.write(0, What::FileVersion(VERSION.to_string()))?;
                // What was trained after the checkpoint that the run goes on from comes again.
                self.write(
                    progress.step + 1,
                    What::SessionLog(SessionLog { status: START }),
                )?;
                let text = format!("```toml\n{}```", config.to_toml()?);
                self.summary(progress.step, vec![text_value("settings", text)])
            }
            Told::Step {
                progress,
                result,
                lr,
            } => {
                let values = vec![
                    scalar("loss/step", f64::from(result.loss)),
                    scalar("lr", f64::from(*lr)),
                ];
                self.summary(progress.step, values)
            }
            Told::Evaluated { epoch, .. } => {
                let values = of_epoch(epoch).into_iter().chain(self.matrix()?);
                self.summary(epoch.step, values.collect())
            }
            Told::Finished {
                progress, test_acc, ..
            } => {
                // With validation images the test images are looked at only now.
                let last = progress.history.last();
                let known = last.is_some_and(|epoch| epoch.test_acc.is_some());
                match test_acc {
                    Some(acc) if !known => {
                        let accuracy = scalar("accuracy/test", *acc);
                        let values = [accuracy].into_iter().chain(self.matrix()?);
                        self.summary(progress.step, values.collect())
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}

impl TensorBoard {
    /// The confusion matrix of the newest evaluation.
    fn matrix(&self) -> Result<Option<Value>> {
        let tally = self.gather.tally().filter(|_| self.open.is_some());
        let value = |tally: &Tally| -> Result<Value> {
            Ok(Value {
                tag: format!("confusion/{}", tally.split.name()),
                metadata: None,
                data: Some(Data::Image(confusion::image(&tally.confusion)?)),
            })
        };
        tally.map(value).transpose()
    }

    fn summary(&mut self, step: u64, value: Vec<Value>) -> Result<()> {
        self.write(step, What::Summary(Summary { value }))
    }

    fn write(&mut self, step: u64, what: What) -> Result<()> {
        let Some((path, file)) = &mut self.open else {
            return Ok(());
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let event = Event {
            wall_time: now.unwrap_or_default().as_secs_f64(),
            step: step as i64,
            what: Some(what),
        };
        let written = file.write_all(&record(&event.encode_to_vec()));
        written.with_context(|| format!("writing {}", one_line(&path)))
    }
}

/// A new file, whose name tells when it was begun, so that TensorBoard reads those of a run in their order.
fn open(run: &Path) -> Result<(PathBuf, File)> {
    let folder = run.join(TENSORBOARD);
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", one_line(&folder)))?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!(
        "events.out.tfevents.{}.{}",
        now.as_secs(),
        std::process::id()
    );
    let path = folder.join(name);
    let file = files::append(&path)?;
    Ok((path, file))
}

/// What an epoch measured.
fn of_epoch(epoch: &EpochResult) -> Vec<Value> {
    let all = [
        ("loss/train", Some(epoch.train_loss)),
        ("loss/validation", epoch.val_loss),
        ("loss/test", epoch.test_loss),
        ("accuracy/train", Some(epoch.train_acc)),
        ("accuracy/validation", epoch.val_acc),
        ("accuracy/test", epoch.test_acc),
        ("speed/examples per second", Some(epoch.examples_per_second)),
    ];
    let values = all.into_iter();
    values
        .filter_map(|(tag, value)| Some(scalar(tag, value?)))
        .collect()
}

fn scalar(tag: &str, value: f64) -> Value {
    Value {
        tag: tag.to_string(),
        metadata: None,
        data: Some(Data::Scalar(value as f32)),
    }
}

/// Text in Markdown.
fn text_value(tag: &str, text: String) -> Value {
    let plugin = Plugin {
        name: "text".to_string(),
    };
    Value {
        tag: tag.to_string(),
        metadata: Some(Metadata {
            plugin: Some(plugin),
        }),
        data: Some(Data::Tensor(Tensor {
            dtype: STRINGS,
            shape: Some(Shape {}),
            strings: vec![text.into_bytes()],
        })),
    }
}

/// A record as TensorFlow writes it: length, its checksum, the bytes, their checksum.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let parts = [&length[..], &masked(&length), bytes, &masked(bytes)];
    parts.concat()
}

/// CRC-32C, rotated and shifted so that a checksum of bytes that hold checksums is not weaker.
fn masked(bytes: &[u8]) -> [u8; 4] {
    let masked = crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8);
    masked.to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first record of every event file but for its time, as TensorFlow writes it.
    #[test]
    fn a_record_has_the_bytes_of_tensorflows() {
        let event = Event {
            wall_time: 0.0,
            step: 0,
            what: Some(What::FileVersion(VERSION.to_string())),
        };
        let bytes = event.encode_to_vec();
        assert_eq!(bytes, b"\x1a\x0dbrain.Event:2");
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        let record = record(&bytes);
        assert_eq!(record[..8], 15_u64.to_le_bytes());
        assert_eq!(record.len(), 8 + 4 + 15 + 4);
        // With the time it has 24 bytes, and every file begins with these twelve.
        let begin = [&24_u64.to_le_bytes()[..], &masked(&24_u64.to_le_bytes())].concat();
        assert_eq!(begin, [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
    }
}
