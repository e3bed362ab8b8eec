//! `largesse config`: what the configuration is, and whether it is right.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use largesse_config::{LoadError, Loaded, Profile, Sources};
use serde_json::json;

use crate::command::serve::Role;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};

const EXAMPLES: &str = "\
Examples:
  largesse config check --config largesse.toml
  largesse config print --origin
  LARGESSE_ENV=prod largesse config print > largesse.toml";

/// Show and check the configuration.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Config {
    /// Say whether the configuration is right; exit code 4 if not.
    #[command(after_help = EXAMPLES)]
    Check(Check),
    /// Show every key as it stands, secrets masked.
    #[command(after_help = EXAMPLES)]
    Print(Print),
}

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    pick: Pick,
    /// What the process is to do: see `serve --role`.
    #[arg(long, value_enum, default_value_t = Role::All, value_name = "ROLE")]
    role: Role,
}

#[derive(Debug, Args)]
pub struct Print {
    #[command(flatten)]
    pick: Pick,
    /// Also say where each value came from.
    #[arg(long)]
    origin: bool,
}

/// Which configuration a command goes by.
#[derive(Clone, Debug, Args)]
pub struct Pick {
    /// A file with keys that differ from the profile's.
    #[arg(long, env = "LARGESSE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// dev, single, cluster or bench [default: what LARGESSE_ENV stands for; dev on a developer's machine].
    #[arg(long, value_name = "NAME")]
    pub profile: Option<Profile>,
}

impl Pick {
    pub fn sources(&self) -> Sources {
        Sources { profile: self.profile, file: self.config.clone(), ..Sources::of_process() }
    }

    pub fn load(&self) -> Result<Loaded, Failure> {
        self.sources().load().map_err(|error| failure(&error))
    }
}

pub fn failure(error: &LoadError) -> Failure {
    Failure::new(error).help("`largesse config print --origin` shows every key and where it came from")
}

impl Config {
    pub fn run(self, format: Format) -> Result<(), Failure> {
        match self {
            Config::Check(check) => check.run(format),
            Config::Print(print) => print.run(format),
        }
    }
}

impl Check {
    fn run(&self, format: Format) -> Result<(), Failure> {
        let loaded = self.pick.sources().load().and_then(|loaded| match self.role {
            Role::All => Ok(loaded),
            Role::Gateway => loaded.config.validate_gateway().map(|()| loaded).map_err(LoadError::Check),
        });
        report(loaded, format)
    }
}

fn report(loaded: Result<Loaded, LoadError>, format: Format) -> Result<(), Failure> {
    let problems: Vec<(String, String)> = match loaded {
        Ok(loaded) => {
            let json = json!({"ok": true, "environment": loaded.environment.name(), "profile": loaded.profile.name()});
            let text = || format!("ok: environment {}, profile {}", loaded.environment, loaded.profile);
            return output::print(format, &json, text);
        }
        Err(error @ LoadError::File { .. }) => return Err(Failure::new(error)),
        Err(LoadError::Check(problems)) => {
            problems.iter().map(|problem| (problem.key.clone(), problem.why.clone())).collect()
        }
        Err(error @ (LoadError::UnknownKey { .. } | LoadError::Value { .. })) => {
            let key = match &error {
                LoadError::UnknownKey { key, .. } | LoadError::Value { key, .. } => key.clone(),
                LoadError::Environment(_) | LoadError::File { .. } | LoadError::Syntax { .. } | LoadError::Check(_) => {
                    String::new()
                }
            };
            vec![(key, error.to_string())]
        }
        Err(error @ (LoadError::Environment(_) | LoadError::Syntax { .. })) => vec![(String::new(), error.to_string())],
    };
    let listed: Vec<_> = problems.iter().map(|(key, why)| json!({"key": key, "why": why})).collect();
    let rows = problems.iter().map(|(key, why)| vec![key.clone(), why.clone()]);
    output::print(format, &json!({"ok": false, "problems": listed}), || output::table(&["key", "problem"], rows))?;
    let count = problems.len();
    Err(Failure::new(format_args!("the configuration has {count} problem{}", if count == 1 { "" } else { "s" }))
        .exit(Exit::Problems))
}

impl Print {
    fn run(&self, format: Format) -> Result<(), Failure> {
        let loaded = self.pick.load()?;
        if !self.origin {
            let json = serde_json::to_value(&loaded.config).map_err(Failure::new)?;
            return output::print(format, &json, || loaded.config.to_toml().trim_end().to_owned());
        }
        let settings = loaded.settings();
        let listed: Vec<_> = settings
            .iter()
            .map(|setting| json!({"key": setting.key, "value": setting.value, "origin": setting.origin}))
            .collect();
        let rows =
            settings.iter().map(|setting| vec![setting.key.clone(), setting.value.to_string(), setting.origin.clone()]);
        output::print(format, &json!({"settings": listed}), || output::table(&["key", "value", "origin"], rows))
    }
}
