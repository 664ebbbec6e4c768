//! Downloading the sets that have names into the cache. A file gets its name there only once its contents are
//! known to be right, so that nothing half-downloaded is ever taken for data.
use super::idx;
use super::known::{Known, Set, is_sum};
use crate::files::{replace, sync_folder};
use crate::process::one_line;
use anyhow::{Context, Result, bail, ensure};
use flate2::read::GzDecoder;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// No file comes near this many bytes: CIFAR-10's archive has 170 million.
const TOO_LARGE: u64 = 256 << 20;

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

/// Downloads what is missing or damaged of a set in `folder` from `mirror`. `progress` sees the name of each file,
/// the bytes that came so far, and the bytes to come where the server tells.
///
/// # Errors
/// When the network or the disk fails, or the mirror serves something else.
pub fn fetch(
    set: &Set,
    mirror: &str,
    folder: &Path,
    mut progress: impl FnMut(&str, u64, Option<u64>),
) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", one_line(folder)))?;
    let mut get = |name: &str| -> Result<(String, Vec<u8>)> {
        let url = format!("{}/{name}", mirror.trim_end_matches('/'));
        let bytes = download(&url, PATIENCE, |done, all| progress(name, done, all));
        let bytes = bytes.with_context(|| {
            format!(
                "downloading {url} failed; another mirror may be named by --url. {}",
                set.advice()
            )
        })?;
        Ok((url, bytes))
    };
    let right = |known: &&Known, ending: &str| {
        let path = folder.join(format!("{}{ending}", known.name));
        path.exists() && known.is(&path)
    };
    if let Some((archive, sum)) = set.archive {
        if set.files.iter().all(|known| right(&known, "")) {
            return Ok(());
        }
        let (url, bytes) = get(archive)?;
        ensure!(
            is_sum(sum, &bytes),
            "checking {url} failed (try another mirror by --url): its SHA-256 differs from that of the original file"
        );
        unpack(set, &bytes, folder).with_context(|| format!("unpacking {url}"))?;
    } else {
        for known in set.files.iter().filter(|known| !right(known, ".gz")) {
            let name = format!("{}.gz", known.name);
            let (url, bytes) = get(&name)?;
            check(known, &bytes)
                .with_context(|| format!("checking {url} failed (try another mirror by --url)"))?;
            replace(&folder.join(name), &bytes)?;
        }
    }
    sync_folder(folder)
}

/// Writes the files of a set out of its archive into a folder.
fn unpack(set: &Set, archive: &[u8], folder: &Path) -> Result<()> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let mut missing: Vec<&str> = set.files.iter().map(|known| known.name).collect();
    for entry in archive.entries()? {
        let mut entry = entry?;
        // Nothing but these names, wherever the archive has them, gets a place here.
        let path = entry.path()?.into_owned();
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(at) = missing.iter().position(|known| Some(*known) == name) else {
            continue;
        };
        ensure!(entry.size() <= TOO_LARGE, "{} is too large", missing[at]);
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        replace(&folder.join(missing.swap_remove(at)), &bytes)?;
    }
    match missing.first() {
        None => Ok(()),
        Some(name) => bail!("the archive has no file {name}"),
    }
}

fn check(known: &Known, gz: &[u8]) -> Result<()> {
    let plain = idx::unzip(gz).context("the download is not a complete gzip file")?;
    ensure!(
        known.matches(gz, &plain),
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
    use crate::data::known::{CIFAR10, DEBIAN, FASHION_MNIST};
    use crate::data::mnist;
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
            let bytes = fs::read(Path::new(DEBIAN).join(FASHION_MNIST.name).join(&name));
            bytes.ok().map(|bytes| (name, bytes))
        };
        let files = FASHION_MNIST.files.iter().map(read).collect();
        if Option::is_none(&files) {
            crate::process::say("SKIPPED: Debian's package of Fashion-MNIST is not installed");
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
            fetch(&FASHION_MNIST, &mirror, folder.path(), |name, _, _| {
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
            mnist::load(folder.path(), Some(&FASHION_MNIST))
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
        let name = format!("{}.gz", FASHION_MNIST.files[0].name);
        let sample = include_bytes!("sample/train-images-idx3-ubyte.gz");
        let fails = |body: &[u8], longer: bool, word: &str| {
            let mirror = serve(HashMap::from([(name.clone(), body.to_vec())]), longer);
            let folder = TempDir::new().unwrap();
            let error = fetch(&FASHION_MNIST, &mirror, folder.path(), |_, _, _| ()).unwrap_err();
            assert!(format!("{error:#}").contains(word), "{error:#}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        };
        fails(sample, false, "SHA-256");
        fails(&sample[..1000], false, "gzip");
        fails(sample, true, "downloading");
        fails(b"<html>moved</html>", false, "gzip");
        let folder = TempDir::new().unwrap();
        let nothing = serve(HashMap::new(), false);
        let error = fetch(&FASHION_MNIST, &nothing, folder.path(), |_, _, _| ()).unwrap_err();
        assert!(format!("{error:#}").contains("404"), "{error:#}");
    }

    /// An archive of these files, in a folder as the original has them.
    fn archive(names: &[&str]) -> Vec<u8> {
        let gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(gzip);
        for name in names {
            let mut header = tar::Header::new_gnu();
            header.set_size(name.len() as u64);
            header.set_mode(0o644);
            let path = format!("cifar-10-batches-bin/{name}");
            tar.append_data(&mut header, path, name.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap()
    }

    #[test]
    fn an_archive_is_checked_and_unpacked_by_the_names_of_its_files() {
        let mut names: Vec<&str> = CIFAR10.files.iter().map(|known| known.name).collect();
        names.insert(2, "readme.html");
        let folder = TempDir::new().unwrap();
        unpack(&CIFAR10, &archive(&names), folder.path()).unwrap();
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            CIFAR10.files.len()
        );
        let test = fs::read(folder.path().join("test_batch.bin")).unwrap();
        assert_eq!(test, b"test_batch.bin");
        let error = unpack(&CIFAR10, &archive(&names[1..]), folder.path()).unwrap_err();
        assert!(
            error.to_string().contains("no file data_batch_1.bin"),
            "{error}"
        );
        let whole = archive(&names);
        assert!(unpack(&CIFAR10, &whole[..whole.len() / 2], folder.path()).is_err());

        // What a mirror serves is not the original, so that nothing of it is kept.
        let (name, _) = CIFAR10.archive.unwrap();
        let mirror = serve(HashMap::from([(name.to_string(), whole)]), false);
        let folder = TempDir::new().unwrap();
        let error = fetch(&CIFAR10, &mirror, folder.path(), |_, _, _| ()).unwrap_err();
        assert!(
            format!("{error:#}").contains("SHA-256 differs"),
            "{error:#}"
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
