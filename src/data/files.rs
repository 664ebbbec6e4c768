//! The four files of Fashion-MNIST: their names, what the original's bytes hash to, and how one is
//! read from a folder. What is inside them is the business of `idx`.
use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};
use std::{
    io::{ErrorKind, Read},
    path::{Path, PathBuf},
};

/// A file of the data set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File {
    /// Name without `.gz`.
    pub stem: &'static str,
    /// SHA-256 of the original's decompressed bytes, in hexadecimal. The gzip headers differ
    /// between distributors, so the compressed bytes have no hash of their own.
    pub sha256: &'static str,
    /// Size of the original's decompressed bytes.
    pub bytes: u64,
}

/// Training images.
pub const TRAIN_IMAGES: File = File {
    stem: "train-images-idx3-ubyte",
    sha256: "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    bytes: 47_040_016,
};

/// Training labels.
pub const TRAIN_LABELS: File = File {
    stem: "train-labels-idx1-ubyte",
    sha256: "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    bytes: 60_008,
};

/// Test images.
pub const TEST_IMAGES: File = File {
    stem: "t10k-images-idx3-ubyte",
    sha256: "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    bytes: 7_840_016,
};

/// Test labels.
pub const TEST_LABELS: File = File {
    stem: "t10k-labels-idx1-ubyte",
    sha256: "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    bytes: 10_008,
};

/// All four.
pub const FILES: [File; 4] = [TRAIN_IMAGES, TRAIN_LABELS, TEST_IMAGES, TEST_LABELS];

impl File {
    /// Name as it is distributed, with `.gz`.
    pub fn name(self) -> String {
        format!("{}.gz", self.stem)
    }

    /// Where the file is in a folder, compressed or not; compressed wins.
    pub fn find(self, folder: &Path) -> Option<PathBuf> {
        [folder.join(self.name()), folder.join(self.stem)]
            .into_iter()
            .find(|path| path.exists())
    }

    /// Whether these decompressed bytes are the original's.
    ///
    /// # Errors
    /// When they are not; says both hashes.
    pub fn check(self, bytes: &[u8]) -> Result<()> {
        let digest = Sha256::digest(bytes);
        let sha256: String = digest.iter().map(|b| format!("{b:02x}")).collect();
        ensure!(
            sha256 == self.sha256,
            "the content is not Fashion-MNIST's: its SHA-256 is {sha256}, not {}",
            self.sha256
        );
        Ok(())
    }
}

/// The bytes of a file, decompressed when its name ends in `.gz`.
///
/// # Errors
/// When it cannot be read, is not gzip, is truncated or damaged. The path is not part of the message.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = std::fs::read(path).context("it cannot be read")?;
    if path.extension().is_some_and(|e| e == "gz") {
        gunzip(&bytes)
    } else {
        Ok(bytes)
    }
}

/// Decompresses a gzip file.
///
/// # Errors
/// When it is not gzip, ends early, is damaged or has something behind its end.
pub fn gunzip(packed: &[u8]) -> Result<Vec<u8>> {
    match packed {
        [] => bail!("the file is empty"),
        [0x1f, 0x8b, ..] => {}
        // Browsers like to decompress what they download and to keep the name.
        [0, 0, 8, 1 | 3, ..] => bail!("it is already decompressed: remove .gz from its name"),
        _ => bail!("it is not a gzip file"),
    }
    let mut bytes = Vec::new();
    match MultiGzDecoder::new(packed).read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            bail!(
                "it is truncated: its gzip data breaks off after {} bytes",
                bytes.len()
            )
        }
        Err(error) => Err(error).context("its gzip data is damaged"),
    }
}
