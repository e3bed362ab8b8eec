//! `[auth]`: who may do what. Nothing but the catalog is open to callers without a key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::values::{Secret, span};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct AuthConfig {
    pub viewer: ViewerConfig,
    /// Keys of services, which may act for any user. Default: none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub service_keys: Vec<ServiceKey>,
    /// Key for changes on the admin port; without one they are all refused. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_key: Option<Secret>,
    /// A file that holds the admin key instead. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_key_file: Option<PathBuf>,
    pub room_pass: RoomPassConfig,
}

/// `[auth.room-pass]`: with a secret, gifts of viewers need a pass for their room, from `POST /v1/rooms/{room}/pass`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoomPassConfig {
    /// What passes are signed with, at least 32 bytes; all nodes have the same. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A file that holds that secret instead. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// How long a pass is good for. Default: 5 min.
    #[serde(with = "span")]
    pub ttl: Duration,
}

impl Default for RoomPassConfig {
    fn default() -> Self {
        RoomPassConfig { secret: None, secret_file: None, ttl: Duration::from_secs(300) }
    }
}

impl RoomPassConfig {
    pub fn source(&self) -> Option<KeySource<'_>> {
        KeySource::of(self.secret.as_ref(), self.secret_file.as_ref())
    }
}

/// `[auth.viewer]`: how viewers' tokens (JWT) are checked. Without a key no token is accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct ViewerConfig {
    /// How tokens are signed: HS256, RS256 or ES256. Default: HS256.
    pub algorithm: Algorithm,
    /// The shared secret of HS256, at least 32 bytes. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// A file that holds that secret instead. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The public key of RS256 or ES256, as PEM. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<PathBuf>,
    /// A set of public keys (JWKS) that is read again when it changes, beside the key above. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// Where the issuer publishes such a set. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// How often that is looked at; a token that names an unknown key has it looked at sooner. Default: 5 min.
    #[serde(with = "span")]
    pub jwks_every: Duration,
    /// The `iss` a token must carry. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The `aud` a token must carry. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// How far clocks may disagree about a token's times. Default: 30 s.
    #[serde(with = "span")]
    pub leeway: Duration,
    /// The key before this one, accepted until nobody carries its tokens any more. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<ViewerKey>,
}

impl Default for ViewerConfig {
    fn default() -> Self {
        ViewerConfig {
            algorithm: Algorithm::Hs256,
            secret: None,
            secret_file: None,
            public_key_file: None,
            jwks_file: None,
            jwks_url: None,
            jwks_every: Duration::from_secs(300),
            issuer: None,
            audience: None,
            leeway: Duration::from_secs(30),
            previous: None,
        }
    }
}

/// `[auth.viewer.previous]`: one key with its algorithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ViewerKey {
    pub algorithm: Algorithm,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Algorithm {
    #[default]
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
}

/// `[[auth.service-keys]]`: a service and its key, which starts with `lgk_`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServiceKey {
    /// How the service is called in logs and in the books.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// What it may be used for: read, gifts, recharges, transfers, issue, rooms; without this, everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scopes: Option<Vec<String>>,
}

/// Where a key's text is: in the configuration, or in a file of its own.
#[derive(Clone, Copy, Debug)]
pub enum KeySource<'a> {
    Inline(&'a Secret),
    File(&'a Path),
}

#[derive(Debug, thiserror::Error)]
pub enum ReadKeyError {
    #[error("cannot read the key file {path}: {error}; make it readable for this process")]
    File { path: PathBuf, error: std::io::Error },
    #[error("the key file {path} is empty; write the key into it")]
    Empty { path: PathBuf },
}

impl<'a> KeySource<'a> {
    pub(crate) fn of(inline: Option<&'a Secret>, file: Option<&'a PathBuf>) -> Option<KeySource<'a>> {
        inline.map(KeySource::Inline).or(file.map(|path| KeySource::File(path)))
    }

    /// The key, without the newline that files end with.
    pub fn read(self) -> Result<Secret, ReadKeyError> {
        let path = match self {
            KeySource::Inline(secret) => return Ok(secret.clone()),
            KeySource::File(path) => path,
        };
        let text = std::fs::read_to_string(path).map_err(|error| ReadKeyError::File { path: path.into(), error })?;
        match text.trim_end() {
            "" => Err(ReadKeyError::Empty { path: path.into() }),
            key => Ok(Secret::new(key)),
        }
    }
}

impl AuthConfig {
    pub fn admin_key(&self) -> Option<KeySource<'_>> {
        KeySource::of(self.admin_key.as_ref(), self.admin_key_file.as_ref())
    }
}

impl ServiceKey {
    pub fn source(&self) -> Option<KeySource<'_>> {
        KeySource::of(self.key.as_ref(), self.key_file.as_ref())
    }
}

impl ViewerConfig {
    /// The key that tokens are checked with now, if there is one.
    pub fn key(&self) -> Option<ViewerKey> {
        let key = ViewerKey {
            algorithm: self.algorithm,
            secret: self.secret.clone(),
            secret_file: self.secret_file.clone(),
            public_key_file: self.public_key_file.clone(),
        };
        key.source().is_some().then_some(key)
    }
}

impl ViewerKey {
    /// The secret of HS256, the PEM of the others.
    pub fn source(&self) -> Option<KeySource<'_>> {
        match self.algorithm {
            Algorithm::Hs256 => KeySource::of(self.secret.as_ref(), self.secret_file.as_ref()),
            Algorithm::Rs256 | Algorithm::Es256 => KeySource::of(None, self.public_key_file.as_ref()),
        }
    }
}
