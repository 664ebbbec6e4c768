//! Which files of pictures a name on the command line stands for.
use super::decode::FORMATS;
use crate::process::one_line;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};

/// How the names of pictures end in a folder.
const ENDINGS: [&str; 8] = ["png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff"];

/// The file itself; of a folder the pictures in it, told by their endings, in the order of their names; or the files that
/// match a pattern with `*`, `?` or `[…]`, which not every shell does for the program.
///
/// # Errors
/// When a folder cannot be read or has no pictures, or nothing matches.
pub fn pictures(named: &Path) -> Result<Vec<PathBuf>> {
    if named.is_dir() {
        return in_folder(named);
    }
    match named.to_str() {
        Some(pattern) if !named.exists() && pattern.contains(['*', '?', '[']) => matching(pattern),
        _ => Ok(vec![named.to_path_buf()]),
    }
}

/// Whether a name ends as those of pictures do.
pub fn is_called_picture(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|own| ENDINGS.iter().any(|e| e.eq_ignore_ascii_case(own)))
}

fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let shown = one_line(folder);
    let reading = || format!("reading {shown}");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if is_called_picture(&path) {
            found.push(path);
        }
    }
    ensure!(
        !found.is_empty(),
        "{shown} is a folder without files that end like {FORMATS} pictures: name the pictures themselves, or those of \
         another folder, as in {}",
        one_line(folder.join("*.png"))
    );
    found.sort();
    Ok(found)
}

fn matching(pattern: &str) -> Result<Vec<PathBuf>> {
    let Ok(paths) = glob::glob(pattern) else {
        // It is no pattern, so that it can only be the name of a file, which is not there.
        return Ok(vec![PathBuf::from(pattern)]);
    };
    let found = paths.collect::<Result<Vec<PathBuf>, _>>()?;
    ensure!(!found.is_empty(), "{pattern}: no file matches");
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_patterns_stand_for_the_pictures_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["b.png", "a.JPG", "notes.txt", "c.gif", "[x].png"] {
            fs::write(at(name), b"").unwrap();
        }
        fs::create_dir(at("none")).unwrap();
        let all = ["[x].png", "a.JPG", "b.png", "c.gif"].map(at);
        assert_eq!(pictures(folder.path()).unwrap(), all);
        assert_eq!(pictures(&at("?.png")).unwrap(), [at("b.png")]);
        // A file of that name is no pattern.
        assert_eq!(pictures(&at("[x].png")).unwrap(), [at("[x].png")]);
        // Nor is what cannot be one.
        for name in ["no.png", "no[.png"] {
            assert_eq!(pictures(&at(name)).unwrap(), [at(name)]);
        }
        for (name, word) in [("*.webp", "no file matches"), ("none", "a folder without")] {
            let error = pictures(&at(name)).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
