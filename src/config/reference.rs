//! All settings as a page of documentation.
use super::declared;
use clap::Arg;
use std::fmt::Write;

const HEAD: &str = "# Settings

A setting is given by a flag, a `RESNET_…` variable or a key of a TOML file. Flags beat variables, variables beat
`--config FILE`, and that beats the defaults. A run's folder has them all in its `config.toml`. `resnet config` prints
the resolved settings and where each value comes from. A switch takes `=false` too, which undoes what a file says.

This page is written by `resnet config --reference`.
";

/// The page, in Markdown: a table for each group.
pub fn reference() -> String {
    let mut page = HEAD.to_string();
    let mut heading = None;
    let on_resume = declared::on_resume();
    let args = declared::all();
    for arg in &args {
        let group = arg.get_help_heading();
        if group != heading {
            heading = group;
            let title = group.unwrap_or("Others");
            let _ = write!(
                page,
                "\n## {title}\n\n| Key | Flag and variable | Default | Changes on resume | |\n|---|---|---|---|---|\n"
            );
        }
        let key = arg.get_id().as_str();
        let resume = if on_resume.contains(key) { "yes" } else { "" };
        let _ = writeln!(
            page,
            "| `{key}` | `{}`<br>`{}` | {} | {resume} | {} |",
            flag(arg),
            declared::variable(key),
            default(arg),
            help(arg)
        );
    }
    page
}

fn flag(arg: &Arg) -> String {
    let flag = declared::long(arg.get_id().as_str());
    if declared::is_switch(arg) {
        return flag;
    }
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .map(|v| v.get_name().to_string())
        .collect();
    let name = arg
        .get_value_names()
        .and_then(|names| names.first())
        .map(ToString::to_string);
    let value = match values.is_empty() {
        true => name.unwrap_or_default().replace('|', "\\|"),
        false => values.join("\\|"),
    };
    format!("{flag} {value}")
}

fn default(arg: &Arg) -> String {
    let given = arg
        .get_default_values()
        .first()
        .map(|value| value.to_string_lossy().into_owned());
    match (declared::is_switch(arg), given) {
        (true, _) => format!("`{}`", declared::negates(arg)),
        (false, Some(value)) => format!("`{value}`"),
        (false, None) => String::new(),
    }
}

fn help(arg: &Arg) -> String {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    help.replace('\n', " ").replace('|', "\\|")
}
