//! Whether what a folder of pictures holds can be trained on, and what people should know about it.
use super::source::{ImageSource, Split};
use crate::process::command;
use anyhow::{Result, bail, ensure};

/// Classes whose largest has so many times the images of the smallest are said to be uneven.
const UNEVEN: usize = 10;

/// Files that may be broken in any case.
const LEAST_BROKEN: usize = 5;

/// What a user lets pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Allowed {
    /// Files that cannot be read; by default 1 % of all, and five at least.
    pub broken: Option<usize>,
    /// Whether a class may have no images.
    pub empty: bool,
    /// Whether any classes will do, as where a trained network is evaluated.
    pub any: bool,
}

impl Allowed {
    /// Files of so many that may be broken.
    pub fn broken_of(&self, all: usize) -> usize {
        self.broken.unwrap_or((all / 100).max(LEAST_BROKEN))
    }
}

/// Refuses classes that cannot be learnt; `counts` has the images of each class in each of [`Split::ALL`].
///
/// # Errors
/// For a single class, a class without images unless that is allowed, and one that is only in other splits than train.
pub fn classes(
    of: &str,
    classes: &[String],
    counts: &[[usize; 3]],
    allowed: Allowed,
) -> Result<()> {
    if allowed.any {
        return Ok(());
    }
    ensure!(
        classes.len() > 1,
        "{of} has {}: at least two are needed. If the folders of the classes are further down, name the folder that they are \
         in",
        match classes.first() {
            Some(only) => format!("a single class, {only}"),
            None => "no class".to_string(),
        }
    );
    let empty: Vec<&str> = with(classes, counts, |counts| {
        counts.iter().all(|count| *count == 0)
    });
    if !empty.is_empty() && !allowed.empty {
        bail!(
            "{of}: there is no picture of {}: remove the folder, or keep the class by --allow-empty",
            listed(&empty)
        );
    }
    for split in [Split::Validation, Split::Test] {
        let alone = with(classes, counts, |counts| {
            counts[0] == 0 && counts[split as usize] > 0
        });
        ensure!(
            alone.is_empty(),
            "{of}: among the {} images there are pictures of {}, but none among those to train on: add some, or remove \
             them",
            split.name(),
            listed(&alone)
        );
    }
    Ok(())
}

/// Refuses more broken files of `all` than are allowed.
///
/// # Errors
/// Naming some of them.
pub fn broken(of: &str, broken: &[[String; 2]], all: usize, allowed: Allowed) -> Result<()> {
    let most = allowed.broken_of(all);
    if broken.len() <= most {
        return Ok(());
    }
    let named: Vec<String> = broken
        .iter()
        .take(5)
        .map(|[path, why]| format!("{path}: {why}"))
        .collect();
    bail!(
        "{} of {all} pictures in {} cannot be read, and --max-broken allows {most}:\n  {}\n`{} DIR` lists all; mend or remove \
         them, or leave them out by --max-broken {}",
        broken.len(),
        of,
        named.join("\n  "),
        command("data"),
        broken.len()
    );
}

/// What people should know about the classes of a set.
pub fn notes(classes: &[String], counts: &[[usize; 3]]) -> Vec<String> {
    let mut notes = Vec::new();
    for split in [Split::Validation, Split::Test] {
        let at = split as usize;
        let lacking = with(classes, counts, |counts| counts[0] > 0 && counts[at] == 0);
        if counts.iter().any(|counts| counts[at] > 0) && !lacking.is_empty() {
            notes.push(format!(
                "there is no {} image of {}",
                split.name(),
                listed(&lacking)
            ));
        }
    }
    let trained = || {
        classes
            .iter()
            .zip(counts)
            .filter(|(_, counts)| counts[0] > 0)
    };
    let most = trained().max_by_key(|(_, counts)| counts[0]);
    let least = trained().min_by_key(|(_, counts)| counts[0]);
    if let (Some((most, [many, ..])), Some((least, [few, ..]))) = (most, least)
        && *many >= UNEVEN * few
    {
        notes.push(format!(
            "the classes are uneven: {many} training images of {most}, {few} of {least}. Accuracy then says little about the \
             rare ones: `{}` tells of each class, and a training with --class-weights balanced counts them alike",
            command("eval")
        ));
    }
    notes
}

/// The images of each class in each of [`Split::ALL`].
pub fn counts(source: &dyn ImageSource) -> Vec<[usize; 3]> {
    let mut counts = vec![[0; 3]; source.info().classes.len()];
    for split in Split::ALL {
        for &label in source.labels(split) {
            counts[label as usize][split as usize] += 1;
        }
    }
    counts
}

/// Refuses a set of pictures that cannot be trained on, or has more broken ones than are allowed.
///
/// # Errors
/// As [`classes`] and [`broken`].
pub fn check(source: &dyn ImageSource, allowed: Allowed) -> Result<()> {
    let (info, counts) = (source.info(), counts(source));
    let Some(found) = &info.found else {
        return Ok(());
    };
    let images: usize = counts.iter().flatten().sum();
    broken(
        &info.name,
        &found.broken,
        found.broken.len() + images,
        allowed,
    )?;
    classes(&info.name, &info.classes, &counts, allowed)
}

/// The classes whose counts are so.
fn with<'c>(
    classes: &'c [String],
    counts: &[[usize; 3]],
    is: impl Fn(&[usize; 3]) -> bool,
) -> Vec<&'c str> {
    let all = classes.iter().zip(counts);
    all.filter(|(_, counts)| is(counts))
        .map(|(class, _)| class.as_str())
        .collect()
}

/// The first of some names, and how many more there are.
pub fn listed(names: &[&str]) -> String {
    const MOST: usize = 5;
    let shown = names[..names.len().min(MOST)].join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
