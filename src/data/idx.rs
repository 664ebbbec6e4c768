//! The IDX format of MNIST and Fashion-MNIST: big-endian magic and counts, then plain bytes.
//! Format: <http://yann.lecun.com/exdb/mnist/>. Nothing here opens a file or names one.
use anyhow::{Result, bail, ensure};

/// Height and width of an image.
pub const SIZE: usize = 28;

/// Labels are below this.
pub const CLASSES: usize = 10;

const IMAGES: u32 = 0x0803;
const LABELS: u32 = 0x0801;

/// The grey levels of an image file, one image after another, row by row.
///
/// # Errors
/// When the magic, the size of the images or the length of the file is wrong.
pub fn images(bytes: &[u8]) -> Result<Vec<u8>> {
    match (word(bytes, 0), bytes.len()) {
        (Some(IMAGES), 16..) => {}
        (Some(LABELS), _) => bail!("it holds labels where images should be: is it mislabelled?"),
        (magic, _) => bail!(
            "it is not an IDX image file: {}",
            wrong_magic(magic, IMAGES)
        ),
    }
    let [count, h, w] = [4, 8, 12].map(|at| word(bytes, at).map_or(0, |n| n as usize));
    ensure!(
        (h, w) == (SIZE, SIZE),
        "its images are {h}×{w}, but only {SIZE}×{SIZE} can be used"
    );
    let pixels = &bytes[16..];
    check_length(count, SIZE * SIZE, "images", pixels)?;
    Ok(pixels.to_vec())
}

/// The class numbers of a label file.
///
/// # Errors
/// When the magic or the length of the file is wrong, or a label is over 9.
pub fn labels(bytes: &[u8]) -> Result<Vec<u32>> {
    match (word(bytes, 0), bytes.len()) {
        (Some(LABELS), 8..) => {}
        (Some(IMAGES), _) => bail!("it holds images where labels should be: is it mislabelled?"),
        (magic, _) => bail!(
            "it is not an IDX label file: {}",
            wrong_magic(magic, LABELS)
        ),
    }
    let count = word(bytes, 4).map_or(0, |n| n as usize);
    let labels = &bytes[8..];
    check_length(count, 1, "labels", labels)?;
    if let Some(i) = labels.iter().position(|&l| usize::from(l) >= CLASSES) {
        bail!(
            "label {i} (counted from 0) is {}, but classes are 0 to {}",
            labels[i],
            CLASSES - 1
        );
    }
    Ok(labels.iter().map(|&l| u32::from(l)).collect())
}

/// The big-endian word at a position, if the file is that long.
fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let word = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*word))
}

fn wrong_magic(magic: Option<u32>, want: u32) -> String {
    match magic {
        Some(magic) if magic != want => {
            format!("it starts with {magic:#010x} instead of {want:#010x}")
        }
        _ => "its header is cut short".to_string(),
    }
}

fn check_length(count: usize, each: usize, what: &str, data: &[u8]) -> Result<()> {
    ensure!(count > 0, "its header promises no {what} at all");
    // In u64, so that an absurd count in the header cannot overflow.
    let want = count as u64 * each as u64;
    let have = data.len() as u64;
    ensure!(
        have >= want,
        "it is truncated: its header promises {count} {what} ({want} bytes), but {have} bytes follow"
    );
    ensure!(
        have == want,
        "{} bytes follow after the {count} {what} that its header promises",
        have - want
    );
    Ok(())
}
