//! Who is asking: viewers by a JSON web token, services and administrators by a key.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use largesse_engine::clock::Clock;
use largesse_engine::units::UserId;
use moka::sync::Cache;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::error::ErrorCode;
use crate::problem::Problem;
use crate::wire::Id;

/// What a service's key starts with, so that people and scanners recognise one.
pub const SERVICE_KEY_PREFIX: &str = "lgk_";
/// Longest token that is looked at.
const TOKEN_BYTES_MAX: usize = 4_096;
/// A secret for HS256 shorter than its hash can be guessed.
const SECRET_BYTES_MIN: usize = 32;
/// Keys for tokens at a time: a few issuers, each with its previous key.
const TOKEN_KEYS_MAX: usize = 16;

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

/// Checks proofs, and remembers tokens that passed, so that a viewer's taps do not each cost a signature.
pub struct Auth {
    keys: RwLock<Arc<Keys>>,
    verified: Cache<[u8; 32], Verified>,
    clock: Arc<dyn Clock>,
}

/// One set of keys; each has a number of its own, by which an entry of the cache is known to be from before a change.
struct Keys {
    generation: u64,
    tokens: Vec<Verifier>,
    leeway: u64,
    services: Vec<HeldKey>,
    admins: Vec<HeldKey>,
}

struct Verifier {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    validation: Validation,
}

struct HeldKey {
    name: Arc<str>,
    sha256: [u8; 32],
}

#[derive(Clone, Copy)]
struct Verified {
    generation: u64,
    user: UserId,
    not_before: u64,
    expires: u64,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: f64,
}

impl Auth {
    pub fn new(options: &AuthOptions, cached_max: u64, clock: Arc<dyn Clock>) -> Result<Auth, AuthError> {
        let keys = RwLock::new(Arc::new(Keys::new(options, 0)?));
        let verified = Cache::builder().max_capacity(cached_max).time_to_live(Duration::from_secs(600)).build();
        Ok(Auth { keys, verified, clock })
    }

    /// From now on only these keys count; what older ones proved is forgotten.
    pub fn replace(&self, options: &AuthOptions) -> Result<(), AuthError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *keys = Arc::new(Keys::new(options, keys.generation + 1)?);
        self.verified.invalidate_all();
        Ok(())
    }

    pub fn caller(&self, headers: &HeaderMap, door: Door) -> Result<Caller, Problem> {
        let token = bearer(headers)?;
        let keys = Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner));
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if door == Door::Admin
            && let Some(name) = find(&keys.admins, &hash)
        {
            return Ok(Caller::Admin(name));
        }
        if token.starts_with(SERVICE_KEY_PREFIX) {
            let found = find(&keys.services, &hash).map(Caller::Service);
            return found.ok_or_else(|| unauthenticated("this key is not known here; it may have been revoked"));
        }
        self.viewer(&keys, hash, token).map(Caller::Viewer)
    }

    fn viewer(&self, keys: &Keys, hash: [u8; 32], token: &str) -> Result<UserId, Problem> {
        let now = self.clock.now().get() / 1_000;
        let known = self.verified.get(&hash).filter(|known| known.generation == keys.generation);
        let verified = match known {
            Some(known) => known,
            None => {
                let verified = keys.verify(token)?;
                self.verified.insert(hash, verified);
                verified
            }
        };
        if now >= verified.expires.saturating_add(keys.leeway) {
            self.verified.invalidate(&hash);
            return Err(unauthenticated("the token has expired; get a new one"));
        }
        if now.saturating_add(keys.leeway) < verified.not_before {
            return Err(unauthenticated("the token is not valid yet"));
        }
        Ok(verified.user)
    }
}

impl Keys {
    fn new(options: &AuthOptions, generation: u64) -> Result<Keys, AuthError> {
        if options.token_keys.len() > TOKEN_KEYS_MAX {
            return Err(AuthError::TooManyKeys(options.token_keys.len()));
        }
        let tokens = options.token_keys.iter().map(|key| Verifier::new(key, options)).collect::<Result<_, _>>()?;
        let held = |keys: &[NamedKey]| {
            keys.iter().map(|key| HeldKey { name: key.name.as_str().into(), sha256: key.sha256 }).collect()
        };
        let leeway = options.leeway.as_secs();
        Ok(Keys {
            generation,
            tokens,
            leeway,
            services: held(&options.service_keys),
            admins: held(&options.admin_keys),
        })
    }

    /// Checks everything about a token but the time.
    fn verify(&self, token: &str) -> Result<Verified, Problem> {
        let malformed = || unauthenticated("this is neither a token nor a key");
        let header = jsonwebtoken::decode_header(token).map_err(|_| malformed())?;
        let fits = |verifier: &&Verifier| match (&header.kid, &verifier.kid) {
            (Some(asked), Some(kid)) => asked == kid,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let mut why = "no key here can verify this token";
        // The algorithm is the key's, never the token's own choice.
        for verifier in self.tokens.iter().filter(fits).filter(|verifier| verifier.algorithm == header.alg) {
            match jsonwebtoken::decode::<Claims>(token, &verifier.key, &verifier.validation) {
                Ok(data) => return self.accept(&data.claims),
                Err(error) => why = explain(error.kind()),
            }
        }
        Err(unauthenticated(why))
    }

    fn accept(&self, claims: &Claims) -> Result<Verified, Problem> {
        let user = Id::parse(&claims.sub).map(Id::user).filter(|user| *user != UserId::NOBODY);
        let user = user.ok_or_else(|| unauthenticated("the token's `sub` must be a user id in decimal digits"))?;
        Ok(Verified {
            generation: self.generation,
            user,
            not_before: whole_seconds(claims.nbf),
            expires: whole_seconds(claims.exp),
        })
    }
}

impl Verifier {
    fn new(key: &TokenKey, options: &AuthOptions) -> Result<Verifier, AuthError> {
        let bad_pem = |error: jsonwebtoken::errors::Error| AuthError::BadPem(key.algorithm, error.to_string());
        let (algorithm, decoding) = match key.algorithm {
            TokenAlgorithm::Hs256 if key.material.len() < SECRET_BYTES_MIN => {
                return Err(AuthError::ShortSecret(key.material.len()));
            }
            TokenAlgorithm::Hs256 => (Algorithm::HS256, DecodingKey::from_secret(&key.material)),
            TokenAlgorithm::Rs256 => (Algorithm::RS256, DecodingKey::from_rsa_pem(&key.material).map_err(bad_pem)?),
            TokenAlgorithm::Es256 => (Algorithm::ES256, DecodingKey::from_ec_pem(&key.material).map_err(bad_pem)?),
        };
        let mut validation = Validation::new(algorithm);
        // Times are judged by our own clock, also for tokens from the cache.
        validation.validate_exp = false;
        validation.required_spec_claims = HashSet::from(["sub".to_owned()]);
        validation.validate_aud = options.audience.is_some();
        if let Some(audience) = &options.audience {
            validation.set_audience(&[audience]);
            validation.required_spec_claims.insert("aud".to_owned());
        }
        if let Some(issuer) = &options.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".to_owned());
        }
        Ok(Verifier { kid: key.kid.clone(), algorithm, key: decoding, validation })
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

/// Says what an honest caller can mend, and nothing that helps to guess a key.
fn explain(kind: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    #[allow(clippy::wildcard_enum_match_arm, reason = "a foreign enum that may grow")]
    match kind {
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is meant for another audience",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::Json(_) => {
            "the token lacks a claim: `sub` and `exp` are needed, and `iss` and `aud` where they are configured"
        }
        _ => "no key here can verify this token",
    }
}

/// A NumericDate may have a fraction; what lies outside of time is taken as its border.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
fn whole_seconds(date: f64) -> u64 {
    date as u64
}

fn unauthenticated(detail: &'static str) -> Problem {
    Problem::new(ErrorCode::Unauthenticated, detail)
}

#[cfg(test)]
mod tests;
