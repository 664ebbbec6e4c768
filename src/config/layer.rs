//! Settings as a file, the environment or the command line gives them: checked one by one, not yet merged.
use super::again;
use super::declared;
use super::names;
use crate::files;
use crate::ops::tuning::TuningTable;
use crate::process::one_line;
use anyhow::{Context, Result, anyhow, bail};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// No file of settings comes near this many bytes.
const MOST_BYTES: u64 = 1 << 20;

/// Some settings from one place.
#[derive(Clone, PartialEq, Debug)]
pub struct Layer {
    place: Place,
    /// Settings by their keys, each as the text that its flag takes.
    pub(super) texts: BTreeMap<String, String>,
    /// What an earlier run was autotuned to.
    pub(super) tilings: TuningTable,
}

#[derive(Clone, PartialEq, Debug)]
enum Place {
    File(PathBuf),
    Environment,
    Flags,
}

/// What gave a setting its value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A file, with its path.
    File(PathBuf),
    /// An environment variable, with its name.
    Variable(String),
    /// A flag, with its name.
    Flag(String),
}

impl Layer {
    /// The settings in a file.
    ///
    /// # Errors
    /// When the file cannot be read, has an unknown key or a wrong value.
    pub fn file(path: &Path) -> Result<Layer> {
        let shown = one_line(path);
        let bytes = files::read(path, MOST_BYTES);
        let text = bytes.and_then(|bytes| Ok(String::from_utf8(bytes)?));
        let text = text.with_context(|| format!("{shown}: the file of settings cannot be read"))?;
        let mut table: toml::Table = text.parse().with_context(|| shown.to_string())?;
        let mut layer = Layer::empty(Place::File(path.to_path_buf()));
        if let Some(tilings) = table.remove("tilings") {
            layer.tilings = tilings
                .try_into()
                .with_context(|| format!("{shown}: tilings"))?;
        }
        let args = declared::all();
        for (key, value) in table {
            let Some(arg) = args.iter().find(|arg| *arg.get_id() == *key) else {
                bail!(
                    "{shown}: unknown key `{key}`; {}",
                    names::advice(&key, &args)
                );
            };
            let Some(text) = again::text_of(arg, &value) else {
                bail!("{shown}: {key} must be one value");
            };
            layer.insert(arg, text)?;
        }
        Ok(layer)
    }

    /// The same but for the device, which belongs to a machine and not to a run.
    pub fn without_device(mut self) -> Layer {
        for key in ["device", "threads", "checked"] {
            self.texts.remove(key);
        }
        self
    }

    /// The same with a value for a setting that is not there.
    ///
    /// # Errors
    /// When there is no such setting or the value is wrong.
    pub fn or(mut self, key: &str, text: &str) -> Result<Layer> {
        if !self.texts.contains_key(key) {
            let args = declared::all();
            let arg = args.iter().find(|arg| *arg.get_id() == *key);
            let arg = arg.with_context(|| format!("there is no setting {key}"))?;
            self.insert(arg, text.to_string())?;
        }
        Ok(self)
    }

    fn empty(place: Place) -> Layer {
        Layer {
            place,
            texts: BTreeMap::new(),
            tilings: TuningTable::default(),
        }
    }

    /// Adds a setting whose value is right.
    fn insert(&mut self, arg: &Arg, text: String) -> Result<()> {
        let key = arg.get_id().as_str();
        if let Err(error) = declared::command().try_get_matches_from([declared::flag(key, &text)]) {
            bail!("{}: {}", self.source(key).says(key, &text), reason(&error));
        }
        self.texts.insert(key.to_string(), text);
        Ok(())
    }

    /// What gives this setting its value.
    pub(super) fn source(&self, key: &str) -> Source {
        match &self.place {
            Place::File(path) => Source::File(path.clone()),
            Place::Environment => Source::Variable(declared::variable(key)),
            Place::Flags => Source::Flag(declared::long(key)),
        }
    }
}

impl Source {
    /// How the user gave a setting.
    pub(super) fn says(&self, key: &str, text: &str) -> String {
        match self {
            Source::File(path) => format!("{}: {key} = {}", one_line(path), one_line(text)),
            Source::Variable(name) => format!("{name}={}", one_line(text)),
            Source::Flag(flag) => format!("{flag} {}", one_line(text)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", one_line(path)),
            Source::Variable(name) | Source::Flag(name) => f.write_str(name),
        }
    }
}

/// Why the parser refuses a value.
fn reason(error: &clap::Error) -> String {
    match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(valid))) if !valid.is_empty() => {
            let wrong = match error.get(ContextKind::InvalidValue) {
                Some(ContextValue::String(wrong)) => wrong.as_str(),
                _ => "",
            };
            let near = names::nearest(wrong, valid.iter().map(String::as_str));
            let near = near.map_or(String::new(), |near| format!("did you mean `{near}`? It "));
            format!("{near}must be one of {}", valid.join(", "))
        }
        (None, Some(_)) => "must not be empty".to_string(),
        (None, _) => error.kind().to_string(),
    }
}

/// What the environment and the command line give of the settings in `G`. A command takes it by
/// `#[command(flatten)]`.
#[derive(Clone, Debug)]
pub struct Given<G> {
    layers: [Layer; 2],
    group: PhantomData<G>,
}

impl<G> Given<G> {
    /// The environment, and over it the flags.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }
}

impl<G: Args> Args for Given<G> {
    fn augment_args(command: Command) -> Command {
        let documented = |arg: Arg| {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let variable = declared::variable(arg.get_id().as_str());
            arg.help(format!("{help} [env: {variable}]"))
        };
        command
            .group(declared::on_resume_group())
            .args(declared::args::<G>().into_iter().map(documented))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<G: Args> FromArgMatches for Given<G> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Given<G>, clap::Error> {
        let usage = |error: anyhow::Error| {
            clap::Error::raw(ErrorKind::ValueValidation, format!("{error:#}\n"))
        };
        let mut environment = Layer::empty(Place::Environment);
        let mut flags = Layer::empty(Place::Flags);
        for arg in declared::args::<G>() {
            let key = arg.get_id().as_str();
            let variable = declared::variable(key);
            if let Some(text) = std::env::var_os(&variable) {
                let text = utf8(&variable, &text).map_err(usage)?;
                environment.insert(&arg, text).map_err(usage)?;
            }
            if matches.value_source(key) == Some(ValueSource::CommandLine) {
                let given = matches.get_raw(key).into_iter().flatten().next_back();
                let text = given.expect("given on the command line");
                let text = utf8(&declared::long(key), text).map_err(usage)?;
                flags.texts.insert(key.to_string(), text);
            }
        }
        names::check_environment().map_err(usage)?;
        Ok(Given {
            layers: [environment, flags],
            group: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// The text of a value, which is refused where it could only be kept changed.
fn utf8(of: &str, text: &OsStr) -> Result<String> {
    let text = text.to_str().map(str::to_string);
    text.ok_or_else(|| {
        anyhow!("{of} must be valid UTF-8: settings are kept as text; rename the file or folder")
    })
}
