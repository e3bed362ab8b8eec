//! `[log.kafka]`: the log in Kafka.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::KeySource;
use crate::values::{Secret, span};

/// `[log.kafka]`: the brokers that hold the log, for `log.kind = "kafka"`. The topics are `<ledger>.wallet`,
/// `<ledger>.control` and `<ledger>.ledger`; they are made by the first process, and checked at every start.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct KafkaConfig {
    /// Some brokers of the cluster, each `host:port`; the others are learnt from them. Default: ["127.0.0.1:9092"].
    pub brokers: Vec<String>,
    /// How to talk to them: `plaintext`, `ssl`, `sasl-plaintext` or `sasl-ssl`. Default: plaintext.
    pub security_protocol: SecurityProtocol,
    /// A file with the certificates (PEM) that theirs are checked against, instead of the system's. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// How to log in with `sasl-…`: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`. Default: PLAIN.
    pub sasl_mechanism: SaslMechanism,
    /// As whom to log in. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// That user's password. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<Secret>,
    /// A file that holds the password instead. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Producers of this process, 1 to 64, each with connections of its own; a shard stays on one. Default: 4.
    pub producers: usize,
    /// Copies of every partition; topics with fewer are refused. Default: 3.
    pub replication: u16,
    /// How many copies must have a record before anyone is answered; topics with fewer are refused. Default: 2.
    pub min_insync_replicas: u16,
    /// How long a record is tried before nobody knows what became of it, and its shard is claimed anew. Default: 30 s.
    #[serde(with = "span")]
    pub delivery_timeout: Duration,
    /// How long a broker may take to answer before another try. Default: 10 s.
    #[serde(with = "span")]
    pub request_timeout: Duration,
    /// Whether records that are flushed and acknowledged are given up; `false` keeps all history. Default: true.
    pub cut: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityProtocol {
    #[default]
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

impl SecurityProtocol {
    pub fn is_encrypted(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }

    pub fn logs_in(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SaslMechanism {
    #[default]
    #[serde(rename = "PLAIN")]
    Plain,
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        KafkaConfig {
            brokers: vec!["127.0.0.1:9092".into()],
            security_protocol: SecurityProtocol::Plaintext,
            ca_file: None,
            sasl_mechanism: SaslMechanism::Plain,
            user: None,
            password: None,
            password_file: None,
            producers: 4,
            replication: 3,
            min_insync_replicas: 2,
            delivery_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(10),
            cut: true,
        }
    }
}

impl KafkaConfig {
    pub fn password(&self) -> Option<KeySource<'_>> {
        KeySource::of(self.password.as_ref(), self.password_file.as_ref())
    }
}
