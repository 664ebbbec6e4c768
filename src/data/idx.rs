//! The IDX files of the MNIST family: a magic number, big-endian dimensions, then bytes.
use crate::process::command;
use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// Three dimensions of unsigned bytes.
const IMAGES: u32 = 0x0000_0803;

/// One dimension of unsigned bytes.
const LABELS: u32 = 0x0000_0801;

/// Side of the images of the MNIST family in pixels.
pub const SIZE: usize = 28;

/// The decompressed bytes of a file, which is gzip where its name says so.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    if path.extension().is_none_or(|e| e != "gz") {
        return Ok(bytes);
    }
    let shown = path.display();
    unzip(&bytes).with_context(|| match bytes[..] {
        [0x1f, 0x8b, ..] => {
            format!(
                "{shown} is damaged or truncated: fetch it again by `{}`",
                command("fetch")
            )
        }
        // Browsers like to decompress what they download and to keep its name.
        [0, 0, 8, 1 | 3, ..] => {
            format!("{shown} is not a gzip file but already decompressed: rename it without .gz")
        }
        _ => format!(
            "{shown} is not a gzip file: fetch it again by `{}`",
            command("fetch")
        ),
    })
}

/// Decompresses a gzip file, checking its own checksum and that nothing foreign follows its end.
pub fn unzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    match MultiGzDecoder::new(bytes).read_to_end(&mut plain) {
        Ok(_) => Ok(plain),
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => bail!("the file ends too early"),
        Err(e) => Err(e.into()),
    }
}

/// Side and grey levels of a file of square images.
pub fn images(path: &Path, bytes: Vec<u8>) -> Result<(usize, Vec<u8>)> {
    let [count, h, w] = dimensions(path, &bytes, IMAGES)?;
    ensure!(
        h == w && h > 0,
        "{} has images of {h}×{w}, but this program takes square ones",
        path.display()
    );
    ensure!(count > 0, "{} has no images", path.display());
    Ok((h, payload(path, bytes, 16, count.saturating_mul(h * w))?))
}

/// The classes of a file of labels.
pub fn labels(path: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    let [count] = dimensions(path, bytes, LABELS)?;
    payload(path, bytes.to_vec(), 8, count)
}

/// The dimensions behind the magic number that this kind of file has.
fn dimensions<const N: usize>(path: &Path, bytes: &[u8], magic: u32) -> Result<[usize; N]> {
    let shown = path.display();
    let word = |at: usize| -> Result<u32> {
        let word = bytes
            .get(4 * at..4 * at + 4)
            .with_context(|| format!("{shown} is truncated: it has only {} bytes", bytes.len()))?;
        Ok(u32::from_be_bytes(word.try_into()?))
    };
    match word(0)? {
        found if found == magic => {}
        LABELS => bail!("{shown} holds labels where images are expected: were the files mixed up?"),
        IMAGES => bail!("{shown} holds images where labels are expected: were the files mixed up?"),
        found => bail!(
            "{shown} is not an IDX file of bytes: it begins with {found:#010x}, not {magic:#010x}"
        ),
    }
    let mut dimensions = [0; N];
    for (i, d) in dimensions.iter_mut().enumerate() {
        *d = word(i + 1)? as usize;
    }
    Ok(dimensions)
}

/// What follows the header, which must be exactly what its dimensions say.
fn payload(path: &Path, mut bytes: Vec<u8>, header: usize, want: usize) -> Result<Vec<u8>> {
    let found = bytes.len() - header;
    let shown = path.display();
    ensure!(
        found >= want,
        "{shown} is truncated: {found} of {want} bytes follow its header"
    );
    ensure!(
        found == want,
        "{shown} has more bytes than its header says: {found} instead of {want}"
    );
    Ok(bytes.split_off(header))
}
