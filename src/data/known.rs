//! The data sets that have names: their files, their classes, and where they are looked for.
use super::idx;
use crate::files;
use crate::process::command;
use anyhow::{Context, Result};
use etcetera::BaseStrategy;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The name of a data set that lies inside this program.
pub const SAMPLE: &str = "sample";

/// Where Debian's packages put data sets, each in a folder of its name.
pub const DEBIAN: &str = "/usr/share/datasets";

/// The most bytes of a file of the MNIST family, compressed.
const MOST_BYTES: u64 = 64 << 20;

/// A data set that has a name.
pub struct Set {
    /// What `--data` and `resnet fetch` call it, and its folder in the cache.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The classes in the order of their labels.
    pub classes: [&'static str; 10],
    /// Its files.
    pub files: &'static [Known],
    /// Where it is downloaded from.
    pub mirror: &'static str,
    /// The archive that has the files, and its SHA-256; otherwise they are downloaded one by one, gzipped.
    pub archive: Option<(&'static str, &'static str)>,
}

/// One of the files, of the MNIST family without the ending `.gz`.
pub struct Known {
    /// Its name.
    pub name: &'static str,
    sum: Sum,
}

/// The SHA-256 by which a file is known.
enum Sum {
    /// Of the decompressed bytes: compressors differ, the images do not.
    Plain(&'static str),
    /// Of the file as it is published.
    Published(&'static str),
    /// There is none.
    None,
}

/// The names of the files of the MNIST family: training images and labels, test images and labels.
pub const IDX: [&str; 4] = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
];

const fn plain(name: &'static str, sum: &'static str) -> Known {
    Known {
        name,
        sum: Sum::Plain(sum),
    }
}

const fn published(name: &'static str, sum: &'static str) -> Known {
    Known {
        name,
        sum: Sum::Published(sum),
    }
}

/// The chapter's data, under its names of the classes, which is the default.
pub const FASHION_MNIST: Set = Set {
    name: "fashion-mnist",
    title: "Fashion-MNIST",
    classes: [
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
    ],
    files: &[
        plain(
            IDX[0],
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        plain(
            IDX[1],
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        plain(
            IDX[2],
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        plain(
            IDX[3],
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ],
    mirror: "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    archive: None,
};

const MNIST: Set = Set {
    name: "mnist",
    title: "MNIST",
    classes: ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    files: &[
        published(
            IDX[0],
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        published(
            IDX[1],
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        published(
            IDX[2],
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        published(
            IDX[3],
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ],
    mirror: "https://storage.googleapis.com/cvdf-datasets/mnist/",
    archive: None,
};

const KMNIST: Set = Set {
    name: "kmnist",
    title: "Kuzushiji-MNIST",
    classes: ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
    files: &[
        published(
            IDX[0],
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
        ),
        published(
            IDX[1],
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
        ),
        published(
            IDX[2],
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
        ),
        published(
            IDX[3],
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
    ],
    mirror: "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    archive: None,
};

/// Krizhevsky 2009, the binary version.
pub const CIFAR10: Set = Set {
    name: "cifar10",
    title: "CIFAR-10",
    classes: [
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ],
    files: &[
        published(
            "data_batch_1.bin",
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        ),
        published(
            "data_batch_2.bin",
            "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        ),
        published(
            "data_batch_3.bin",
            "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        ),
        published(
            "data_batch_4.bin",
            "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        ),
        published(
            "data_batch_5.bin",
            "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        ),
        published(
            "test_batch.bin",
            "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        ),
        Known {
            name: "batches.meta.txt",
            sum: Sum::None,
        },
    ],
    mirror: "https://www.cs.toronto.edu/~kriz/",
    archive: Some((
        "cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    )),
};

/// The sets of the MNIST family, the default first.
pub const FAMILY: [&Set; 3] = [&FASHION_MNIST, &MNIST, &KMNIST];

/// All of them.
pub const SETS: [&Set; 4] = [&FASHION_MNIST, &MNIST, &KMNIST, &CIFAR10];

/// The set of this name.
pub fn set(name: &str) -> Option<&'static Set> {
    SETS.into_iter().find(|set| set.name == name)
}

/// Whether `--data` takes this for a name and not for a folder.
pub fn is_name(data: &str) -> bool {
    data == SAMPLE || set(data).is_some()
}

impl Set {
    /// Whether a folder has all files.
    pub fn is_in(&self, folder: &Path) -> bool {
        let there =
            |known: &Known| matches!(known.sum, Sum::None) || find(folder, known.name).is_some();
        self.files.iter().all(there)
    }

    /// Where `resnet fetch` puts the files.
    ///
    /// # Errors
    /// When the user has no home folder.
    pub fn cache_folder(&self) -> Result<PathBuf> {
        Ok(cache_base()?.join(self.name))
    }

    /// Where the files are looked for.
    ///
    /// # Errors
    /// As [`Set::cache_folder`].
    pub fn folders(&self) -> Result<[PathBuf; 2]> {
        Ok([Path::new(DEBIAN).join(self.name), self.cache_folder()?])
    }

    /// How to come by it.
    pub fn advice(&self) -> String {
        let (debian, named) = match self.name == FASHION_MNIST.name {
            true => (
                ", or on Debian and Ubuntu by `sudo apt-get install dataset-fashion-mnist`",
                String::new(),
            ),
            false => ("", format!(" {}", self.name)),
        };
        format!(
            "Get it by `{}{named}`{debian}; or name its folder by --data DIR; or take the 2,500 images inside this program by \
             --data {SAMPLE}",
            command("fetch")
        )
    }
}

impl Known {
    /// Whether this is the file at a path, which may be gzipped.
    pub fn is(&self, path: &Path) -> bool {
        let same = match self.sum {
            Sum::Plain(sum) => idx::read(path).map(|bytes| is_sum(sum, &bytes)),
            Sum::Published(sum) => files::read(path, MOST_BYTES).map(|bytes| is_sum(sum, &bytes)),
            Sum::None => Ok(true),
        };
        same.unwrap_or(false)
    }

    /// Whether these are the bytes of the file, and these the decompressed ones.
    pub fn matches(&self, gz: &[u8], plain: &[u8]) -> bool {
        match self.sum {
            Sum::Plain(sum) => is_sum(sum, plain),
            Sum::Published(sum) => is_sum(sum, gz),
            Sum::None => true,
        }
    }
}

/// Whether bytes have this SHA-256.
pub fn is_sum(sum: &str, bytes: &[u8]) -> bool {
    let digest = Sha256::digest(bytes);
    let digest = digest.iter().map(|byte| format!("{byte:02x}"));
    digest.collect::<String>() == sum
}

/// The program's own folder in the user's cache.
///
/// # Errors
/// When the user has no home folder.
pub fn cache_base() -> Result<PathBuf> {
    let base = etcetera::choose_base_strategy().context("looking for the cache folder")?;
    Ok(base.cache_dir().join("resnet"))
}

/// The file of this name, compressed or not.
pub fn find(folder: &Path, name: &str) -> Option<PathBuf> {
    [format!("{name}.gz"), name.to_string()]
        .map(|n| folder.join(n))
        .into_iter()
        .find(|p| p.exists())
}
