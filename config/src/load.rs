//! Lays the sources over each other. Each is first read alone, so that a mistake is told with the place it was made in.

use std::path::{Path, PathBuf};

use figment::error::{Actual, Kind};
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Provider};

use crate::check::Problems;
use crate::environment::{Environment, Profile, UnknownName};
use crate::model::Config;

/// Environment variables that set one key: `LARGESSE__LOG__SEGMENT_BYTES` is `log.segment-bytes`.
const PREFIX: &str = "LARGESSE__";

/// Everything that can have a say. What is not given is looked up in `environment`.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub profile: Option<Profile>,
    /// `--config`; else `LARGESSE_CONFIG`.
    pub file: Option<PathBuf>,
    /// The variables of the process; those that are not ours are ignored.
    pub environment: Vec<(String, String)>,
    pub flags: Vec<Flag>,
}

/// One key set on the command line.
#[derive(Clone, Debug)]
pub struct Flag {
    /// As typed: `--listen`.
    pub flag: &'static str,
    /// The key it sets, one whose value is written as a string: `http.listen`.
    pub key: &'static str,
    pub value: String,
}

/// The configuration, with where each value came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub environment: Environment,
    pub profile: Profile,
    pub(crate) figment: Figment,
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("LARGESSE_ENV: {0}")]
    Environment(UnknownName),
    #[error("cannot read the configuration file {path}: {error}; name another with --config")]
    File { path: PathBuf, error: std::io::Error },
    #[error("{source_name} is not valid TOML: {error}")]
    Syntax { source_name: String, error: String },
    #[error("{source_name}: there is no key `{key}`{}", hint(suggestion.as_deref(), known))]
    UnknownKey { source_name: String, key: String, suggestion: Option<String>, known: Vec<String> },
    #[error("{source_name}: `{key}`: {why}")]
    Value { source_name: String, key: String, why: String },
    #[error("the configuration does not fit together:\n{0}")]
    Check(Problems),
}

fn hint(suggestion: Option<&str>, known: &[String]) -> String {
    match suggestion {
        Some(key) => format!("; did you mean `{key}`?"),
        None => format!("; known here are {}", known.join(", ")),
    }
}

impl Sources {
    /// The sources of a process that was given nothing but its environment.
    pub fn of_process() -> Sources {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Sources { environment: std::env::vars_os().filter_map(text).collect(), ..Sources::default() }
    }

    /// Reads, lays over each other and checks.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        let loaded = self.load_unchecked()?;
        loaded.config.validate().map_err(LoadError::Check)?;
        Ok(loaded)
    }

    /// As `load`, for a caller that still has something to add before it checks.
    pub fn load_unchecked(&self) -> Result<Loaded, LoadError> {
        let environment = match self.variable("LARGESSE_ENV") {
            Some(name) => name.parse().map_err(LoadError::Environment)?,
            None => Environment::default(),
        };
        let profile = self.profile.unwrap_or(environment.profile());
        let mut layers = vec![Layer::of_text(format!("profile {profile}"), profile.text())?];
        let named = self.variable("LARGESSE_CONFIG").map(Path::new);
        if let Some(path) = self.file.as_deref().or(named) {
            layers.push(Layer::of_file(path)?);
        }
        let variables =
            self.environment.iter().filter_map(|(name, value)| Some((name, name.strip_prefix(PREFIX)?, value)));
        for (name, key, value) in variables {
            let key = key.to_lowercase().replace("__", ".").replace('_', "-");
            let value = match value.parse() {
                Ok(value) => value,
                Err(never) => match never {},
            };
            layers.push(Layer::of_value(format!("environment variable {name}"), &key, value));
        }
        for Flag { flag, key, value } in &self.flags {
            layers.push(Layer::of_value(format!("flag {flag}"), key, value.clone().into()));
        }
        let mut figment = Figment::new();
        for layer in layers {
            layer.check()?;
            figment = figment.merge(layer);
        }
        let config = figment.extract().map_err(|error| told("the configuration", error))?;
        Ok(Loaded { config, environment, profile, figment })
    }

    /// An empty variable is as good as none.
    fn variable(&self, name: &str) -> Option<&str> {
        let found = self.environment.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }
}

/// One source with its name, as errors and `config print --origin` show it.
#[derive(Clone, Debug)]
struct Layer {
    name: String,
    values: Dict,
}

impl Layer {
    fn of_file(path: &Path) -> Result<Layer, LoadError> {
        let text = std::fs::read_to_string(path).map_err(|error| LoadError::File { path: path.into(), error })?;
        Layer::of_text(path.display().to_string(), &text)
    }

    fn of_text(name: String, text: &str) -> Result<Layer, LoadError> {
        match Toml::from_str(text) {
            Ok(values) => Ok(Layer { name, values }),
            Err(error) => Err(LoadError::Syntax { source_name: name, error: error.to_string() }),
        }
    }

    fn of_value(name: String, key: &str, value: Value) -> Layer {
        let values = figment::util::nest(key, value).into_dict().unwrap_or_default();
        Layer { name, values }
    }

    /// All keys have defaults, so a source that is right is a configuration on its own.
    fn check(&self) -> Result<(), LoadError> {
        Figment::from(self).extract::<Config>().map(drop).map_err(|error| told(&self.name, error))
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<figment::Profile, Dict>, figment::Error> {
        Ok(figment::Profile::Default.collect(self.values.clone()))
    }
}

fn told(source_name: &str, error: figment::Error) -> LoadError {
    let source_name = source_name.to_owned();
    let key = error.path.join(".");
    let why = match error.kind {
        Kind::UnknownField(field, known) => {
            let section = key.strip_suffix(&field).unwrap_or_default();
            let suggestion = suggest(section, &field, known);
            let known = known.iter().map(|name| (*name).to_owned()).collect();
            return LoadError::UnknownKey { source_name, key, suggestion, known };
        }
        Kind::UnknownVariant(value, known) => {
            let suggestion = nearest(&value, known.iter().copied());
            let meant = suggestion.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
            format!("`{value}` is not among what this version knows: {}{meant}", known.join(", "))
        }
        Kind::InvalidType(Actual::Unsigned(_) | Actual::Signed(_), expected) if expected == "a string" => {
            "a string is expected; in an environment variable, put a number in quotes: '\"123\"'".into()
        }
        Kind::MissingField(field) => format!("`{field}` is missing"),
        Kind::Message(why) if why.contains("socket address") => {
            format!("{why}; write an address and a port, such as \"127.0.0.1:8080\"")
        }
        Kind::Message(why) => why,
        other @ (Kind::InvalidType(..)
        | Kind::InvalidValue(..)
        | Kind::InvalidLength(..)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..)) => other.to_string(),
    };
    LoadError::Value { source_name, key, why }
}

/// The nearest key of the section; else one of exactly this name elsewhere, put into the wrong section.
fn suggest(section: &str, field: &str, known: &[&str]) -> Option<String> {
    if let Some(name) = nearest(field, known.iter().copied()) {
        return Some(format!("{section}{name}"));
    }
    let everything = crate::origin::settings_of(&Config::default());
    let elsewhere = everything.into_iter().find(|key| key.key.rsplit('.').next() == Some(field));
    elsewhere.map(|setting| setting.key)
}

/// The name that a misspelt one most likely stands for; none when all are too far off.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let dashed = name.to_lowercase().replace('_', "-");
    let scored = known.map(|candidate| (strsim::normalized_damerau_levenshtein(&dashed, candidate), candidate));
    let best = scored.max_by(|one, other| one.0.total_cmp(&other.0))?;
    (best.0 >= 0.6).then_some(best.1)
}
