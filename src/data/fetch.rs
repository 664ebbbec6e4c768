//! The download of Fashion-MNIST into the cache. A file gets its name only after its content was
//! checked, so that nothing half-downloaded is ever trusted.
use super::files::{self, File};
use anyhow::{Context, Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    fs,
    io::{Read, Write},
    path::Path,
    time::Duration,
};

/// Where the files are downloaded from: the mirror that Keras uses.
pub const MIRROR: &str = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/";

/// What had to be done for a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fetched {
    /// The right file was there already.
    Present,
    /// So many bytes were downloaded.
    Downloaded(u64),
}

/// Makes sure that `folder` has the right `file`, if need be by downloading it from the folder
/// `url`. Shows its progress on stderr when that is a terminal.
///
/// # Errors
/// When the download fails, its content is wrong or the folder cannot be written. Whatever was in
/// the folder before stays there then.
pub fn fetch(url: &str, folder: &Path, file: File) -> Result<Fetched> {
    let path = folder.join(file.name());
    // A damaged file is as good as none: either is replaced.
    if path.exists() && files::read(&path).and_then(|b| file.check(&b)).is_ok() {
        return Ok(Fetched::Present);
    }
    let from = format!("{}/{}", url.trim_end_matches('/'), file.name());
    let packed = download(&from, file).with_context(|| {
        format!(
            "downloading {from} failed; check the network, name another mirror by --url, \
             install the package dataset-fashion-mnist, or use --data sample"
        )
    })?;
    store(&path, folder, &packed).with_context(|| format!("writing {}", path.display()))?;
    Ok(Fetched::Downloaded(packed.len() as u64))
}

/// The compressed bytes of a file, after their content was checked.
fn download(from: &str, file: File) -> Result<Vec<u8>> {
    let wait = |seconds| Some(Duration::from_secs(seconds));
    let agent = ureq::Agent::config_builder()
        .timeout_connect(wait(20))
        .timeout_recv_response(wait(30))
        .timeout_per_read(wait(30))
        .build()
        .new_agent();
    let mut response = agent.get(from).call()?;
    let length = response.body().content_length();
    let bar = ProgressBar::new(length.unwrap_or(0));
    bar.set_style(ProgressStyle::with_template(
        "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    )?);
    bar.set_message(file.stem);
    let mut packed = Vec::new();
    // The compressed file is never larger than its content: a wrong address cannot fill the memory.
    bar.wrap_read(response.body_mut().as_reader().take(file.bytes))
        .read_to_end(&mut packed)
        .with_context(|| format!("the connection broke off after {} bytes", packed.len()))?;
    bar.finish_and_clear();
    if let Some(length) = length {
        ensure!(
            packed.len() as u64 == length,
            "{} bytes came instead of {length}",
            packed.len()
        );
    }
    let content = files::gunzip(&packed).context("what came cannot be used")?;
    file.check(&content)?;
    Ok(packed)
}

/// Writes a file under a temporary name beside its place, makes it durable, then renames it.
fn store(path: &Path, folder: &Path, packed: &[u8]) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    temporary.write_all(packed)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
