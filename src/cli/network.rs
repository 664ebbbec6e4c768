//! Which network a training makes: the one that the settings choose, or that of the weights it begins with.
use crate::config::{Network, Resolved, Source, Usage, value_name};
use crate::data::Info;
use crate::model::Arch;
use crate::model::zoo::{Choice, title};
use crate::process::{self, one_line};
use crate::train::checkpoint::WeightsFile;
use anyhow::{Context, Result};

/// The settings that choose a network.
const KEYS: [&str; 6] = ["arch", "variant", "preact", "stem", "widths", "blocks"];

/// The network for these data, and the settings that choose it, with all said that they leave open.
///
/// # Errors
/// When a size is out of range.
pub fn chosen(settings: &Network, data: &Info) -> Result<(Arch, Network)> {
    let arch = settings
        .choice()
        .arch(data.channels, data.classes.len())
        .map_err(Usage::error)?;
    let choice = Choice::of(&arch).context("a network that was chosen can be chosen")?;
    Ok((arch, said(settings, choice)))
}

/// The network of a file of weights, and the settings that choose it.
///
/// # Errors
/// When the file cannot be read or is of no network of this program, or a setting that is given contradicts it.
pub fn of_weights(weights: &WeightsFile, resolved: &Resolved) -> Result<(Arch, Network)> {
    let (settings, sources) = (&resolved.config.network, &resolved.sources);
    if let Some(flag @ Source::Flag(_)) = sources.get("zero_init_residual") {
        return Err(Usage::error(format!(
            "{flag} is for new weights, but --init gives them: leave it out"
        )));
    }
    let shown = one_line(weights.path());
    let arch = match weights.told()? {
        Some(info) => info.arch,
        None if resolved.config.begin.new_head => weights.recognise_body()?,
        None => weights.recognise()?,
    };
    let own = Choice::of(&arch).with_context(|| {
        format!(
            "{shown} holds {}: no choice of --arch, --variant, --preact, --stem, --widths and --blocks gives this network",
            title(&arch)
        )
    })?;
    let given: Vec<&str> = KEYS
        .into_iter()
        .filter(|key| sources.contains_key(*key))
        .collect();
    let wanted = wanted(&given, settings.choice(), &own);
    // What cannot be together is not what the file holds either.
    if wanted.arch(arch.in_channels, arch.classes).ok().as_ref() != Some(&arch) {
        let one_by_one = given.iter().find(|key| {
            let alone = self::wanted(&[key], settings.choice(), &own);
            alone.arch(arch.in_channels, arch.classes).ok().as_ref() != Some(&arch)
        });
        let key = one_by_one
            .or(given.first())
            .context("the file's own network is its own")?;
        return Err(Usage::error(format!(
            "{} asks for {}, but {shown} holds {}: leave it out, or take other weights",
            sources[*key],
            asked(key, settings),
            title(&arch)
        )));
    }
    if let (Some(source), true) = (
        sources.get("zero_init_residual"),
        settings.zero_init_residual,
    ) {
        process::say(format_args!(
            "zero_init_residual of {source} is for new weights, but --init gives them: it is left out"
        ));
    }
    let settings = Network {
        zero_init_residual: false,
        ..settings.clone()
    };
    Ok((arch, said(&settings, own)))
}

/// The file's choice, but for what is given. A name that is given brings its widths and blocks along.
fn wanted(given: &[&str], settings: Choice, own: &Choice) -> Choice {
    let is = |key: &str| given.contains(&key);
    let own = own.clone();
    Choice {
        name: if is("arch") { settings.name } else { own.name },
        variant: if is("variant") {
            settings.variant
        } else {
            own.variant
        },
        preact: if is("preact") {
            settings.preact
        } else {
            own.preact
        },
        stem: if is("stem") { settings.stem } else { own.stem },
        widths: if is("arch") || is("widths") {
            settings.widths
        } else {
            own.widths
        },
        blocks: if is("arch") || is("blocks") {
            settings.blocks
        } else {
            own.blocks
        },
    }
}

/// What a setting asks for, as a flag says it.
fn asked(key: &str, settings: &Network) -> String {
    let counts = |counts: &Option<_>| counts.as_ref().map_or(String::new(), ToString::to_string);
    match key {
        "arch" => value_name(&settings.arch),
        "variant" => settings.variant.as_ref().map_or(String::new(), value_name),
        "stem" => settings.stem.as_ref().map_or(String::new(), value_name),
        "widths" => counts(&settings.widths),
        "blocks" => counts(&settings.blocks),
        _ if settings.preact => "pre-activation blocks".to_string(),
        _ => "blocks without pre-activation".to_string(),
    }
}

fn said(settings: &Network, choice: Choice) -> Network {
    let mut said = settings.clone();
    said.choose(choice);
    said
}
