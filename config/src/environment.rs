//! Which environment this process runs in, and the profile that goes with it.

use std::fmt;
use std::str::FromStr;

use crate::load::nearest;

/// Where a process runs, from `LARGESSE_ENV`: shown in logs and metrics, and decides the profile when none is named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    #[default]
    Local,
    Dev,
    Test,
    Pre,
    Stress,
    Gray,
    Prod,
}

/// A set of values that fit together, shipped with the binary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// One developer's machine: few shards, small limits, a demo room.
    Dev,
    /// One node on embedded storage. It lists every key with its default.
    Single,
    /// One of several nodes.
    Cluster,
    /// One node set up to be measured.
    Bench,
}

/// A name that stands for nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not {what}; known are {}{}", known.join(", "), did_you_mean(*suggestion))]
pub struct UnknownName {
    name: String,
    what: &'static str,
    known: Vec<&'static str>,
    suggestion: Option<&'static str>,
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}

fn unknown(name: &str, what: &'static str, known: Vec<&'static str>) -> UnknownName {
    UnknownName { name: name.into(), what, suggestion: nearest(name, known.iter().copied()), known }
}

impl Environment {
    pub const ALL: [Environment; 7] = [
        Environment::Local,
        Environment::Dev,
        Environment::Test,
        Environment::Pre,
        Environment::Stress,
        Environment::Gray,
        Environment::Prod,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Environment::Local => "local",
            Environment::Dev => "dev",
            Environment::Test => "test",
            Environment::Pre => "pre",
            Environment::Stress => "stress",
            Environment::Gray => "gray",
            Environment::Prod => "prod",
        }
    }

    /// The profile of a process that names none.
    pub const fn profile(self) -> Profile {
        match self {
            Environment::Local | Environment::Dev | Environment::Test => Profile::Dev,
            Environment::Pre | Environment::Stress | Environment::Gray | Environment::Prod => Profile::Single,
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Environment {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = || Environment::ALL.map(Environment::name).into();
        let found = Environment::ALL.into_iter().find(|environment| environment.name() == name);
        found.ok_or_else(|| unknown(name, "an environment", known()))
    }
}

impl Profile {
    pub const ALL: [Profile; 4] = [Profile::Dev, Profile::Single, Profile::Cluster, Profile::Bench];

    pub const fn name(self) -> &'static str {
        match self {
            Profile::Dev => "dev",
            Profile::Single => "single",
            Profile::Cluster => "cluster",
            Profile::Bench => "bench",
        }
    }

    /// The profile's file, as it was when the binary was built.
    pub const fn text(self) -> &'static str {
        match self {
            Profile::Dev => include_str!("../dev.toml"),
            Profile::Single => include_str!("../single.toml"),
            Profile::Cluster => include_str!("../cluster.toml"),
            Profile::Bench => include_str!("../bench.toml"),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Profile {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = || Profile::ALL.map(Profile::name).into();
        let found = Profile::ALL.into_iter().find(|profile| profile.name() == name);
        found.ok_or_else(|| unknown(name, "a profile", known()))
    }
}
