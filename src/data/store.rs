//! A file of images: levels of one size, one after another, with their labels and hashes at its end. Any of them can be read
//! from it at any time.
use super::found::Found;
use super::source::{ImageSource, Info, Split};
use crate::files;
use crate::process::one_line;
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The end of a file, after the images: the header, labels, hashes; where they begin, bytes of the header, their checksum;
/// and this, which is another one for every version of the format and of what is made of a picture.
pub const MAGIC: &[u8; 12] = b"resnet-img 1";
const FOOTER: u64 = 8 + 8 + 4 + 12;

/// What the file says of itself.
#[derive(Serialize, Deserialize)]
pub struct Header {
    /// Side of the images in pixels.
    pub size: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Images of each of [`Split::ALL`].
    pub counts: [usize; 3],
    /// What the pictures were.
    pub found: Found,
}

/// Images in a file.
pub struct Store {
    info: Info,
    file: fs::File,
    path: PathBuf,
    /// Where the images of each split begin.
    starts: [u64; 3],
    labels: [Vec<u32>; 3],
    fingerprints: [Vec<u64>; 3],
}

/// Writes the end of a file whose images have been written: labels, and the hashes of all images.
///
/// # Errors
/// When the disk fails.
pub fn finish(out: &mut fs::File, header: &Header, labels: &[u8], hashes: &[u8]) -> Result<()> {
    let start = out.stream_position()?;
    let head = serde_json::to_vec(header)?;
    let tail = [&head[..], labels, hashes].concat();
    let footer = [
        &start.to_le_bytes()[..],
        &(head.len() as u64).to_le_bytes(),
        &crc32c::crc32c(&tail).to_le_bytes(),
        MAGIC,
    ];
    out.write_all(&tail)?;
    out.write_all(&footer.concat())?;
    Ok(())
}

/// Opens a file that is whole.
///
/// # Errors
/// When it cannot be read, is damaged or of another version.
pub fn read(path: &Path) -> Result<Store> {
    let shown = one_line(path);
    let damaged = || format!("{shown} is damaged");
    let mut file = files::open(path)?;
    let length = file.metadata().with_context(damaged)?.len();
    ensure!(length >= FOOTER, damaged());
    let mut footer = [0; FOOTER as usize];
    file.seek(SeekFrom::Start(length - FOOTER))
        .with_context(damaged)?;
    file.read_exact(&mut footer).with_context(damaged)?;
    ensure!(footer.ends_with(MAGIC), "{shown} is of another version");
    let number = |at: usize| footer[at..at + 8].try_into().map(u64::from_le_bytes);
    let (start, head) = (number(0)?, number(8)?);
    let sum = u32::from_le_bytes(footer[16..20].try_into()?);
    ensure!(start <= length - FOOTER, damaged());
    file.seek(SeekFrom::Start(start)).with_context(damaged)?;
    let mut tail = vec![0; (length - FOOTER - start) as usize];
    file.read_exact(&mut tail).with_context(damaged)?;
    ensure!(
        crc32c::crc32c(&tail) == sum && head <= tail.len() as u64,
        damaged()
    );
    let (head, rest) = tail.split_at(head as usize);
    let Header {
        size,
        channels,
        counts,
        found,
    } = serde_json::from_slice(head).with_context(damaged)?;
    let all: usize = counts.iter().sum();
    ensure!(
        rest.len() == all * 12 && start == (all * size * size * channels) as u64,
        damaged()
    );
    let (labels, fingerprints) = rest.split_at(all * 4);
    let mut labels = bytemuck::pod_collect_to_vec::<u8, u32>(labels).into_iter();
    let mut fingerprints = bytemuck::pod_collect_to_vec::<u8, u64>(fingerprints).into_iter();
    let mut starts = [0; 3];
    for split in 1..3 {
        starts[split] = starts[split - 1] + (counts[split - 1] * size * size * channels) as u64;
    }
    Ok(Store {
        info: Info {
            size,
            channels,
            found: Some(found),
            ..Info::default()
        },
        file,
        path: path.to_path_buf(),
        starts,
        labels: counts.map(|count| labels.by_ref().take(count).collect()),
        fingerprints: counts.map(|count| fingerprints.by_ref().take(count).collect()),
    })
}

impl Store {
    /// What is known about the images, to be completed.
    pub fn info_mut(&mut self) -> &mut Info {
        &mut self.info
    }
}

impl ImageSource for Store {
    fn info(&self) -> &Info {
        &self.info
    }

    fn labels(&self, split: Split) -> &[u32] {
        &self.labels[split as usize]
    }

    fn read(&self, split: Split, indices: &[u32], out: &mut [u8]) -> Result<()> {
        let (count, len) = (self.len(split), self.info.image_bytes());
        assert_eq!(out.len(), indices.len() * len, "room for these images");
        for (out, &i) in out.chunks_exact_mut(len).zip(indices) {
            ensure!(
                (i as usize) < count,
                "{} has no {} image {i}",
                self.info.name,
                split.name()
            );
            let at = self.starts[split as usize] + u64::from(i) * len as u64;
            read_at(&self.file, out, at).with_context(|| {
                format!(
                    "reading {}: if it is damaged, remove it, and it is made anew",
                    one_line(&self.path)
                )
            })?;
        }
        Ok(())
    }

    fn fingerprints(&self, split: Split) -> &[u64] {
        &self.fingerprints[split as usize]
    }
}

/// Fills `out` from a place of a file on, from any thread.
#[cfg(unix)]
fn read_at(file: &fs::File, out: &mut [u8], at: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, at)
}

/// Fills `out` from a place of a file on, from any thread.
#[cfg(windows)]
fn read_at(file: &fs::File, mut out: &mut [u8], mut at: u64) -> std::io::Result<()> {
    while !out.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, out, at)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        out = &mut out[read..];
        at += read as u64;
    }
    Ok(())
}
