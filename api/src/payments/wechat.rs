//! WeChat Pay, API v3: payment notifications.
//!
//! - "签名验证", <https://pay.weixin.qq.com/wiki/doc/apiv3/wechatpay/wechatpay4_1.shtml>: the signature in
//!   `Wechatpay-Signature` is SHA-256 with RSA, in base64, over three lines, each with its newline: `Wechatpay-Timestamp`,
//!   `Wechatpay-Nonce`, the body as it was sent. `Wechatpay-Serial` names the platform's certificate or public key.
//! - "如何解密证书和回调报文",
//!   <https://pay.weixin.qq.com/docs/merchant/development/interface-rules/certificate-callback-decryption.html>: `resource`
//!   is AES-256-GCM under the merchant's APIv3 key, with its own nonce of 12 bytes and its associated data.
//! - "如何解密支付通知", <https://pay.wechatpay.cn/docs/merchant/products/notification/decryption.html>: what is inside.

use std::collections::HashMap;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use largesse_engine::wallet::event::Channel;
use serde::Deserialize;

use crate::payments::rsa::RsaKey;
use crate::payments::{Distrust, Notice, Payment, Provider, Told, Worth, fresh, header, json, user};

#[derive(Debug)]
pub struct WechatOptions {
    pub merchant_id: String,
    /// Of the merchant's account: 32 bytes.
    pub api_v3_key: String,
    /// The platform's keys, by serial number.
    pub keys: Vec<(String, String)>,
}

pub struct Wechat {
    merchant_id: String,
    cipher: Aes256Gcm,
    keys: HashMap<String, RsaKey>,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    event_type: &'a str,
    resource: Resource<'a>,
}

#[derive(Deserialize)]
struct Resource<'a> {
    algorithm: &'a str,
    ciphertext: &'a str,
    nonce: &'a str,
    #[serde(default)]
    associated_data: &'a str,
}

#[derive(Deserialize)]
struct Transaction {
    mchid: String,
    transaction_id: String,
    trade_state: String,
    #[serde(default)]
    attach: String,
    amount: Total,
}

#[derive(Deserialize)]
struct Total {
    total: u64,
    #[serde(default = "yuan")]
    currency: String,
}

fn yuan() -> String {
    "CNY".into()
}

impl Wechat {
    pub fn new(options: &WechatOptions) -> Result<Wechat, String> {
        let cipher = Aes256Gcm::new_from_slice(options.api_v3_key.as_bytes())
            .map_err(|_| "the APIv3 key has 32 characters".to_owned())?;
        let keys = options.keys.iter().map(|(serial, text)| {
            let key = RsaKey::parse(text).map_err(|error| format!("key {serial}: {error}"))?;
            Ok((serial.clone(), key))
        });
        let keys = keys.collect::<Result<_, String>>()?;
        Ok(Wechat { merchant_id: options.merchant_id.clone(), cipher, keys })
    }

    fn check(&self, notice: &Notice<'_>) -> Result<(), Distrust> {
        let header = |name| header(notice.headers, name).ok_or(Distrust::Signature("a header is missing"));
        let (time, nonce) = (header("wechatpay-timestamp")?, header("wechatpay-nonce")?);
        let key = self.keys.get(header("wechatpay-serial")?);
        let key = key.ok_or(Distrust::Signature("no key of this serial number is configured"))?;
        let mut text = format!("{time}\n{nonce}\n").into_bytes();
        text.extend_from_slice(notice.body);
        text.push(b'\n');
        if !key.fits(&text, header("wechatpay-signature")?) {
            return Err(Distrust::Signature("it does not fit"));
        }
        fresh(time, notice.now)
    }

    fn open(&self, resource: &Resource<'_>) -> Result<Vec<u8>, Distrust> {
        if resource.algorithm != "AEAD_AES_256_GCM" {
            return Err(Distrust::Malformed("`resource.algorithm` is another one".into()));
        }
        let sealed = STANDARD.decode(resource.ciphertext).map_err(|error| Distrust::Malformed(error.to_string()))?;
        let nonce: [u8; 12] = resource
            .nonce
            .as_bytes()
            .try_into()
            .map_err(|_| Distrust::Malformed("`resource.nonce` has 12 characters".into()))?;
        let payload = Payload { msg: &sealed, aad: resource.associated_data.as_bytes() };
        let opened = self.cipher.decrypt(&Nonce::from(nonce), payload);
        opened.map_err(|_| Distrust::Signature("its resource was not sealed with our key"))
    }
}

impl Provider for Wechat {
    fn channel(&self) -> Channel {
        Channel::Wechat
    }

    fn read(&self, notice: &Notice<'_>) -> Result<Told, Distrust> {
        self.check(notice)?;
        let envelope: Envelope<'_> = json(notice.body)?;
        if envelope.event_type != "TRANSACTION.SUCCESS" {
            return Ok(Told::Other(envelope.event_type.to_owned()));
        }
        let transaction: Transaction = json(&self.open(&envelope.resource)?)?;
        if transaction.mchid != self.merchant_id {
            return Err(Distrust::NotForUs("`mchid` is another merchant's"));
        }
        if transaction.trade_state != "SUCCESS" {
            return Ok(Told::Other(transaction.trade_state));
        }
        let Total { total, currency } = transaction.amount;
        Ok(Told::Paid(Payment {
            transaction: transaction.transaction_id,
            user: user(&transaction.attach, "attach")?,
            worth: Worth::Price { minor: total, currency },
        }))
    }

    fn thanks(&self) -> Response {
        StatusCode::NO_CONTENT.into_response()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use largesse_engine::units::{Time, UserId};
    use serde_json::{Value, json};

    use super::*;
    use crate::payments::rsa::tests::{PUBLIC, sign};

    const KEY: &str = "0123456789abcdef0123456789abcdef";
    const NOW: u64 = 1_800_000_000;

    fn wechat() -> Wechat {
        let keys = vec![("PUB_KEY_ID_1".to_owned(), PUBLIC.to_owned())];
        Wechat::new(&WechatOptions { merchant_id: "1900000001".into(), api_v3_key: KEY.into(), keys }).unwrap()
    }

    fn transaction() -> Value {
        json!({ "mchid": "1900000001", "appid": "wx1", "out_trade_no": "o1", "transaction_id": "4200001",
                "trade_type": "APP", "trade_state": "SUCCESS", "attach": "3001",
                "amount": { "total": 600, "payer_total": 600, "currency": "CNY", "payer_currency": "CNY" } })
    }

    fn sealed(transaction: &Value, key: &str) -> Vec<u8> {
        let cipher = Aes256Gcm::new_from_slice(key.as_bytes()).unwrap();
        let plain = transaction.to_string();
        let payload = Payload { msg: plain.as_bytes(), aad: b"transaction" };
        let sealed = cipher.encrypt(&Nonce::from(*b"fdasflkja484"), payload).unwrap();
        let resource = json!({ "original_type": "transaction", "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": STANDARD.encode(sealed), "associated_data": "transaction", "nonce": "fdasflkja484" });
        let body = json!({ "id": "EV-1", "create_time": "2027-01-15T08:00:00+08:00", "resource_type": "encrypt-resource",
            "event_type": "TRANSACTION.SUCCESS", "summary": "支付成功", "resource": resource });
        body.to_string().into_bytes()
    }

    fn headers(time: u64, body: &[u8]) -> HeaderMap {
        let text = [format!("{time}\nnonce\n").as_bytes(), body, b"\n"].concat();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("wechatpay-timestamp", time.to_string()),
            ("wechatpay-nonce", "nonce".into()),
            ("wechatpay-serial", "PUB_KEY_ID_1".into()),
            ("wechatpay-signature", sign(&text)),
        ] {
            headers.insert(name, HeaderValue::from_str(&value).unwrap());
        }
        headers
    }

    fn read(headers: &HeaderMap, body: &[u8]) -> Result<Told, Distrust> {
        wechat().read(&Notice { headers, path: "/", body, now: Time(NOW * 1_000) })
    }

    #[test]
    fn a_payment_is_read_from_what_was_signed_and_sealed() {
        let body = sealed(&transaction(), KEY);
        let worth = Worth::Price { minor: 600, currency: "CNY".into() };
        let want = Payment { transaction: "4200001".into(), user: UserId(3001), worth };
        let headers = headers(NOW, &body);
        assert_eq!(read(&headers, &body), Ok(Told::Paid(want)));
        crate::payments::tests::check_nearly(&wechat(), &headers, "/", &body, Time(NOW * 1_000));
    }

    #[test]
    fn everything_else_is_refused() {
        let body = sealed(&transaction(), KEY);
        let good = headers(NOW, &body);
        let more = [&body[..], b" "].concat();
        assert!(matches!(read(&good, &more), Err(Distrust::Signature(_))), "another body");
        for name in ["wechatpay-timestamp", "wechatpay-nonce", "wechatpay-serial", "wechatpay-signature"] {
            let mut headers = good.clone();
            headers.remove(name);
            assert!(matches!(read(&headers, &body), Err(Distrust::Signature(_))), "without {name}");
            headers.insert(name, HeaderValue::from_static("WECHATPAY/SIGNTEST/AAAA"));
            assert!(matches!(read(&headers, &body), Err(Distrust::Signature(_))), "another {name}");
            let mut twice = good.clone();
            twice.append(name, good[name].clone());
            assert!(matches!(read(&twice, &body), Err(Distrust::Signature(_))), "{name} twice");
        }
        for time in [NOW - 301, NOW + 301] {
            assert_eq!(read(&headers(time, &body), &body), Err(Distrust::Stale));
        }
        let foreign = sealed(&transaction(), "another key that has 32 bytes...");
        assert!(matches!(read(&headers(NOW, &foreign), &foreign), Err(Distrust::Signature(_))));
        let changed = |field: &str, value: Value| {
            let mut transaction = transaction();
            transaction[field] = value;
            let body = sealed(&transaction, KEY);
            read(&headers(NOW, &body), &body)
        };
        assert!(matches!(changed("mchid", "1900000002".into()), Err(Distrust::NotForUs(_))));
        assert_eq!(changed("trade_state", "REFUND".into()), Ok(Told::Other("REFUND".into())));
        for attach in ["", "0", "ann", "-1", "order_id=7"] {
            assert!(matches!(changed("attach", attach.into()), Err(Distrust::Malformed(_))), "{attach}");
        }
        for amount in [json!({}), json!({ "total": -1 }), json!({ "total": 6.5 }), json!(null)] {
            assert!(matches!(changed("amount", amount), Err(Distrust::Malformed(_))));
        }
        for garbage in [&b""[..], b"{", b"[]", b"{\"event_type\":\"TRANSACTION.SUCCESS\"}", b"\xff\xfe"] {
            assert!(matches!(read(&headers(NOW, garbage), garbage), Err(Distrust::Malformed(_))));
        }
    }

    #[test]
    fn a_key_of_the_wrong_length_is_told_at_the_start() {
        let options = WechatOptions { merchant_id: "1".into(), api_v3_key: "short".into(), keys: Vec::new() };
        assert!(Wechat::new(&options).is_err());
    }
}
