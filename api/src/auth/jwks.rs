//! Sets of public keys as issuers publish them (JWKS, RFC 7517).
//!
//! What is fetched replaces what was fetched before, so a key that is no longer published counts no longer. An issuer
//! that rolls over publishes the new key beside the previous one for a while.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use serde::Deserialize;

use crate::auth::{Material, TOKEN_KEYS_MAX, TokenAlgorithm, TokenKey};

/// Largest document that is looked at.
pub const JWKS_BYTES_MAX: usize = 256 << 10;
/// Shortest RSA modulus that is accepted, in bytes: 2048 bits.
const MODULUS_BYTES_MIN: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwksError {
    #[error("this is not a set of keys: {0}")]
    Malformed(String),
    #[error("it has more than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
    #[error("it has no RS256 or ES256 key for signatures")]
    Empty,
    #[error("it has {0} keys; at most {TOKEN_KEYS_MAX} are taken")]
    TooMany(usize),
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

/// The keys of a document that can verify tokens here. Others (of another kind, for encryption, secrets) are passed over.
pub fn parse(document: &[u8]) -> Result<Vec<TokenKey>, JwksError> {
    if document.len() > JWKS_BYTES_MAX {
        return Err(JwksError::TooLarge);
    }
    let malformed = |error: serde_json::Error| JwksError::Malformed(error.to_string());
    let document: Document = serde_json::from_slice(document).map_err(malformed)?;
    let keys: Vec<TokenKey> = document.keys.into_iter().filter_map(usable).collect();
    match keys.len() {
        0 => Err(JwksError::Empty),
        count if count > TOKEN_KEYS_MAX => Err(JwksError::TooMany(count)),
        _ => Ok(keys),
    }
}

fn usable(value: serde_json::Value) -> Option<TokenKey> {
    // A key of a kind that the library does not know is none of ours.
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    if jwk.common.public_key_use.as_ref().is_some_and(|purpose| *purpose != PublicKeyUse::Signature) {
        return None;
    }
    #[allow(clippy::wildcard_enum_match_arm, reason = "a foreign enum that may grow")]
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if modulus_bytes(&rsa.n) >= MODULUS_BYTES_MIN => {
            (TokenAlgorithm::Rs256, KeyAlgorithm::RS256)
        }
        AlgorithmParameters::EllipticCurve(ec) if ec.curve == EllipticCurve::P256 => {
            (TokenAlgorithm::Es256, KeyAlgorithm::ES256)
        }
        // A secret in a published document is none.
        _ => return None,
    };
    if jwk.common.key_algorithm.is_some_and(|other| other != named) {
        return None;
    }
    Some(TokenKey { kid: jwk.common.key_id.clone(), algorithm, material: Material::Jwk(Box::new(jwk)) })
}

/// Of a number in base64 without padding.
fn modulus_bytes(base64url: &str) -> usize {
    base64url.len() * 3 / 4
}
