//! Names that are not those of a setting: which one was probably meant.
use super::declared::{self, PREFIX};
use crate::process::{command, one_line};
use anyhow::{Result, bail};
use clap::Arg;

/// Variables that begin as those of settings do and are read elsewhere.
const OTHERS: [&str; 3] = [
    crate::kernels::simd::VARIABLE,
    crate::kernels::precision::VARIABLE,
    crate::backend::gpu::cooperative::VARIABLE,
];

/// What the names of variables begin with that cargo sets or only scripts and tests of this repository read.
const OF_SCRIPTS: [&str; 6] = [
    "RESNET_BACKPORTS",
    "RESNET_GPU_",
    "RESNET_MPI",
    "RESNET_PEERS_",
    "RESNET_REQUIRE_GPU",
    "RESNET_WGPU",
];

/// Flags that are no settings, and what they take.
const FLAGS_ONLY: [(&str, &str); 4] = [
    ("config", " FILE"),
    ("resume", " RUN"),
    ("json", ""),
    ("classes", " N"),
];

/// What a flag calls a value.
pub fn value_name(value: &impl clap::ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or(String::new(), |value| value.get_name().to_string())
}

/// What to say to somebody who wrote an unknown key into a file.
pub fn advice(unknown: &str, args: &[Arg]) -> String {
    let keys = args.iter().map(|arg| arg.get_id().as_str());
    if let Some((arg, opposite)) = meant(unknown, args) {
        let key = arg.get_id();
        return match (declared::is_switch(arg), opposite) {
            (true, true) => format!("write `{key} = false` for it"),
            _ => format!("did you mean `{key}`?"),
        };
    }
    let flag = FLAGS_ONLY.iter().find(|(flag, _)| *flag == plain(unknown));
    if let Some((flag, takes)) = flag {
        return format!("--{flag}{takes} is a flag and no setting");
    }
    match nearest(unknown, keys.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the settings are {}", keys.collect::<Vec<_>>().join(", ")),
    }
}

/// Refuses a variable that is probably a mistyped one of a setting.
pub fn check_environment() -> Result<()> {
    for (name, _) in std::env::vars_os() {
        if let Some(why) = name.to_str().and_then(refusal) {
            bail!(why);
        }
    }
    Ok(())
}

/// What people should know about variables that begin as those of settings do, but that nothing reads.
pub fn unread_variables() -> Vec<String> {
    let names = std::env::vars_os().map(|(name, _)| one_line(&name));
    let unread = names.filter(|name| is_unread(name));
    let told = unread.map(|name| {
        format!(
            "{name} is set, but nothing reads it: `{}` has all settings",
            command("config")
        )
    });
    told.collect()
}

/// Whether a variable seems to be meant for this program and is neither known nor refused.
fn is_unread(name: &str) -> bool {
    let known = known_variables(&declared::all());
    strip_prefix_in_any_case(name).is_some() && !is_known(name, &known) && refusal(name).is_none()
}

/// The variables that the program reads.
fn known_variables(args: &[Arg]) -> Vec<String> {
    let keys = args.iter().map(|arg| arg.get_id().as_str());
    let of_settings = keys.map(declared::variable);
    of_settings.chain(OTHERS.map(str::to_string)).collect()
}

/// Whether the program, a script or a test reads a variable, `known` being those that the program does.
fn is_known(name: &str, known: &[String]) -> bool {
    // Windows does not tell the cases of names apart.
    let is_same =
        |known: &String| *known == name || (cfg!(windows) && known.eq_ignore_ascii_case(name));
    let is_of_script = |begins: &&str| name.starts_with(*begins);
    known.iter().any(is_same) || OF_SCRIPTS.iter().any(is_of_script)
}

/// Why a variable is refused, if it is: its name is near to that of a setting.
fn refusal(name: &str) -> Option<String> {
    let own = strip_prefix_in_any_case(name)?;
    let args = declared::all();
    let known = known_variables(&args);
    if is_known(name, &known) {
        return None;
    }
    if let Some((arg, opposite)) = meant(own, &args) {
        let right = declared::variable(arg.get_id().as_str());
        // The variable of a switch that negates says the opposite of the setting.
        let value = match opposite != declared::negates(arg) && declared::is_switch(arg) {
            true => "=false",
            false => "",
        };
        return Some(format!(
            "{name} is no setting; did you mean {right}{value}?"
        ));
    }
    let flag = FLAGS_ONLY.iter().find(|(flag, _)| *flag == plain(own));
    if let Some((flag, takes)) = flag {
        return Some(format!(
            "{name} is not read, since --{flag} is no setting: give --{flag}{takes}"
        ));
    }
    let upper = own.to_uppercase();
    let known_own = known.iter().filter_map(|known| known.strip_prefix(PREFIX));
    let near = nearest(&upper, known_own)?;
    Some(format!(
        "{name} is no setting; did you mean {PREFIX}{near}?"
    ))
}

/// The setting whose name is written in another way, and whether its opposite is named.
fn meant<'a>(written: &str, args: &'a [Arg]) -> Option<(&'a Arg, bool)> {
    let written = plain(written);
    let find = |key: &str| args.iter().find(|arg| *arg.get_id() == *key);
    if let Some(arg) = find(&written) {
        return Some((arg, false));
    }
    let opposite = find(written.strip_prefix("no_")?)?;
    declared::is_switch(opposite).then_some((opposite, true))
}

/// A name as the keys of settings are written.
fn plain(name: &str) -> String {
    let name = name.to_lowercase().replace(['-', ' ', '.'], "_");
    name.trim_matches('_').to_string()
}

fn strip_prefix_in_any_case(name: &str) -> Option<&str> {
    let (prefix, own) = name.split_at_checked(PREFIX.len())?;
    prefix.eq_ignore_ascii_case(PREFIX).then_some(own)
}

/// The known name that is nearest to an unknown one, if any is near.
pub fn nearest<'k>(unknown: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let alike = |name: &str| strsim::damerau_levenshtein(unknown, name);
    let near = known.min_by_key(|name| alike(name))?;
    (alike(near) <= 1 + unknown.len().min(near.len()) / 8).then_some(near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_that_names_a_setting_in_another_way_is_told_the_right_name() {
        for (name, right) in [
            ("RESNET_SHUFFLE", "mean RESNET_NO_SHUFFLE=false?"),
            ("RESNET_FUSE", "mean RESNET_NO_FUSE=false?"),
            ("RESNET_no_fuse", "mean RESNET_NO_FUSE?"),
            ("RESNET_NO_FLIP", "mean RESNET_FLIP=false?"),
            ("RESNET_NO_NESTEROV", "mean RESNET_NESTEROV=false?"),
            ("RESNET_lr", "mean RESNET_LR?"),
            ("resnet_lr", "mean RESNET_LR?"),
            ("RESNET_BATCH-SIZE", "mean RESNET_BATCH_SIZE?"),
            ("RESNET_EPOCH", "mean RESNET_EPOCHS?"),
            ("RESNET_CONFIG", "give --config FILE"),
            ("Resnet_Resume", "give --resume RUN"),
            ("RESNET_CLASSES", "give --classes N"),
        ] {
            let why = refusal(name);
            let says = why
                .as_ref()
                .is_some_and(|why| why.starts_with(name) && why.contains(right));
            // Windows reads these.
            assert!(says || (cfg!(windows) && why.is_none()), "{name}: {why:?}");
        }
        for name in [
            "RESNET_LR",
            "RESNET_NO_SHUFFLE",
            "RESNET_CPU_ISA",
            "RESNET_HOME",
            "LR",
        ] {
            assert_eq!(refusal(name), None);
        }
    }

    #[test]
    fn a_variable_that_nothing_reads_is_told_of() {
        for name in ["RESNET_GAMMA", "RESNET_HOME", "resnet_home", "RESNET_"] {
            assert!(is_unread(name), "{name}");
        }
        for name in [
            "RESNET_LR",
            // Refused.
            "RESNET_EPOCH",
            "RESNET_CPU_ISA",
            "RESNET_GPU_MATRICES",
            "RESNET_PEERS_VENV",
            "RESNET_BACKPORTS",
            "RESNET_REQUIRE_GPU",
            "RESNET_WGPU",
            "RESNETS",
            "LR",
        ] {
            assert!(!is_unread(name), "{name}");
        }
    }

    #[test]
    fn a_key_that_names_a_setting_in_another_way_is_told_the_right_one() {
        let args = declared::all();
        for (key, says) in [
            ("no_shuffle", "write `shuffle = false`"),
            ("no-fuse", "write `fuse = false`"),
            ("NO_FLIP", "write `flip = false`"),
            ("lr-", "did you mean `lr`?"),
            ("batch-size", "did you mean `batch_size`?"),
            ("Epochs", "did you mean `epochs`?"),
            ("scheduler", "did you mean `schedule`?"),
            ("resume", "--resume RUN is a flag"),
            ("depth", "the settings are device,"),
            ("no_lr", "the settings are device,"),
        ] {
            let advice = advice(key, &args);
            assert!(advice.contains(says), "{key}: {advice}");
        }
    }
}
