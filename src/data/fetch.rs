//! Downloading Fashion-MNIST into the cache. A file gets its name there only once its contents are
//! known to be right, so that nothing half-downloaded is ever taken for data.
use super::{FILES, Known, idx};
use crate::files::{replace, sync_folder};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// A mirror that serves the original files over HTTPS.
pub const MIRROR: &str = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/";

/// No file of the data set comes near this many bytes.
const TOO_LARGE: u64 = 64 << 20;

/// How long a server is waited for.
#[derive(Clone, Copy)]
struct Patience {
    /// Without a byte for this long, the connection counts as dead.
    idle: Duration,
    /// After this long, it must have sent [`SLOWEST`] bytes a second on average.
    start: Duration,
    /// A file that takes longer is given up.
    total: Duration,
}

const PATIENCE: Patience = Patience {
    idle: Duration::from_secs(30),
    start: Duration::from_secs(60),
    total: Duration::from_secs(20 * 60),
};

/// Bytes a second of the slowest connection; the largest file takes two minutes at ten times as much for each MiB.
const SLOWEST: f64 = 4096.0;

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
        let bytes = download(&url, PATIENCE, |done, all| progress(&name, done, all));
        let bytes = bytes.with_context(|| {
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

fn download(
    url: &str,
    patience: Patience,
    mut progress: impl FnMut(u64, Option<u64>),
) -> Result<Vec<u8>> {
    let config = ureq::Agent::config_builder()
        .timeout_global(Some(patience.total))
        .timeout_connect(Some(patience.idle))
        .timeout_recv_response(Some(patience.idle))
        .timeout_per_read(Some(patience.idle))
        .build();
    let started = Instant::now();
    let mut response = ureq::Agent::new_with_config(config).get(url).call()?;
    let all = response.body().content_length();
    ensure!(
        all.is_none_or(|all| all <= TOO_LARGE),
        "the server announces {} bytes, more than any file of the data set has",
        all.unwrap_or(0)
    );
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
        let seconds = started.elapsed();
        ensure!(
            seconds < patience.start || bytes.len() as f64 >= SLOWEST * seconds.as_secs_f64(),
            "the server sent only {} bytes in {} seconds",
            bytes.len(),
            seconds.as_secs()
        );
        ensure!(
            seconds < patience.total,
            "one file takes more time than {} minutes",
            patience.total.as_secs() / 60
        );
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

    /// A server that answers the first request so, a byte every 20 milliseconds after its headers.
    fn drip(headers: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/file", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 2048]);
                let _ = stream.write_all(headers.as_bytes());
                while !headers.contains("Location") && stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        address
    }

    #[test]
    fn a_server_that_is_slow_or_lies_is_given_up() {
        let ms = Duration::from_millis;
        let fails = |headers, patience, word: &str| {
            let error = download(&drip(headers), patience, |_, _| ()).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{error:#}");
        };
        let slow = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
        let patience = Patience {
            start: ms(200),
            ..PATIENCE
        };
        fails(slow, patience, "the server sent only");
        let total = Patience {
            total: ms(200),
            ..PATIENCE
        };
        fails(slow, total, "time");
        // The headers never end.
        fails("HTTP/1.1 200 OK\r\nX: ", total, "time");
        let huge = "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n";
        fails(huge, PATIENCE, "announces");
        // The server closes the connection: another request must not use it.
        let circle = "HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        fails(circle, PATIENCE, "redirect");
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
