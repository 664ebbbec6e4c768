//! Downloading Fashion-MNIST into the cache. A file gets its name there only once its contents are
//! known to be right, so that nothing half-downloaded is ever taken for data.
use super::{FILES, Known, idx};
use crate::files::{replace, sync_folder};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// A mirror that serves the original files over HTTPS.
pub const MIRROR: &str = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/";

/// No file of the data set comes near this many bytes.
const TOO_LARGE: u64 = 64 << 20;

/// Without a byte for this long, the connection counts as dead.
const PATIENCE: Duration = Duration::from_secs(30);

/// Downloads what is missing or damaged in `folder` from `mirror`. `progress` sees the name of each file,
/// the bytes that came so far, and the bytes to come where the server tells.
///
/// # Errors
/// When the network or the disk fails, or the mirror serves something else.
pub fn fetch(
    mirror: &str,
    folder: &Path,
    mut progress: impl FnMut(&str, u64, Option<u64>),
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for known in &FILES {
        let name = format!("{}.gz", known.name);
        let path = folder.join(&name);
        if path.exists() && idx::read(&path).is_ok_and(|bytes| known.matches(&bytes)) {
            continue;
        }
        let url = format!("{}/{name}", mirror.trim_end_matches('/'));
        let bytes = download(&url, |done, all| progress(&name, done, all)).with_context(|| {
            format!(
                "downloading {url} failed (other ways: another mirror by --url, the Debian package \
                 dataset-fashion-mnist, or --data sample, which needs no files)"
            )
        })?;
        check(known, &bytes)
            .with_context(|| format!("checking {url} failed (try another mirror by --url)"))?;
        replace(&path, &bytes)?;
    }
    sync_folder(folder)
}

fn check(known: &Known, gz: &[u8]) -> Result<()> {
    let plain = idx::unzip(gz).context("the download is not a complete gzip file")?;
    ensure!(
        known.matches(&plain),
        "the download has the wrong checksum: its SHA-256 differs from that of the original file"
    );
    Ok(())
}

fn download(url: &str, mut progress: impl FnMut(u64, Option<u64>)) -> Result<Vec<u8>> {
    let config = ureq::Agent::config_builder()
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .build();
    let mut response = ureq::Agent::new_with_config(config).get(url).call()?;
    let all = response.body().content_length();
    let mut reader = response.body_mut().as_reader().take(TOO_LARGE);
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        let count = reader.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        bytes.extend_from_slice(&chunk[..count]);
        progress(bytes.len() as u64, all);
    }
    if let Some(all) = all {
        ensure!(
            bytes.len() as u64 == all,
            "only {} of {all} bytes were received",
            bytes.len()
        );
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::io::Write;
    use std::net::TcpListener;
    use tempfile::TempDir;

    /// A server on loopback that answers each name with these bytes; returns its address.
    fn serve(files: HashMap<String, Vec<u8>>, claimed_longer: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/data/", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0; 2048];
                let count = stream.read(&mut request).unwrap();
                let line = String::from_utf8_lossy(&request[..count]).to_string();
                let path = line.split(' ').nth(1).unwrap_or_default().to_string();
                let name = path.rsplit('/').next().unwrap_or_default();
                let (status, body) = match files.get(name) {
                    Some(body) => ("200 OK", body.as_slice()),
                    None => ("404 Not Found", &b""[..]),
                };
                let length = body.len() + if claimed_longer { 100 } else { 0 };
                write!(
                    stream,
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                )
                .unwrap();
                stream.write_all(body).unwrap();
            }
        });
        address
    }

    fn installed() -> Option<HashMap<String, Vec<u8>>> {
        let read = |known: &Known| {
            let name = format!("{}.gz", known.name);
            let bytes = fs::read(Path::new(super::super::DEBIAN).join(&name));
            bytes.ok().map(|bytes| (name, bytes))
        };
        let files = FILES.iter().map(read).collect();
        if Option::is_none(&files) {
            crate::process::say(format_args!(
                "SKIPPED: {} is not installed",
                super::super::DEBIAN
            ));
        }
        files
    }

    #[test]
    fn files_are_downloaded_once_and_damaged_ones_again() {
        let Some(files) = installed() else { return };
        let mirror = serve(files, false);
        let folder = TempDir::new().unwrap();
        let fetched = || {
            let mut names = std::collections::BTreeSet::new();
            fetch(&mirror, folder.path(), |name, _, _| {
                names.insert(name.to_string());
            })
            .unwrap();
            names.len()
        };
        assert_eq!(fetched(), 4);
        assert_eq!(fetched(), 0);
        fs::write(folder.path().join("t10k-labels-idx1-ubyte.gz"), b"damaged").unwrap();
        assert_eq!(fetched(), 1);
        assert_eq!(
            super::super::load_folder(folder.path(), true)
                .unwrap()
                .test
                .labels
                .len(),
            10_000
        );
    }

    #[test]
    fn nothing_wrong_gets_a_name() {
        let name = format!("{}.gz", FILES[0].name);
        let sample = include_bytes!("sample/train-images-idx3-ubyte.gz");
        let fails = |body: &[u8], longer: bool, word: &str| {
            let mirror = serve(HashMap::from([(name.clone(), body.to_vec())]), longer);
            let folder = TempDir::new().unwrap();
            let error = fetch(&mirror, folder.path(), |_, _, _| ()).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{error:#}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        };
        fails(sample, false, "SHA-256");
        fails(&sample[..1000], false, "gzip");
        fails(sample, true, "downloading");
        fails(b"<html>moved</html>", false, "gzip");
        let folder = TempDir::new().unwrap();
        let error = fetch(&serve(HashMap::new(), false), folder.path(), |_, _, _| ()).unwrap_err();
        assert!(format!("{error:#}").contains("404"), "{error:#}");
    }
}
