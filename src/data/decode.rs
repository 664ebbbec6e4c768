//! Files of pictures, decoded: upright, whole and of a size that fits them.
use super::jpeg;
use crate::files;
use crate::process::{ensure_free, one_line, say, unless_it_panics};
use anyhow::{Context, Result, anyhow, ensure};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The formats that are read.
pub const FORMATS: &str = "PNG, JPEG, WebP, BMP, GIF or TIFF";

/// The most bytes of a file of a picture.
const MOST_BYTES: u64 = 256 << 20;

/// The most pixels of a picture and of its longer side: more than any camera has. A small file may claim to be huge.
const MOST_PIXELS: u64 = 1 << 29;
const MOST_SIDE: u32 = 65_535;

/// The most bytes of a decoded picture.
const MOST_DECODED: u64 = 2 << 30;

/// Decoded pictures of more bytes than this come one after another: several at once could take all memory.
const LARGE: u64 = 64 << 20;

static TURN: Mutex<()> = Mutex::new(());

/// A picture, upright. No other large one is decoded while a large one is kept as this.
pub struct Decoded {
    /// The picture.
    pub picture: DynamicImage,
    /// What its file is.
    pub format: ImageFormat,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// The picture in a file of one of [`FORMATS`], of an animation the first one, turned as EXIF says. `instead` is what a
/// refusal advises besides. Of a JPEG file without its end a warning tells.
///
/// # Errors
/// When there is no such file, or it is no picture, damaged or too large.
pub fn open(path: &Path, instead: &str) -> Result<Decoded> {
    let shown = one_line(path);
    ensure!(
        path.exists(),
        "{shown} does not exist: name {FORMATS} files{instead}"
    );
    ensure!(
        !path.is_dir(),
        "{shown} is a folder: name the pictures in it, as in {}",
        one_line(path.join("*.png"))
    );
    let bytes = files::read(path, MOST_BYTES)?;
    if is_cut_off(&bytes) {
        say(format_args!(
            "warning: {shown} is truncated: the end of the picture is missing, and grey in its place"
        ));
    }
    decoded(&bytes).with_context(|| {
        format!(
            "{shown} is not a {FORMATS} picture that can be read: save it as one of them{instead}"
        )
    })
}

/// The same of a file of a data set, which must be whole. The error does not name it.
///
/// # Errors
/// As [`open`].
pub fn read(path: &Path) -> Result<Decoded> {
    let bytes = files::read(path, MOST_BYTES);
    let bytes = bytes.map_err(|error| anyhow!(error.root_cause().to_string()))?;
    ensure!(
        !is_cut_off(&bytes),
        "the file is truncated: the end of the picture is missing"
    );
    decoded(&bytes)
}

/// Whether the picture in a file has colours, by its header alone; `None` where that tells nothing.
pub fn has_colours(path: &Path) -> Option<bool> {
    let file = BufReader::new(files::open(path).ok()?);
    let coloured = || {
        let reader = ImageReader::new(file).with_guessed_format().ok()?;
        Some(reader.into_decoder().ok()?.color_type().has_color())
    };
    unless_it_panics(coloured).flatten()
}

/// Whether a file begins like a picture of one of [`FORMATS`], whatever its name is.
pub fn looks_like_one(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = files::open(path).map(|file| file.take(32).read_to_end(&mut start));
    read.is_ok_and(|read| read.is_ok()) && known(&start).is_some()
}

/// What these first bytes are of, if it is read.
fn known(start: &[u8]) -> Option<ImageFormat> {
    image::guess_format(start)
        .ok()
        .filter(|format| format.reading_enabled())
}

/// Whether it is a JPEG file without its end, in whose place the decoder puts grey.
fn is_cut_off(bytes: &[u8]) -> bool {
    known(bytes) == Some(ImageFormat::Jpeg) && !jpeg::is_whole(bytes)
}

fn decoded(bytes: &[u8]) -> Result<Decoded> {
    ensure!(!bytes.is_empty(), "the file is empty");
    // Not every decoder returns an error for every damage.
    let decoded = unless_it_panics(|| decode(bytes));
    decoded.unwrap_or_else(|| Err(anyhow!("the file is damaged, and its decoder fails on it")))
}

fn decode(bytes: &[u8]) -> Result<Decoded> {
    // What the file is, its contents tell, not its name.
    let format = known(bytes).with_context(|| format!("its contents are not {FORMATS}"))?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MOST_SIDE);
    limits.max_image_height = Some(MOST_SIDE);
    limits.max_alloc = Some(MOST_DECODED);
    reader.limits(limits.clone());
    let mut decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    ensure!(
        width.max(height) <= MOST_SIDE && u64::from(width) * u64::from(height) <= MOST_PIXELS,
        "it has {width}×{height} pixels, but at most {MOST_PIXELS} are taken, and {MOST_SIDE} a side"
    );
    limits.reserve(decoder.total_bytes())?;
    let turn = (decoder.total_bytes() > LARGE)
        .then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner));
    ensure_free(decoder.total_bytes(), "the picture")?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(Decoded {
        picture,
        format,
        _turn: turn,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, Luma};
    use std::io::Write;

    /// An indexed picture whose palette ends within a colour.
    #[test]
    fn a_decoder_that_panics_is_an_error_of_the_file() {
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut chunk = |kind: &[u8; 4], data: &[u8]| {
            let mut crc = flate2::Crc::new();
            crc.update(kind);
            crc.update(data);
            png.extend((data.len() as u32).to_be_bytes());
            png.extend(kind);
            png.extend(data);
            png.extend(crc.sum().to_be_bytes());
        };
        chunk(b"IHDR", &[0, 0, 0, 1, 0, 0, 0, 1, 8, 3, 0, 0, 0]);
        chunk(b"PLTE", &[1, 2, 3, 4, 5]);
        chunk(b"tRNS", &[6]);
        let mut pixels = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
        pixels.write_all(&[0, 0]).unwrap();
        chunk(b"IDAT", &pixels.finish().unwrap());
        chunk(b"IEND", &[]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, png).unwrap();
        let error = format!("{:#}", open(file.path(), "").err().unwrap());
        assert!(error.contains("damaged"), "{error}");
    }

    /// A few bytes that claim to be a picture of these sides: refused before anything of that size is allocated.
    #[test]
    fn a_picture_that_claims_to_be_huge_is_refused() {
        let small = GrayImage::from_fn(3, 2, |x, _| Luma([(x * 100) as u8]));
        let mut png = Cursor::new(Vec::new());
        small.write_to(&mut png, ImageFormat::Png).unwrap();
        let mut bmp = Cursor::new(Vec::new());
        small.write_to(&mut bmp, ImageFormat::Bmp).unwrap();
        let mut gif = Cursor::new(Vec::new());
        let colours = DynamicImage::from(small).to_rgb8();
        colours.write_to(&mut gif, ImageFormat::Gif).unwrap();
        for (w, h) in [(536_870_000, 1), (1, 70_000), (60_000, 60_000)] {
            let mut png = png.get_ref().clone();
            png[16..20].copy_from_slice(&u32::to_be_bytes(w));
            png[20..24].copy_from_slice(&u32::to_be_bytes(h));
            let mut crc = flate2::Crc::new();
            crc.update(&png[12..29]);
            png[29..33].copy_from_slice(&crc.sum().to_be_bytes());
            let mut bmp = bmp.get_ref().clone();
            bmp[18..22].copy_from_slice(&u32::to_le_bytes(w));
            bmp[22..26].copy_from_slice(&u32::to_le_bytes(h));
            let mut all = vec![png, bmp];
            if w.max(h) < 65_536 {
                let mut gif = gif.get_ref().clone();
                gif[6..8].copy_from_slice(&u16::to_le_bytes(w as u16));
                gif[8..10].copy_from_slice(&u16::to_le_bytes(h as u16));
                all.push(gif);
            }
            for file in all {
                let error = format!("{:#}", decode(&file).err().unwrap());
                assert!(
                    ["at most", "limit"]
                        .iter()
                        .any(|word| error.to_lowercase().contains(word)),
                    "{w}×{h}: {error}"
                );
            }
        }
    }
}
