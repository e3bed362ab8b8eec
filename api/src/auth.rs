//! Who is asking: viewers by a JSON web token, services and administrators by a key.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use largesse_engine::clock::Clock;
use largesse_engine::units::UserId;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::auth::tokens::Tokens;
use crate::error::ErrorCode;
use crate::problem::Problem;

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
    /// The secret of HS256, or the public key in PEM.
    pub material: Vec<u8>,
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
}

impl NamedKey {
    pub fn new(name: impl Into<String>, key: &str) -> NamedKey {
        NamedKey { name: name.into(), sha256: Sha256::digest(key.as_bytes()).into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("an HS256 secret needs at least {SECRET_BYTES_MIN} bytes, this one has {0}")]
    ShortSecret(usize),
    #[error("this is not the PEM of a public key for {0:?}: {1}")]
    BadPem(TokenAlgorithm, String),
    #[error("there are {0} token keys; at most {TOKEN_KEYS_MAX} are allowed")]
    TooManyKeys(usize),
}

/// Someone whose proof was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Viewer(UserId),
    Service(Arc<str>),
    Admin(Arc<str>),
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
    keys: ArcSwap<Keys>,
    clock: Arc<dyn Clock>,
}

/// The keys that callers show as they are.
struct Keys {
    services: Vec<HeldKey>,
    admins: Vec<HeldKey>,
}

struct HeldKey {
    name: Arc<str>,
    sha256: [u8; 32],
}

impl Auth {
    pub fn new(options: &AuthOptions, cached_max: u64, clock: Arc<dyn Clock>) -> Result<Auth, AuthError> {
        let tokens = Tokens::new(options, cached_max)?;
        Ok(Auth { tokens, keys: ArcSwap::from_pointee(Keys::new(options)), clock })
    }

    /// From now on only these keys count; what older ones proved is forgotten.
    pub fn replace(&self, options: &AuthOptions) -> Result<(), AuthError> {
        self.tokens.replace(options)?;
        self.keys.store(Arc::new(Keys::new(options)));
        Ok(())
    }

    pub fn caller(&self, headers: &HeaderMap, door: Door) -> Result<Caller, Problem> {
        let token = bearer(headers)?;
        let is_service = token.starts_with(SERVICE_KEY_PREFIX);
        if is_service || door == Door::Admin {
            let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
            let keys = self.keys.load();
            if door == Door::Admin
                && let Some(name) = find(&keys.admins, &hash)
            {
                return Ok(Caller::Admin(name));
            }
            if is_service {
                let found = find(&keys.services, &hash).map(Caller::Service);
                return found.ok_or_else(|| unauthenticated("this key is not known here; it may have been revoked"));
            }
        }
        self.tokens.user(token, self.clock.now()).map(Caller::Viewer)
    }
}

impl Keys {
    fn new(options: &AuthOptions) -> Keys {
        let held = |keys: &[NamedKey]| {
            keys.iter().map(|key| HeldKey { name: key.name.as_str().into(), sha256: key.sha256 }).collect()
        };
        Keys { services: held(&options.service_keys), admins: held(&options.admin_keys) }
    }
}

/// The key with this hash; which of them it is takes no part in the time this takes.
fn find(keys: &[HeldKey], hash: &[u8; 32]) -> Option<Arc<str>> {
    let mut place = u32::MAX;
    for (candidate, key) in (0u32..).zip(keys) {
        let is_it: Choice = key.sha256.ct_eq(hash);
        place.conditional_assign(&candidate, is_it);
    }
    keys.get(usize::try_from(place).ok()?).map(|key| Arc::clone(&key.name))
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
