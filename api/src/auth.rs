//! Who is asking: viewers by a JSON web token, services and administrators by a key.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::jwk::Jwk;
use largesse_engine::clock::Clock;
use largesse_engine::control::keys::Keys;
use largesse_engine::handle::Control;
use largesse_engine::units::UserId;

use crate::auth::scopes::Scopes;
use crate::auth::services::{Held, ServiceKey, SigningSecret, sha256};
use crate::auth::tokens::{Shown, Tokens};
use crate::error::ErrorCode;
use crate::problem::Problem;

pub mod jwks;
pub mod scopes;
pub mod services;
pub mod tokens;

/// What a service's key starts with, so that people and scanners recognise one.
pub const SERVICE_KEY_PREFIX: &str = "lgk_";
/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 4_096;
/// A secret for HS256 shorter than its hash can be guessed.
pub(crate) const SECRET_BYTES_MIN: usize = 32;
/// Keys for tokens at a time: a few issuers, each with its previous key.
pub(crate) const TOKEN_KEYS_MAX: usize = 16;

/// All that can prove who someone is.
#[derive(Clone, Debug, Default)]
pub struct AuthOptions {
    /// Newest first; keep the previous key of an issuer until its last token has expired.
    pub token_keys: Vec<TokenKey>,
    /// Where given, a token must name this issuer.
    pub issuer: Option<String>,
    /// Where given, a token must be meant for this audience.
    pub audience: Option<String>,
    /// By how much the issuer's clock may differ from ours.
    pub leeway: Duration,
    pub service_keys: Vec<NamedKey>,
    pub admin_keys: Vec<NamedKey>,
}

/// A key that verifies viewers' tokens.
#[derive(Clone)]
pub struct TokenKey {
    /// A token that names a key is verified with that one only.
    pub kid: Option<String>,
    pub algorithm: TokenAlgorithm,
    pub material: Material,
}

/// What a key is made of.
#[derive(Clone)]
pub enum Material {
    /// The secret of HS256, or the public key in PEM.
    Text(Vec<u8>),
    /// As an issuer publishes it.
    Jwk(Box<Jwk>),
}

impl<Text: Into<Vec<u8>>> From<Text> for Material {
    fn from(text: Text) -> Material {
        Material::Text(text.into())
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kid, algorithm, material: _ } = self;
        f.debug_struct("TokenKey").field("kid", kid).field("algorithm", algorithm).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenAlgorithm {
    Hs256,
    Rs256,
    Es256,
}

/// The hash of a key with the name that audits show.
#[derive(Clone, Debug)]
pub struct NamedKey {
    pub name: String,
    pub sha256: [u8; 32],
    /// For a service: what it may be used for.
    pub scopes: Scopes,
    /// For a service: what its requests can be signed with.
    pub signing: Option<SigningSecret>,
}

impl NamedKey {
    /// A key for everything, with which requests can be signed too.
    pub fn new(name: impl Into<String>, key: &str) -> NamedKey {
        NamedKey { name: name.into(), sha256: sha256(key), scopes: Scopes::ALL, signing: Some(SigningSecret::of(key)) }
    }

    pub fn with_scopes(self, scopes: Scopes) -> NamedKey {
        NamedKey { scopes, ..self }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("an HS256 secret needs at least {SECRET_BYTES_MIN} bytes, this one has {0}")]
    ShortSecret(usize),
    #[error("this is not the PEM of a public key for {0:?}: {1}")]
    BadPem(TokenAlgorithm, String),
    #[error("this is not a published key for {0:?}: {1}")]
    BadJwk(TokenAlgorithm, String),
    #[error("there are {0} token keys; at most {TOKEN_KEYS_MAX} are allowed")]
    TooManyKeys(usize),
}

/// Someone whose proof was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Viewer(UserId),
    /// A viewer whose token is read-only: he follows rooms, and neither sends gifts nor reads accounts.
    Reader(UserId),
    Service(Arc<ServiceKey>),
    Admin(Arc<str>),
}

impl Caller {
    pub fn of(token: Shown) -> Caller {
        if token.is_read_only { Caller::Reader(token.user) } else { Caller::Viewer(token.user) }
    }
}

/// On which port a proof was shown: an administrator's counts on one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Public,
    Admin,
}

/// Checks proofs.
pub struct Auth {
    tokens: Tokens,
    held: ArcSwap<Held>,
    /// Where keys are made at run time.
    control: Option<Arc<dyn Control>>,
    /// What sets of keys are made from; held while one is replaced.
    options: Mutex<AuthOptions>,
    clock: Arc<dyn Clock>,
}

impl Auth {
    pub fn new(options: &AuthOptions, cached_max: u64, clock: Arc<dyn Clock>) -> Result<Auth, AuthError> {
        let tokens = Tokens::new(options, cached_max)?;
        let held = ArcSwap::from_pointee(Held::new(options, Keys::default()));
        Ok(Auth { tokens, held, control: None, options: Mutex::new(options.clone()), clock })
    }

    /// Accepts keys that are made at run time as well.
    pub fn with_control(self, control: Arc<dyn Control>) -> Auth {
        Auth { control: Some(control), ..self }
    }

    /// From now on only these keys count, beside those made at run time; what older ones proved is forgotten.
    pub fn replace(&self, options: &AuthOptions) -> Result<(), AuthError> {
        let mut current = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        self.tokens.replace(options)?;
        self.held.store(Arc::new(Held::new(options, Arc::clone(&self.held.load().made))));
        *current = options.clone();
        Ok(())
    }

    /// Viewers' tokens, whose published keys may change.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    pub fn caller(&self, headers: &HeaderMap, door: Door) -> Result<Caller, Problem> {
        let token = bearer(headers)?;
        let is_service = token.starts_with(SERVICE_KEY_PREFIX);
        if is_service || door == Door::Admin {
            let hash = sha256(token);
            let held = self.held();
            if door == Door::Admin
                && let Some(name) = held.admin(&hash)
            {
                return Ok(Caller::Admin(name));
            }
            if is_service {
                let found = held.service(&hash).map(Caller::Service);
                return found.ok_or_else(|| unauthenticated("this key is not known here; it may have been revoked"));
            }
        }
        self.tokens.read(token, self.clock.now()).map(Caller::of)
    }

    /// The service of this name, where its requests can be signed.
    pub(crate) fn signer(&self, name: &str) -> Option<(Arc<ServiceKey>, SigningSecret)> {
        self.held().signer(name)
    }

    /// The keys that are in force, with all that were made until now.
    fn held(&self) -> Guard<Arc<Held>> {
        let held = self.held.load();
        let Some(control) = &self.control else { return held };
        if Arc::ptr_eq(&held.made, &control.view().keys) {
            return held;
        }
        let options = self.options.lock().unwrap_or_else(PoisonError::into_inner);
        // Asked again under the lock, so that no older set follows a newer one.
        let made = Arc::clone(&control.view().keys);
        self.held.store(Arc::new(Held::new(&options, made)));
        self.held.load()
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(|| unauthenticated("send `Authorization: Bearer <token or key>`"))?;
    if values.next().is_some() {
        return Err(unauthenticated("there is more than one Authorization header"));
    }
    let malformed = || unauthenticated("the Authorization header must be `Bearer <token or key>`");
    let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or_else(malformed)?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > TOKEN_BYTES_MAX {
        return Err(malformed());
    }
    Ok(token)
}

pub(crate) fn unauthenticated(detail: &'static str) -> Problem {
    Problem::new(ErrorCode::Unauthenticated, detail)
}

#[cfg(test)]
mod tests;
