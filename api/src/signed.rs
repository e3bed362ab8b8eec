//! Signed requests: a service proves itself without showing its key.
//!
//! Three headers: `Largesse-Key` names the key, `Largesse-Time` is when the request was signed in milliseconds since
//! 1970, `Largesse-Signature` is the HMAC-SHA-256, in hex, of four lines under the key's signing secret:
//!
//! ```text
//! METHOD
//! path and query as sent
//! the time
//! SHA-256 of the body, in hex
//! ```
//!
//! The signing secret is the HMAC-SHA-256 of `largesse-signing-v1` under the key. A signature counts within five minutes
//! of its time, and once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::Request;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use largesse_engine::units::Time;
use sha2::{Digest, Sha256};

use crate::auth::services::{ServiceKey, SigningSecret, hmac, hmac_fits};
use crate::error::ErrorCode;
use crate::extract::in_time;
use crate::problem::Problem;
use crate::state::ApiState;

pub const KEY: &str = "largesse-key";
pub const TIME: &str = "largesse-time";
pub const SIGNATURE: &str = "largesse-signature";

/// How far a signature's time may be from ours.
pub const WINDOW_MILLIS: u64 = 5 * 60 * 1_000;
/// Largest body that is read before its signature is checked.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Signatures remembered at a time; beyond, signed requests are turned away until some may be forgotten.
const REMEMBERED_MAX: usize = 200_000;

/// The service that signed a request, beside it in its extensions. Only this file puts it there.
#[derive(Clone)]
pub struct SignedBy(Arc<ServiceKey>);

impl SignedBy {
    pub fn service(&self) -> Arc<ServiceKey> {
        Arc::clone(&self.0)
    }
}

/// What is signed.
pub fn text(method: &Method, path_and_query: &str, time: u64, body: &[u8]) -> String {
    format!("{method}\n{path_and_query}\n{time}\n{}", hex(&Sha256::digest(body)))
}

/// The signature of a text, as it is sent.
pub fn sign(secret: &SigningSecret, text: &str) -> String {
    hex(&hmac(&secret.0, text.as_bytes()))
}

pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes every digit");
        text
    })
}

/// Bytes from their hex digits, lower case only: one form of a signature, so that a replay has no other.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// The request with the service that signed it. Its body has been read: what the handler sees is what was signed.
pub async fn verified(state: &ApiState, request: Request) -> Result<Request, Problem> {
    let (mut parts, body) = request.into_parts();
    let refused = |detail: &'static str| Problem::new(ErrorCode::BadSignature, detail);
    if parts.headers.contains_key(http::header::AUTHORIZATION) {
        return Err(refused("a request is signed or has an Authorization header, not both"));
    }
    let now = state.service.clock.now();
    let time: u64 =
        one(&parts.headers, TIME)?.parse().map_err(|_| refused("Largesse-Time is milliseconds since 1970"))?;
    if time.abs_diff(now.get()) > WINDOW_MILLIS {
        return Err(refused("Largesse-Time is more than five minutes from the server's time"));
    }
    let signature = unhex(one(&parts.headers, SIGNATURE)?)
        .ok_or_else(|| refused("Largesse-Signature is 64 hex digits in lower case"))?;
    let signer = state.auth.signer(one(&parts.headers, KEY)?);
    let (service, secret) = signer.ok_or_else(|| refused("no key of this name can sign requests here"))?;
    let body = read(body, state).await?;
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if !hmac_fits(&secret.0, text(&parts.method, path, time, &body).as_bytes(), &signature) {
        return Err(refused("the signature does not fit this method, path, time and body"));
    }
    state.replays.admit(signature, now)?;
    parts.extensions.insert(SignedBy(service));
    Ok(Request::from_parts(parts, Body::from(body)))
}

fn one<'a>(headers: &'a HeaderMap, name: &'static str) -> Result<&'a str, Problem> {
    let mut values = headers.get_all(name).iter();
    let (value, more) = (values.next(), values.next());
    let value = value.filter(|_| more.is_none()).and_then(|value| value.to_str().ok());
    let detail = "a signed request has Largesse-Key, Largesse-Time and Largesse-Signature, each once";
    value.ok_or_else(|| Problem::new(ErrorCode::BadSignature, detail))
}

async fn read(body: Body, state: &ApiState) -> Result<bytes::Bytes, Problem> {
    let body = Limited::new(body, BODY_BYTES_MAX).collect();
    match in_time(body, state.options.body_timeout).await {
        Some(Ok(body)) => Ok(body.to_bytes()),
        Some(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("the body of a signed request has at most {BODY_BYTES_MAX} bytes");
            Err(Problem::new(ErrorCode::PayloadTooLarge, detail))
        }
        Some(Err(_)) => Err(Problem::bad_request("the body broke off")),
        None => Err(Problem::bad_request("the body did not arrive in time")),
    }
}

/// Signatures that were used within the window, in two generations: the older one goes when both are old enough.
#[derive(Debug, Default)]
pub struct Replays(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    since: Time,
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
}

impl Replays {
    /// Refuses a signature that was admitted before.
    fn admit(&self, signature: [u8; 32], now: Time) -> Result<(), Problem> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A signature made just before the window's end ahead of us counts until two windows later.
        if now.get().saturating_sub(seen.since.get()) > 2 * WINDOW_MILLIS {
            seen.old = std::mem::take(&mut seen.young);
            seen.since = now;
        }
        if seen.young.contains(&signature) || seen.old.contains(&signature) {
            let detail = "this signature was used before; sign each attempt with its own time";
            return Err(Problem::new(ErrorCode::BadSignature, detail));
        }
        if seen.young.len() >= REMEMBERED_MAX {
            return Err(Problem::new(ErrorCode::Overloaded, "too many signed requests within ten minutes"));
        }
        seen.young.insert(signature);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_and_its_signature_are_as_documented() {
        let text = text(&Method::POST, "/v1/recharges?x=1", 1_700_000_000_000, b"{}");
        let digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(text, format!("POST\n/v1/recharges?x=1\n1700000000000\n{digest}"));
        // Both figures were made with another implementation: Python's hmac and hashlib.
        let secret = SigningSecret::of("lgk_example");
        assert_eq!(hex(&secret.0), "6a08bf004fa88accc57bd1fb9ef717f1afb90f775b0ae7bd0a183d008c350d0e");
        let signature = "d42b931a34b8ec0fe01fa457329ee3bc871c24413d1ba2ceb08fc42e8971068b";
        assert_eq!(sign(&secret, &text), signature);
        assert!(include_str!("../../docs/auth.md").contains(signature), "the documented example is this one");
    }

    #[test]
    fn hex_has_one_form() {
        let bytes = [0xab; 32];
        assert_eq!(unhex(&hex(&bytes)), Some(bytes));
        for bad in [&"AB".repeat(32), &"ab".repeat(31), &"ab".repeat(33), &"zz".repeat(32), ""] {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_signature_counts_once_for_as_long_as_it_counts() {
        let replays = Replays::default();
        let at = |millis| Time(1_800_000_000_000 + millis);
        let code = |signature: u8, millis| replays.admit([signature; 32], at(millis)).map_err(|problem| problem.code());
        assert_eq!(code(1, 0), Ok(()));
        for later in [0, 1, WINDOW_MILLIS, 2 * WINDOW_MILLIS, 2 * WINDOW_MILLIS + 1] {
            assert_eq!(code(1, later), Err(ErrorCode::BadSignature), "{later} ms later");
        }
        assert_eq!(code(2, 2 * WINDOW_MILLIS + 2), Ok(()));
        // Its time has long left the window by now; nothing of it is kept.
        assert_eq!(code(3, 4 * WINDOW_MILLIS + 10), Ok(()));
        let seen = replays.0.lock().unwrap();
        assert_eq!((seen.young.len(), seen.old.len()), (1, 1));
    }

    #[test]
    fn memory_for_signatures_has_a_limit_that_is_told() {
        let replays = Replays::default();
        let signature = |number: u32| {
            let mut signature = [0; 32];
            signature[..4].copy_from_slice(&number.to_le_bytes());
            signature
        };
        let limit = u32::try_from(REMEMBERED_MAX).unwrap();
        (0..limit).for_each(|number| replays.admit(signature(number), Time(1)).unwrap());
        assert_eq!(replays.admit(signature(limit), Time(1)).unwrap_err().code(), ErrorCode::Overloaded);
        assert_eq!(replays.admit(signature(0), Time(1)).unwrap_err().code(), ErrorCode::BadSignature);
    }
}
