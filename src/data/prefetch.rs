//! Reads images ahead of their use, on a thread of its own.
use super::{ImageSource, Split};
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// A thread that reads what it is asked for, in that order. It ends with this.
pub struct Prefetch {
    source: Arc<dyn ImageSource>,
    requests: Sender<Request>,
    read: Receiver<Result<Vec<u8>>>,
    /// What was asked for and not taken yet.
    ahead: VecDeque<Request>,
}

type Request = (Split, Vec<u32>);

impl Prefetch {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system has none to give.
    pub fn new(source: Arc<dyn ImageSource>) -> Result<Prefetch> {
        let (requests, asked) = channel::<Request>();
        let (answer, read) = channel();
        let its = source.clone();
        let serve = move || {
            for (split, indices) in asked {
                if answer.send(pixels(&*its, split, &indices)).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new()
            .name("images".to_string())
            .spawn(serve)
            .context("starting the thread that reads images")?;
        Ok(Prefetch {
            source,
            requests,
            read,
            ahead: VecDeque::new(),
        })
    }

    /// Has these images read, after those asked for before.
    ///
    /// # Errors
    /// When the thread has ended.
    pub fn request(&mut self, split: Split, indices: &[u32]) -> Result<()> {
        let request = (split, indices.to_vec());
        self.ahead.push_back(request.clone());
        self.requests.send(request).context(ENDED)
    }

    /// The levels of these images, one after another. They are there or on their way if they were asked for, and what
    /// was asked for before them is dropped; otherwise they are read now.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn take(&mut self, split: Split, indices: &[u32]) -> Result<Vec<u8>> {
        let is = |(s, i): &Request| *s == split && i == indices;
        if !self.ahead.iter().any(is) {
            return pixels(&*self.source, split, indices);
        }
        loop {
            let pixels = self.read.recv().context(ENDED)?;
            if self.ahead.pop_front().as_ref().is_some_and(is) {
                return pixels;
            }
        }
    }
}

/// Reads images of a source.
fn pixels(source: &dyn ImageSource, split: Split, indices: &[u32]) -> Result<Vec<u8>> {
    let mut pixels = vec![0; indices.len() * source.info().image_bytes()];
    source.read(split, indices, &mut pixels)?;
    Ok(pixels)
}

const ENDED: &str = "the thread that reads images has ended";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data;

    #[test]
    fn images_come_as_asked_for_ahead_or_not() {
        let data: Arc<dyn ImageSource> = Arc::new(data::sample().unwrap());
        let read = |split, indices: &[u32]| pixels(&*data, split, indices).unwrap();
        let mut prefetch = Prefetch::new(data.clone()).unwrap();
        prefetch.request(Split::Train, &[3, 1]).unwrap();
        prefetch.request(Split::Test, &[3, 1]).unwrap();
        prefetch.request(Split::Train, &[4]).unwrap();
        // The second is taken before the first, which is dropped then.
        for (split, indices) in [
            (Split::Test, &[3, 1][..]),
            (Split::Train, &[4]),
            (Split::Train, &[3, 1]),
        ] {
            let taken = prefetch.take(split, indices).unwrap();
            assert_eq!(taken, read(split, indices));
        }
        let error = prefetch.take(Split::Test, &[500]).unwrap_err();
        assert!(error.to_string().contains("no test image 500"), "{error}");
        assert_eq!(
            prefetch.take(Split::Test, &[499]).unwrap(),
            read(Split::Test, &[499])
        );
    }
}
