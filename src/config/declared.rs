//! What follows from a declaration of settings: arguments whose values may come from anywhere.
use super::counts::{LAYERS, SHAPE};
use super::levels::CHANNELS;
use super::settings::{ON_RESUME, TrainConfig};
use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::{Arg, ArgAction, ArgGroup, Args, Command};
use std::collections::BTreeSet;

/// What the variables of settings begin with.
pub const PREFIX: &str = "RESNET_";

/// The arguments of a group of settings.
pub fn args<G: Args>() -> Vec<Arg> {
    G::augment_args(Command::new("settings"))
        .get_arguments()
        .map(valued)
        .collect()
}

/// Parses all settings, each given as [`flag`] makes it.
pub fn command() -> Command {
    Command::new("settings")
        .group(on_resume_group())
        .args(all())
        .no_binary_name(true)
        .args_override_self(true)
        .disable_help_flag(true)
}

/// A command with settings has this group, of which any number may be given.
pub fn on_resume_group() -> ArgGroup {
    ArgGroup::new(ON_RESUME).multiple(true)
}

/// All settings, in the order of their declaration.
pub fn all() -> Vec<Arg> {
    args::<TrainConfig>()
}

/// The settings that a resumed run may change.
pub fn on_resume() -> BTreeSet<String> {
    let mut command = command();
    command.build();
    let group = command
        .get_groups()
        .find(|group| group.get_id() == ON_RESUME);
    let group = group.expect("added by augment");
    group.get_args().map(|id| id.to_string()).collect()
}

/// The flag of a setting with its value, as one argument.
pub fn flag(key: &str, text: &str) -> String {
    format!("{}={text}", long(key))
}

/// The flag of a setting.
pub fn long(key: &str) -> String {
    let args = all();
    let arg = args.iter().find(|arg| arg.get_id() == key);
    let long = arg
        .and_then(Arg::get_long)
        .expect("every setting has a flag");
    format!("--{long}")
}

/// The environment variable of a setting.
pub fn variable(key: &str) -> String {
    let name = long(key).to_uppercase();
    format!("{PREFIX}{}", name.trim_start_matches('-').replace('-', "_"))
}

/// Whether the setting is on or off, and its flag alone says which.
pub fn is_switch(arg: &Arg) -> bool {
    arg.get_num_args() == Some((0..=1).into())
}

/// Whether the setting is several numbers.
pub fn is_list(arg: &Arg) -> bool {
    arg.get_value_names().is_some_and(|names| {
        names
            .iter()
            .any(|name| [SHAPE, CHANNELS, LAYERS].contains(&name.as_str()))
    })
}

/// Whether the flag says the opposite of the setting.
pub fn negates(arg: &Arg) -> bool {
    arg.get_long() != Some(&arg.get_id().as_str().replace('_', "-"))
}

/// Lets a switch take a value too, so that `--nesterov=false` can undo what a file says.
fn valued(arg: &Arg) -> Arg {
    let arg = arg.clone();
    let negated = match arg.get_action() {
        ArgAction::SetTrue => false,
        ArgAction::SetFalse => true,
        // A number below zero is no flag, but a wrong value.
        _ => return arg.allow_negative_numbers(true),
    };
    arg.action(ArgAction::Set)
        .num_args(0..=1)
        .require_equals(true)
        .default_missing_value("true")
        .default_value("false")
        .hide_default_value(true)
        .hide_possible_values(true)
        .value_name("BOOL")
        .value_parser(BoolishValueParser::new().map(move |said| said != negated))
}
