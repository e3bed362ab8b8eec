//! How a command ends when it does not end well.

use std::fmt;
use std::process::ExitCode;

/// What the exit code says. 0 is success, so it is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Failed = 1,
    /// The arguments do not fit together. Wrong arguments end the same way before any command runs.
    Usage = 2,
    /// Of several things, some went well.
    Partly = 3,
    /// A check ran to its end and found something wrong.
    Problems = 4,
    /// Nobody answered at the address.
    Unreachable = 5,
}

/// What went wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    pub what: String,
    pub help: Option<String>,
}

impl Failure {
    pub fn new(what: impl fmt::Display) -> Failure {
        Failure { exit: Exit::Failed, what: what.to_string(), help: None }
    }

    pub fn usage(what: impl fmt::Display) -> Failure {
        Failure { exit: Exit::Usage, ..Failure::new(what) }
    }

    pub fn exit(self, exit: Exit) -> Failure {
        Failure { exit, ..self }
    }

    pub fn help(self, help: impl fmt::Display) -> Failure {
        Failure { help: Some(help.to_string()), ..self }
    }

    #[expect(clippy::print_stderr, reason = "this is where errors are told")]
    pub fn tell(&self) -> ExitCode {
        eprintln!("{self}");
        ExitCode::from(self.exit as u8)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.what)?;
        match &self.help {
            Some(help) => write!(f, "\n help: {help}"),
            None => Ok(()),
        }
    }
}
