//! Payments that another server of the same house reports, under a secret that both hold.
//!
//! The request is signed as [`crate::signed`] describes, but with the channel's own secret: `Largesse-Time` in
//! milliseconds and `Largesse-Signature`, the hex HMAC-SHA-256 of method, path, time and body digest. Everything in the
//! body is signed, so it may name the amount itself:
//! `{"transaction_id", "user_id", "product", "quantity"?}` or `{"transaction_id", "user_id", "asset", "amount"}`.

use axum::response::{IntoResponse, Response};
use http::Method;
use largesse_engine::units::{Amount, UserId};
use largesse_engine::wallet::event::Channel;
use serde::Deserialize;

use crate::auth::services::hmac_fits;
use crate::payments::{Distrust, Notice, Payment, Provider, Told, WINDOW_MILLIS, Worth, header, json};
use crate::signed::{self, SIGNATURE, TIME};
use crate::wire::Id;

const SECRET_BYTES_MIN: usize = 32;

#[derive(Clone)]
pub struct HmacOptions {
    /// The last part of the path, and what transaction numbers are told apart by.
    pub name: String,
    pub secret: String,
}

impl std::fmt::Debug for HmacOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HmacOptions").field("name", &self.name).finish_non_exhaustive()
    }
}

pub struct HmacChannel(HmacOptions);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    transaction_id: String,
    user_id: Id,
    #[serde(default)]
    product: Option<String>,
    #[serde(default)]
    quantity: Option<u64>,
    #[serde(default)]
    asset: Option<String>,
    #[serde(default)]
    amount: Option<u64>,
}

impl HmacChannel {
    pub fn new(options: HmacOptions) -> Result<HmacChannel, String> {
        if options.secret.len() < SECRET_BYTES_MIN {
            return Err(format!("the secret of `{}` needs at least {SECRET_BYTES_MIN} bytes", options.name));
        }
        Ok(HmacChannel(options))
    }

    fn check(&self, notice: &Notice<'_>) -> Result<(), Distrust> {
        let header = |name| header(notice.headers, name).ok_or(Distrust::Signature("a header is missing"));
        let time: u64 = header(TIME)?.parse().map_err(|_| Distrust::Signature("its time is no number"))?;
        let claimed = signed::unhex(header(SIGNATURE)?).ok_or(Distrust::Signature("it is not 64 hex digits"))?;
        let text = signed::text(&Method::POST, notice.path, time, notice.body);
        if !hmac_fits(self.0.secret.as_bytes(), text.as_bytes(), &claimed) {
            return Err(Distrust::Signature("it does not fit"));
        }
        if time.abs_diff(notice.now.get()) > WINDOW_MILLIS {
            return Err(Distrust::Stale);
        }
        Ok(())
    }
}

impl Provider for HmacChannel {
    fn channel(&self) -> Channel {
        Channel::Manual
    }

    fn read(&self, notice: &Notice<'_>) -> Result<Told, Distrust> {
        self.check(notice)?;
        let body: Body = json(notice.body)?;
        let worth = match body {
            Body { product: Some(id), quantity, asset: None, amount: None, .. } => {
                Worth::Product { id, quantity: quantity.unwrap_or(1) }
            }
            Body { product: None, quantity: None, asset: Some(asset), amount: Some(amount), .. } => {
                let amount = Amount::new(amount).filter(|amount| !amount.is_zero());
                let amount = amount.ok_or_else(|| Distrust::Malformed("`amount` is 1 to 2^53 − 1".into()))?;
                Worth::Amount { asset, amount }
            }
            Body { .. } => return Err(Distrust::Malformed("name a `product`, or `asset` and `amount`".into())),
        };
        let user = body.user_id.user();
        if user == UserId::NOBODY || body.transaction_id.is_empty() {
            return Err(Distrust::Malformed("`user_id` and `transaction_id` cannot be empty".into()));
        }
        // Two channels may use the same numbers.
        let transaction = format!("{}:{}", self.0.name, body.transaction_id);
        Ok(Told::Paid(Payment { transaction, user, worth }))
    }

    fn thanks(&self) -> Response {
        crate::edge::json(&serde_json::json!({ "outcome": "applied" })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use largesse_engine::units::Time;
    use serde_json::{Value, json};

    use super::*;
    use crate::auth::services::SigningSecret;

    const SECRET: &str = "a secret of thirty-two bytes, at least";
    const NOW: u64 = 1_800_000_000_000;
    const PATH: &str = "/v1/recharges/callbacks/shop";

    fn channel() -> HmacChannel {
        HmacChannel::new(HmacOptions { name: "shop".into(), secret: SECRET.into() }).unwrap()
    }

    fn headers(secret: &str, path: &str, time: u64, body: &str) -> HeaderMap {
        let text = signed::text(&Method::POST, path, time, body.as_bytes());
        let signature = signed::hex(&crate::auth::services::hmac(secret.as_bytes(), text.as_bytes()));
        let mut headers = HeaderMap::new();
        headers.insert(TIME, HeaderValue::from(time));
        headers.insert(SIGNATURE, HeaderValue::from_str(&signature).unwrap());
        headers
    }

    fn read(headers: &HeaderMap, body: &str) -> Result<Told, Distrust> {
        channel().read(&Notice { headers, path: PATH, body: body.as_bytes(), now: Time(NOW) })
    }

    fn read_signed(body: &Value) -> Result<Told, Distrust> {
        let body = body.to_string();
        read(&headers(SECRET, PATH, NOW, &body), &body)
    }

    #[test]
    fn a_signed_notice_names_a_product_or_an_amount() {
        let paid = |worth| Ok(Told::Paid(Payment { transaction: "shop:t1".into(), user: UserId(3001), worth }));
        let product = json!({ "transaction_id": "t1", "user_id": 3001, "product": "coins.60", "quantity": 2 });
        assert_eq!(read_signed(&product), paid(Worth::Product { id: "coins.60".into(), quantity: 2 }));
        let body = product.to_string();
        let signed = headers(SECRET, PATH, NOW, &body);
        crate::payments::tests::check_nearly(&channel(), &signed, PATH, body.as_bytes(), Time(NOW));
        let amount = json!({ "transaction_id": "t1", "user_id": "3001", "asset": "coin", "amount": 60 });
        let sixty = Amount::new(60).unwrap();
        assert_eq!(read_signed(&amount), paid(Worth::Amount { asset: "coin".into(), amount: sixty }));
    }

    #[test]
    fn everything_else_is_refused() {
        let body = json!({ "transaction_id": "t1", "user_id": 1, "asset": "coin", "amount": 60 }).to_string();
        let refused = |headers: &HeaderMap, body: &str, why: &str| {
            assert!(matches!(read(headers, body), Err(Distrust::Signature(_))), "{why}");
        };
        let good = headers(SECRET, PATH, NOW, &body);
        refused(&good, &body.replace("60", "61"), "another body");
        refused(&headers("another secret, as long as the first one", PATH, NOW, &body), &body, "another secret");
        refused(&headers(SECRET, "/v1/recharges/callbacks/other", NOW, &body), &body, "another path");
        refused(&HeaderMap::new(), &body, "nothing");
        let mut changed = good.clone();
        changed.insert(TIME, HeaderValue::from(NOW + 1));
        refused(&changed, &body, "another time");
        // The secret of a service's key is for another purpose.
        let derived = SigningSecret::of(SECRET);
        let text = signed::text(&Method::POST, PATH, NOW, body.as_bytes());
        changed.insert(TIME, HeaderValue::from(NOW));
        changed.insert(SIGNATURE, HeaderValue::from_str(&signed::sign(&derived, &text)).unwrap());
        refused(&changed, &body, "another way to sign");
        for time in [NOW - WINDOW_MILLIS - 1, NOW + WINDOW_MILLIS + 1] {
            assert_eq!(read(&headers(SECRET, PATH, time, &body), &body), Err(Distrust::Stale));
        }
        for bad in [
            json!({}),
            json!([]),
            json!({ "transaction_id": "t", "user_id": 1 }),
            json!({ "transaction_id": "t", "user_id": 1, "amount": 5 }),
            json!({ "transaction_id": "t", "user_id": 1, "asset": "coin", "amount": 0 }),
            json!({ "transaction_id": "t", "user_id": 1, "asset": "coin", "amount": -5 }),
            json!({ "transaction_id": "t", "user_id": 1, "asset": "coin", "amount": 5, "product": "p" }),
            json!({ "transaction_id": "t", "user_id": 1, "product": "p", "price": 1 }),
            json!({ "transaction_id": "t", "user_id": 0, "product": "p" }),
            json!({ "transaction_id": "", "user_id": 1, "product": "p" }),
        ] {
            assert!(matches!(read_signed(&bad), Err(Distrust::Malformed(_))), "{bad}");
        }
        assert!(HmacChannel::new(HmacOptions { name: "x".into(), secret: "short".into() }).is_err());
    }
}
