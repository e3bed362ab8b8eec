//! Apple: transactions that the App Store signs, alone or in a server notification.
//!
//! - "JWSTransaction" and "JWSTransactionDecodedPayload",
//!   <https://developer.apple.com/documentation/appstoreserverapi/jwstransaction>: a JSON Web Signature by ES256, whose
//!   header brings its chain of certificates in `x5c`.
//! - "App Store Server Notifications V2", <https://developer.apple.com/documentation/appstoreservernotifications>: the body
//!   is `{"signedPayload"}`, a signature of the same kind; its `data.signedTransactionInfo` is the transaction.
//! - "x5c", <https://developer.apple.com/documentation/appstoreservernotifications/x5c>, and Apple's App Store Server
//!   Library, <https://github.com/apple/app-store-server-library-python>, whose test data this one is tested with too.
//!
//! The app puts the user's id into `appAccountToken`, a UUID: eight zero bytes, then the id as a big-endian number.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use largesse_engine::units::UserId;
use largesse_engine::wallet::event::Channel;
use p256::ecdsa::Signature;
use p256::ecdsa::signature::Verifier;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::payments::chain::{ChainError, Roots};
use crate::payments::{Distrust, Notice, Payment, Provider, Told, Worth, json};

/// How far ahead of ours Apple's clock may be.
const AHEAD_MILLIS: u64 = 5 * 60 * 1_000;

#[derive(Debug)]
pub struct AppleOptions {
    pub bundle_id: String,
    /// `Production` or `Sandbox`; payments of the other one are none.
    pub environment: String,
    /// Apple Root CA - G3, from <https://www.apple.com/certificateauthority/>, in PEM.
    pub roots: Vec<String>,
}

pub struct Apple {
    bundle_id: String,
    environment: String,
    roots: Roots,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    /// Of a notification.
    signed_payload: Option<String>,
    /// A transaction alone, as an app's server passes it on.
    signed_transaction_info: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    x5c: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    notification_type: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    bundle_id: String,
    environment: Option<String>,
    signed_transaction_info: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transaction {
    bundle_id: String,
    environment: String,
    transaction_id: String,
    product_id: String,
    #[serde(default = "one")]
    quantity: u64,
    #[serde(rename = "type")]
    kind: String,
    app_account_token: Option<String>,
    revocation_date: Option<u64>,
    in_app_ownership_type: Option<String>,
}

fn one() -> u64 {
    1
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dated {
    signed_date: u64,
}

impl Apple {
    pub fn new(options: &AppleOptions) -> Result<Apple, String> {
        let AppleOptions { bundle_id, environment, roots } = options;
        if !matches!(environment.as_str(), "Production" | "Sandbox") {
            return Err(format!("`{environment}` is neither Production nor Sandbox"));
        }
        let roots = Roots::parse(roots)?;
        Ok(Apple { bundle_id: bundle_id.clone(), environment: environment.clone(), roots })
    }

    /// What was signed. The time of the signature decides whether its certificates held, as old data is shown again.
    fn open<T: DeserializeOwned>(&self, jws: &str, notice: &Notice<'_>) -> Result<T, Distrust> {
        let bad = Distrust::Signature("it is not three parts in base64");
        let mut parts = jws.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(bad);
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| bad.clone());
        let (decoded, payload_bytes) = (decode(header)?, decode(payload)?);
        let head: Header = json(&decoded)?;
        if head.alg != "ES256" {
            return Err(Distrust::Signature("its algorithm must be ES256"));
        }
        let dated: Dated = json(&payload_bytes)?;
        if dated.signed_date > notice.now.get().saturating_add(AHEAD_MILLIS) {
            return Err(Distrust::Stale);
        }
        let chain = head.x5c.iter().take(4).map(|certificate| STANDARD.decode(certificate));
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|_| Distrust::Signature("x5c is not base64"))?;
        let key = self.roots.leaf_key(&chain, Duration::from_millis(dated.signed_date)).map_err(chain_error)?;
        let signature = Signature::from_slice(&decode(signature)?).map_err(|_| bad.clone())?;
        let message = &jws[..header.len() + 1 + payload.len()];
        key.verify(message.as_bytes(), &signature).map_err(|_| Distrust::Signature("it does not fit"))?;
        json(&payload_bytes)
    }

    fn is_ours(&self, bundle_id: &str, environment: Option<&str>) -> Result<(), Distrust> {
        if bundle_id != self.bundle_id {
            return Err(Distrust::NotForUs("`bundleId` is another app's"));
        }
        match environment {
            Some(environment) if environment != self.environment => {
                Err(Distrust::NotForUs("`environment` is the other one"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn transaction(&self, jws: &str, notice: &Notice<'_>) -> Result<Told, Distrust> {
        let transaction: Transaction = self.open(jws, notice)?;
        self.is_ours(&transaction.bundle_id, Some(&transaction.environment))?;
        if transaction.revocation_date.is_some() {
            return Ok(Told::Other("a transaction that was revoked".into()));
        }
        let is_own = transaction.in_app_ownership_type.as_deref().is_none_or(|kind| kind == "PURCHASED");
        if transaction.kind != "Consumable" || !is_own {
            return Ok(Told::Other(format!("a transaction of type {}", transaction.kind)));
        }
        let token = transaction.app_account_token.as_deref().and_then(user_of_token);
        let user = token.ok_or_else(|| {
            Distrust::Malformed("`appAccountToken` is a UUID of eight zero bytes and the user's id".into())
        })?;
        let worth = Worth::Product { id: transaction.product_id, quantity: transaction.quantity };
        Ok(Told::Paid(Payment { transaction: transaction.transaction_id, user, worth }))
    }
}

fn chain_error(error: ChainError) -> Distrust {
    Distrust::Signature(match error {
        ChainError::Length => "its chain must have three certificates",
        ChainError::Unreadable => "a certificate cannot be read",
        ChainError::UnknownRoot => "its root is not among the configured ones",
        ChainError::Signature => "a certificate is not signed by the next one",
        ChainError::Validity => "a certificate was not valid when it was signed",
        ChainError::Purpose => "a certificate is not meant for this",
    })
}

/// `00000000-0000-0000-0000-000000000bb9` is user 3001.
fn user_of_token(token: &str) -> Option<UserId> {
    let dashes = [8, 13, 18, 23];
    let is_uuid = token.len() == 36 && dashes.iter().all(|at| token.as_bytes()[*at] == b'-');
    let digits: String = token.chars().filter(|c| *c != '-').collect();
    if !is_uuid || digits.len() != 32 || !digits.starts_with("0000000000000000") {
        return None;
    }
    let user = u64::from_str_radix(&digits[16..], 16).ok().map(UserId);
    user.filter(|user| *user != UserId::NOBODY)
}

impl Provider for Apple {
    fn channel(&self) -> Channel {
        Channel::Apple
    }

    fn read(&self, notice: &Notice<'_>) -> Result<Told, Distrust> {
        let body: Body = json(notice.body)?;
        let jws = match (body.signed_payload, body.signed_transaction_info) {
            (Some(jws), None) => jws,
            (None, Some(jws)) => return self.transaction(&jws, notice),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Distrust::Malformed("send `signedPayload` or `signedTransactionInfo`".into()));
            }
        };
        let payload: Payload = self.open(&jws, notice)?;
        let Some(data) = payload.data else { return Ok(Told::Other(payload.notification_type)) };
        self.is_ours(&data.bundle_id, data.environment.as_deref())?;
        match (payload.notification_type.as_str(), data.signed_transaction_info) {
            ("ONE_TIME_CHARGE", Some(transaction)) => self.transaction(&transaction, notice),
            (kind, _) => Ok(Told::Other(kind.to_owned())),
        }
    }

    fn thanks(&self) -> Response {
        StatusCode::OK.into_response()
    }
}

#[cfg(test)]
mod tests;
