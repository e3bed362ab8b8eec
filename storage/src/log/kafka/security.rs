//! How brokers and this process prove to each other who they are.

use std::fmt;
use std::path::PathBuf;

use rdkafka::ClientConfig;

/// Plain connections and nobody logs in, unless it says otherwise.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Security {
    pub tls: Option<Tls>,
    pub login: Option<Login>,
}

/// Encrypted, and the brokers are who their certificates say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// Certificates that theirs are checked against; those of the system unless given.
    pub ca_file: Option<PathBuf>,
}

#[derive(Clone, PartialEq)]
pub struct Login {
    pub mechanism: Mechanism,
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("mechanism", &self.mechanism).field("user", &self.user).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

impl Security {
    /// What this program cannot do, as it was built.
    pub fn unsupported(&self) -> Option<&'static str> {
        if cfg!(feature = "kafka-tls") {
            return None;
        }
        let hashes = |login: &Login| login.mechanism != Mechanism::Plain;
        match self {
            Security { tls: Some(_), .. } => Some("an encrypted connection"),
            Security { login, .. } if login.as_ref().is_some_and(hashes) => Some("a login by SCRAM"),
            Security { .. } => None,
        }
    }

    pub fn configure(&self, config: &mut ClientConfig) {
        let protocol = match (&self.tls, &self.login) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        };
        config.set("security.protocol", protocol);
        if let Some(file) = self.tls.as_ref().and_then(|tls| tls.ca_file.as_ref()) {
            config.set("ssl.ca.location", file.to_string_lossy());
        }
        if let Some(Login { mechanism, user, password }) = &self.login {
            let mechanism = match mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanism", mechanism).set("sasl.username", user).set("sasl.password", password);
        }
    }
}
