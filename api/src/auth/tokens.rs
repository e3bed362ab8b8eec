//! Viewers' tokens: JSON web tokens, verified once and then remembered.
//!
//! A viewer's taps carry the same token again and again. What was verified is remembered under the token's own text, so
//! that the next tap costs one look-up and no arithmetic. What is remembered is bounded in bytes, ends with the token,
//! and counts for nothing once the keys have changed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use largesse_engine::units::{Time, UserId};
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Notify;

use crate::auth::{
    AuthError, AuthOptions, Material, SECRET_BYTES_MIN, TOKEN_KEYS_MAX, TokenAlgorithm, TokenKey, unauthenticated,
};
use crate::problem::Problem;
use crate::wire::Id;

/// The word of a token's `scope` that makes it read-only, unless it has [`WRITE`] beside it.
pub const READ: &str = "read";
/// The word that allows all a viewer may, as does a token without [`READ`].
pub const WRITE: &str = "write";

/// What a remembered token is taken to weigh; the limit in bytes is the limit in tokens times this.
const TOKEN_BYTES_USUAL: u64 = 512;
/// What an entry costs beside its text.
const ENTRY_BYTES: u64 = 96;

pub struct Tokens {
    verifiers: ArcSwap<Verifiers>,
    /// The number of the set of keys that is in force.
    generation: AtomicU64,
    verified: Cache<Box<str>, Verified, Bytes, foldhash::quality::RandomState>,
    /// What sets of keys are made from; held while one is replaced, so that no two get one number.
    sources: Mutex<Sources>,
    /// Told when a token names a key that is not here.
    wanted: Notify,
}

struct Sources {
    fixed: AuthOptions,
    published: Vec<TokenKey>,
}

/// One set of keys; each has a number of its own, by which what was remembered is known to be from before a change.
struct Verifiers {
    generation: u64,
    leeway: u64,
    keys: Vec<Verifier>,
}

struct Verifier {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    validation: Validation,
}

/// What a token that counts says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    pub user: UserId,
    pub until: Time,
    /// It follows rooms, and neither sends gifts nor reads accounts.
    pub is_read_only: bool,
}

/// A token that passed. The leeway is in both times.
#[derive(Clone, Copy)]
struct Verified {
    generation: u64,
    user: UserId,
    from: u64,
    until: u64,
    is_read_only: bool,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    #[serde(default)]
    nbf: f64,
    scope: Option<Value>,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Box<str>, Verified> for Bytes {
    fn weight(&self, token: &Box<str>, _verified: &Verified) -> u64 {
        token.len() as u64 + ENTRY_BYTES
    }
}

impl Tokens {
    pub fn new(options: &AuthOptions, cached_max: u64) -> Result<Tokens, AuthError> {
        let items = usize::try_from(cached_max).unwrap_or(usize::MAX);
        let bytes = cached_max.saturating_mul(TOKEN_BYTES_USUAL);
        let hasher = foldhash::quality::RandomState::default();
        Ok(Tokens {
            verifiers: ArcSwap::from_pointee(Verifiers::new(options, &[], 0)?),
            generation: AtomicU64::new(0),
            verified: Cache::with(items, bytes, Bytes, hasher, DefaultLifecycle::default()),
            sources: Mutex::new(Sources { fixed: options.clone(), published: Vec::new() }),
            wanted: Notify::new(),
        })
    }

    /// From now on these are the keys of the configuration.
    pub fn replace(&self, options: &AuthOptions) -> Result<(), AuthError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        self.put_in_force(options, &sources.published)?;
        sources.fixed = options.clone();
        Ok(())
    }

    /// From now on these are the keys that the issuer publishes, beside those of the configuration.
    pub fn replace_published(&self, published: Vec<TokenKey>) -> Result<(), AuthError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        self.put_in_force(&sources.fixed, &published)?;
        sources.published = published;
        Ok(())
    }

    fn put_in_force(&self, options: &AuthOptions, published: &[TokenKey]) -> Result<(), AuthError> {
        let generation = self.generation.load(Ordering::Acquire) + 1;
        self.verifiers.store(Arc::new(Verifiers::new(options, published, generation)?));
        // After the keys: whoever sees this number finds the keys that go with it, or newer ones.
        self.generation.store(generation, Ordering::Release);
        self.verified.clear();
        Ok(())
    }

    /// Resolves when a token came that names a key which is not here: the issuer may have rolled over.
    pub async fn key_wanted(&self) {
        self.wanted.notified().await;
    }

    /// Whose token this is, until when, and for what.
    pub fn read(&self, token: &str, now: Time) -> Result<Shown, Problem> {
        let seconds = now.get() / 1_000;
        let generation = self.generation.load(Ordering::Acquire);
        if let Some(known) = self.verified.get(token).filter(|known| known.generation == generation) {
            if known.from <= seconds && seconds < known.until {
                return Ok(known.shown());
            }
            self.verified.remove(token);
            return known.judge(seconds);
        }
        let verified = self.verifiers.load().verify(token, || self.wanted.notify_one())?;
        let shown = verified.judge(seconds)?;
        self.verified.insert(token.into(), verified);
        Ok(shown)
    }

    /// Tokens that are remembered right now.
    pub fn remembered(&self) -> usize {
        self.verified.len()
    }
}

impl Verified {
    fn shown(&self) -> Shown {
        let until = Time(self.until.saturating_mul(1_000));
        Shown { user: self.user, until, is_read_only: self.is_read_only }
    }

    fn judge(&self, seconds: u64) -> Result<Shown, Problem> {
        if seconds >= self.until {
            return Err(unauthenticated("the token has expired; get a new one"));
        }
        if seconds < self.from {
            return Err(unauthenticated("the token is not valid yet"));
        }
        Ok(self.shown())
    }
}

impl Verifiers {
    fn new(options: &AuthOptions, published: &[TokenKey], generation: u64) -> Result<Verifiers, AuthError> {
        if options.token_keys.len() > TOKEN_KEYS_MAX {
            return Err(AuthError::TooManyKeys(options.token_keys.len()));
        }
        let keys = options.token_keys.iter().chain(published);
        let keys = keys.map(|key| Verifier::new(key, options)).collect::<Result<_, _>>()?;
        Ok(Verifiers { generation, leeway: options.leeway.as_secs(), keys })
    }

    /// Checks everything about a token but the time.
    fn verify(&self, token: &str, wanted: impl FnOnce()) -> Result<Verified, Problem> {
        let malformed = || unauthenticated("this is neither a token nor a key");
        let header = jsonwebtoken::decode_header(token).map_err(|_| malformed())?;
        let fits = |verifier: &&Verifier| match (&header.kid, &verifier.kid) {
            (Some(asked), Some(kid)) => asked == kid,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if header.kid.is_some() && !self.keys.iter().any(|key| key.kid == header.kid) {
            wanted();
        }
        let mut why = "no key here can verify this token";
        // The algorithm is the key's, never the token's own choice.
        for verifier in self.keys.iter().filter(fits).filter(|verifier| verifier.algorithm == header.alg) {
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
            from: whole_seconds(claims.nbf).saturating_sub(self.leeway),
            until: whole_seconds(claims.exp).saturating_add(self.leeway),
            is_read_only: claims.scope.as_ref().is_some_and(is_read_only),
        })
    }
}

/// Whether a `scope` allows to read and no more: words with spaces between them, as RFC 8693 has it, or a list of words, as
/// some issuers write. Many issuers put words of their own into every token, which say nothing here.
fn is_read_only(scope: &Value) -> bool {
    let words: Vec<&str> = match scope {
        Value::String(words) => words.split(' ').collect(),
        Value::Array(words) => words.iter().filter_map(Value::as_str).flat_map(|words| words.split(' ')).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => Vec::new(),
    };
    words.contains(&READ) && !words.contains(&WRITE)
}

impl Verifier {
    fn new(key: &TokenKey, options: &AuthOptions) -> Result<Verifier, AuthError> {
        let (algorithm, decoding) = match (&key.material, key.algorithm) {
            (Material::Text(secret), TokenAlgorithm::Hs256) if secret.len() < SECRET_BYTES_MIN => {
                return Err(AuthError::ShortSecret(secret.len()));
            }
            (Material::Text(secret), TokenAlgorithm::Hs256) => (Algorithm::HS256, Ok(DecodingKey::from_secret(secret))),
            (Material::Text(pem), TokenAlgorithm::Rs256) => (Algorithm::RS256, DecodingKey::from_rsa_pem(pem)),
            (Material::Text(pem), TokenAlgorithm::Es256) => (Algorithm::ES256, DecodingKey::from_ec_pem(pem)),
            (Material::Jwk(_), TokenAlgorithm::Hs256) => {
                return Err(AuthError::BadJwk(key.algorithm, "a secret cannot be published".into()));
            }
            (Material::Jwk(jwk), TokenAlgorithm::Rs256) => (Algorithm::RS256, DecodingKey::from_jwk(jwk)),
            (Material::Jwk(jwk), TokenAlgorithm::Es256) => (Algorithm::ES256, DecodingKey::from_jwk(jwk)),
        };
        let decoding = decoding.map_err(|error| match key.material {
            Material::Text(_) => AuthError::BadPem(key.algorithm, error.to_string()),
            Material::Jwk(_) => AuthError::BadJwk(key.algorithm, error.to_string()),
        })?;
        Ok(Verifier { kid: key.kid.clone(), algorithm, key: decoding, validation: validation(algorithm, options) })
    }
}

fn validation(algorithm: Algorithm, options: &AuthOptions) -> Validation {
    let mut validation = Validation::new(algorithm);
    // Times are judged by our own clock, also for tokens that are remembered.
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
    validation
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
