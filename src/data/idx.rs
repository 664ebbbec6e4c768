//! The IDX files of the MNIST family: a magic number, big-endian dimensions, then bytes.
use crate::files;
use crate::process::{command, one_line};
use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek};
use std::path::Path;

/// Three dimensions of unsigned bytes.
const IMAGES: u32 = 0x0000_0803;

/// One dimension of unsigned bytes.
const LABELS: u32 = 0x0000_0801;

/// The largest side of an image in pixels.
const MOST_SIDE: usize = 4096;

/// Side of the images of the MNIST family in pixels.
pub const SIZE: usize = 28;

/// The most bytes of a file once decompressed: 1.3 million images of 28×28.
const MOST_BYTES: u64 = 1 << 30;

/// Bytes of the longest header.
const HEADER: u64 = 16;

/// The decompressed bytes of a file, which is gzip where its name says so: no more than its header says, and one more
/// where there are more.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let shown = one_line(path);
    let mut file = files::open(path)?;
    if path.extension().is_none_or(|e| e != "gz") {
        return bounded(file).with_context(|| format!("reading {shown}"));
    }
    let mut start = [0; 4];
    let read = file.by_ref().take(4).read(&mut start);
    read.and_then(|_| file.rewind())
        .with_context(|| format!("reading {shown}"))?;
    unzip(BufReader::new(file)).with_context(|| match start {
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

/// Decompresses a gzip file, checking its own checksum and that nothing foreign follows its end. As in [`read`], no more
/// than what the header inside says.
pub fn unzip(bytes: impl BufRead) -> Result<Vec<u8>> {
    let plain = bounded(MultiGzDecoder::new(bytes));
    plain.map_err(|error| match error.downcast_ref::<io::Error>() {
        Some(e) if e.kind() == ErrorKind::UnexpectedEof => anyhow!("the file ends too early"),
        _ => error,
    })
}

/// What the header at the start says that there is, and one byte more where there is more.
fn bounded(mut from: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.by_ref().take(HEADER).read_to_end(&mut bytes)?;
    let all = length(&bytes);
    ensure!(
        all <= MOST_BYTES,
        "its header says that {all} bytes follow, but this program takes {MOST_BYTES} at most"
    );
    let rest = (all + 1).saturating_sub(bytes.len() as u64);
    from.take(rest).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of the file that begins so; of what is no IDX file, its header's.
fn length(header: &[u8]) -> u64 {
    let word = |at: usize| {
        let word = header.get(4 * at..4 * at + 4)?;
        Some(u64::from(u32::from_be_bytes(word.try_into().ok()?)))
    };
    let length = match word(0).map(|magic| magic as u32) {
        Some(LABELS) => word(1).map(|count| 8 + count),
        Some(IMAGES) => {
            let sides = [word(1), word(2), word(3)].into_iter();
            let pixels = sides
                .map(|side| side.unwrap_or(0))
                .fold(1, u64::saturating_mul);
            Some(pixels.saturating_add(HEADER))
        }
        _ => None,
    };
    length.unwrap_or(HEADER)
}

/// Side and grey levels of a file of square images.
pub fn images(path: &Path, bytes: Vec<u8>) -> Result<(usize, Vec<u8>)> {
    let [count, h, w] = dimensions(path, &bytes, IMAGES)?;
    ensure!(
        h == w && (1..=MOST_SIDE).contains(&h),
        "{} has images of {h}×{w}, but this program takes square ones of at most {MOST_SIDE}×{MOST_SIDE}",
        one_line(path)
    );
    ensure!(count > 0, "{} has no images", one_line(path));
    Ok((h, payload(path, bytes, 16, count.saturating_mul(h * w))?))
}

/// The classes of a file of labels.
pub fn labels(path: &Path, bytes: &[u8]) -> Result<Vec<u8>> {
    let [count] = dimensions(path, bytes, LABELS)?;
    payload(path, bytes.to_vec(), 8, count)
}

/// The dimensions behind the magic number that this kind of file has.
fn dimensions<const N: usize>(path: &Path, bytes: &[u8], magic: u32) -> Result<[usize; N]> {
    let shown = one_line(path);
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
    let found = bytes.len().saturating_sub(header);
    let shown = one_line(path);
    ensure!(
        found >= want,
        "{shown} is truncated: {found} of {want} bytes follow its header"
    );
    ensure!(
        found == want,
        "{shown} has more bytes than its header says, which is {want} after it"
    );
    Ok(bytes.split_off(header))
}
