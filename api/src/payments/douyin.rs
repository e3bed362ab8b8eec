//! Douyin: payment callbacks of mini programs, in both of the forms that the platform signs.
//!
//! - "签名算法", <https://developer.open-douyin.com/docs/resource/zh-CN/mini-app/develop/server/signature-algorithm>: the
//!   trade system sends `Byte-Signature`, SHA-256 with RSA in base64 under the platform's key, over three lines, each with
//!   its newline: `Byte-Timestamp`, `Byte-Nonce-Str`, the body as it was sent.
//! - "支付结果回调", <https://developer.open-douyin.com/docs/resource/zh-CN/mini-app/develop/server/ecpay/pay-list/callback>,
//!   and "签名 DEMO, 回调签名算法",
//!   <https://developer.open-douyin.com/docs/resource/zh-CN/mini-app/open-capacity/business-monetization/guaranteed-payment/TE>:
//!   guaranteed payment sends `msg_signature` in the body, the hex SHA-1 of the token and the fields `timestamp`, `nonce`
//!   and `msg`, sorted and joined. Both carry the order as JSON text in `msg`, and want to hear
//!   `{"err_no":0,"err_tips":"success"}`.

use axum::response::{IntoResponse, Response};
use largesse_engine::wallet::event::Channel;
use serde::Deserialize;
use sha1::{Digest, Sha1};
use subtle::ConstantTimeEq;

use crate::payments::rsa::RsaKey;
use crate::payments::{Distrust, Notice, Payment, Provider, Told, Worth, fresh, header, json, user};
use crate::signed::hex;

#[derive(Debug)]
pub struct DouyinOptions {
    pub app_id: String,
    /// The platform's public key, for callbacks of the trade system.
    pub platform_key: Option<String>,
    /// The payment settings' token, for callbacks of guaranteed payment.
    pub token: Option<String>,
}

pub struct Douyin {
    app_id: String,
    platform_key: Option<RsaKey>,
    token: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(rename = "type")]
    kind: String,
    msg: String,
    #[serde(default)]
    timestamp: Option<String>,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    msg_signature: Option<String>,
}

/// The order; the two forms differ in how they call the app and the order.
#[derive(Deserialize)]
struct Order {
    #[serde(alias = "appid")]
    app_id: String,
    status: String,
    total_amount: u64,
    #[serde(default)]
    cp_extra: String,
    order_id: String,
}

impl Douyin {
    pub fn new(options: &DouyinOptions) -> Result<Douyin, String> {
        if options.platform_key.is_none() && options.token.is_none() {
            return Err("neither the platform's key nor a token is configured".into());
        }
        Ok(Douyin {
            app_id: options.app_id.clone(),
            platform_key: options.platform_key.as_deref().map(RsaKey::parse).transpose()?,
            token: options.token.clone(),
        })
    }

    /// By the signature in the headers, where there is one.
    fn check_headers(&self, notice: &Notice<'_>) -> Result<(), Distrust> {
        let key = self.platform_key.as_ref().ok_or(Distrust::Signature("no platform key is configured"))?;
        let header = |name| header(notice.headers, name).ok_or(Distrust::Signature("a header is missing"));
        let (time, nonce) = (header("byte-timestamp")?, header("byte-nonce-str")?);
        let mut text = format!("{time}\n{nonce}\n").into_bytes();
        text.extend_from_slice(notice.body);
        text.push(b'\n');
        if !key.fits(&text, header("byte-signature")?) {
            return Err(Distrust::Signature("it does not fit"));
        }
        fresh(time, notice.now)
    }

    fn check_body(&self, body: &Body, notice: &Notice<'_>) -> Result<(), Distrust> {
        let token = self.token.as_deref().ok_or(Distrust::Signature("no token is configured"))?;
        let (Some(time), Some(nonce), Some(claimed)) = (&body.timestamp, &body.nonce, &body.msg_signature) else {
            return Err(Distrust::Signature("`timestamp`, `nonce` or `msg_signature` is missing"));
        };
        // Joined without a mark between them, so each field is held to its form: nothing can move from one to another.
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_digits(time) || !is_digits(nonce) || !body.msg.starts_with('{') {
            return Err(Distrust::Signature("`timestamp` and `nonce` are digits, `msg` is JSON"));
        }
        if signature(token, time, nonce, &body.msg).as_bytes().ct_ne(claimed.as_bytes()).into() {
            return Err(Distrust::Signature("it does not fit"));
        }
        fresh(time, notice.now)
    }
}

fn signature(token: &str, time: &str, nonce: &str, msg: &str) -> String {
    let mut parts = [token, time, nonce, msg];
    parts.sort_unstable();
    hex(&Sha1::digest(parts.concat().as_bytes()))
}

impl Provider for Douyin {
    fn channel(&self) -> Channel {
        Channel::Douyin
    }

    fn read(&self, notice: &Notice<'_>) -> Result<Told, Distrust> {
        let is_in_headers = notice.headers.contains_key("byte-signature");
        if is_in_headers {
            self.check_headers(notice)?;
        }
        let body: Body = json(notice.body)?;
        if !is_in_headers {
            self.check_body(&body, notice)?;
        }
        // Guaranteed payment does not sign `type`; a refund's order has other fields and is no payment below.
        if body.kind != "payment" {
            return Ok(Told::Other(body.kind));
        }
        let order: Order = json(body.msg.as_bytes())?;
        if order.app_id != self.app_id {
            return Err(Distrust::NotForUs("the app is another one"));
        }
        if order.status != "SUCCESS" {
            return Ok(Told::Other(order.status));
        }
        Ok(Told::Paid(Payment {
            transaction: order.order_id,
            user: user(&order.cp_extra, "cp_extra")?,
            worth: Worth::Price { minor: order.total_amount, currency: "CNY".into() },
        }))
    }

    fn thanks(&self) -> Response {
        crate::edge::json(&serde_json::json!({ "err_no": 0, "err_tips": "success" })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use largesse_engine::units::{Time, UserId};
    use serde_json::{Value, json};

    use super::*;
    use crate::payments::rsa::tests::{PUBLIC, sign};

    const NOW: u64 = 1_800_000_000;
    const TOKEN: &str = "the token of the settings";

    fn douyin(platform_key: Option<&str>, token: Option<&str>) -> Douyin {
        let (platform_key, token) = (platform_key.map(Into::into), token.map(Into::into));
        Douyin::new(&DouyinOptions { app_id: "tt07e3715e98c9aac0".into(), platform_key, token }).unwrap()
    }

    fn order() -> Value {
        json!({ "app_id": "tt07e3715e98c9aac0", "out_order_no": "o1", "order_id": "N7215864582118574351",
                "status": "SUCCESS", "total_amount": 600, "cp_extra": "3001" })
    }

    fn in_headers(time: u64, body: &[u8]) -> HeaderMap {
        let text = [format!("{time}\nnonce\n").as_bytes(), body, b"\n"].concat();
        let mut headers = HeaderMap::new();
        headers.insert("byte-timestamp", HeaderValue::from(time));
        headers.insert("byte-nonce-str", HeaderValue::from_static("nonce"));
        headers.insert("byte-signature", HeaderValue::from_str(&sign(&text)).unwrap());
        headers
    }

    fn in_body(order: &Value, time: &str, nonce: &str) -> Value {
        let msg = order.to_string();
        let msg_signature = signature(TOKEN, time, nonce, &msg);
        json!({ "timestamp": time, "nonce": nonce, "msg": msg, "type": "payment", "msg_signature": msg_signature })
    }

    fn read(douyin: &Douyin, headers: &HeaderMap, body: &[u8]) -> Result<Told, Distrust> {
        douyin.read(&Notice { headers, path: "/", body, now: Time(NOW * 1_000) })
    }

    fn paid() -> Result<Told, Distrust> {
        let worth = Worth::Price { minor: 600, currency: "CNY".into() };
        Ok(Told::Paid(Payment { transaction: "N7215864582118574351".into(), user: UserId(3001), worth }))
    }

    #[test]
    fn the_signature_is_the_one_that_the_platform_describes() {
        // Python: hashlib.sha1("".join(sorted([token, timestamp, nonce, msg])).encode()).hexdigest()
        assert_eq!(signature("token", "1644399124", "797", "{\"a\":1}"), "d2bec44c5840cbca565244bb2453a49cb5933323");
    }

    #[test]
    fn a_callback_of_the_trade_system_is_proven_by_its_headers() {
        let both = douyin(Some(PUBLIC), Some(TOKEN));
        let body = json!({ "type": "payment", "version": "2.0", "msg": order().to_string() }).to_string();
        let headers = in_headers(NOW, body.as_bytes());
        assert_eq!(read(&both, &headers, body.as_bytes()), paid());
        crate::payments::tests::check_nearly(&both, &headers, "/", body.as_bytes(), Time(NOW * 1_000));
        let more = body.replace("600", "601");
        let good = in_headers(NOW, body.as_bytes());
        assert!(matches!(read(&both, &good, more.as_bytes()), Err(Distrust::Signature(_))));
        assert_eq!(read(&both, &in_headers(NOW - 301, body.as_bytes()), body.as_bytes()), Err(Distrust::Stale));
        for name in ["byte-timestamp", "byte-nonce-str", "byte-signature"] {
            let mut headers = good.clone();
            headers.remove(name);
            assert!(matches!(read(&both, &headers, body.as_bytes()), Err(Distrust::Signature(_))), "without {name}");
        }
        let other = douyin(None, Some(TOKEN));
        assert!(matches!(read(&other, &good, body.as_bytes()), Err(Distrust::Signature(_))), "no key");
    }

    #[test]
    fn a_callback_of_guaranteed_payment_is_proven_by_its_body() {
        let both = douyin(Some(PUBLIC), Some(TOKEN));
        let none = HeaderMap::new();
        let read = |body: &Value| read(&both, &none, body.to_string().as_bytes());
        let mut older = order();
        older["appid"] = older.as_object_mut().unwrap().remove("app_id").unwrap();
        let good = in_body(&older, &NOW.to_string(), "797");
        assert_eq!(read(&good), paid());
        let body = good.to_string().into_bytes();
        crate::payments::tests::check_nearly(&both, &none, "/", &body, Time(NOW * 1_000));
        for (field, value) in [
            ("timestamp", json!((NOW + 1).to_string())),
            ("nonce", json!("798")),
            ("msg", json!(older.to_string().replace("600", "60000"))),
            ("msg_signature", json!("0".repeat(40))),
            ("msg_signature", json!("")),
            ("msg_signature", json!(null)),
        ] {
            let mut forged = good.clone();
            forged[field] = value;
            assert!(matches!(read(&forged), Err(Distrust::Signature(_))), "{field}");
        }
        let moved = in_body(&older, "18000000007", "97");
        assert_eq!(read(&moved), Err(Distrust::Stale));
        assert!(matches!(read(&in_body(&json!("text"), &NOW.to_string(), "797")), Err(Distrust::Signature(_))));
        let mut refund = good.clone();
        refund["type"] = "refund".into();
        assert_eq!(read(&refund), Ok(Told::Other("refund".into())));
    }

    #[test]
    fn orders_of_others_and_garbage_are_refused() {
        let both = douyin(Some(PUBLIC), Some(TOKEN));
        let none = HeaderMap::new();
        let changed = |field: &str, value: Value| {
            let mut order = order();
            order[field] = value;
            read(&both, &none, in_body(&order, &NOW.to_string(), "1").to_string().as_bytes())
        };
        assert!(matches!(changed("app_id", "tt1".into()), Err(Distrust::NotForUs(_))));
        assert_eq!(changed("status", "CANCEL".into()), Ok(Told::Other("CANCEL".into())));
        for (field, value) in [
            ("total_amount", json!(-1)),
            ("total_amount", json!("600")),
            ("cp_extra", json!("")),
            ("order_id", json!(7)),
        ] {
            assert!(matches!(changed(field, value), Err(Distrust::Malformed(_))), "{field}");
        }
        for garbage in [&b""[..], b"{", b"[]", b"null", b"{\"type\":\"payment\"}", b"\xff\xfe"] {
            assert!(read(&both, &none, garbage).is_err());
            assert!(read(&both, &in_headers(NOW, garbage), garbage).is_err());
        }
        let neither = DouyinOptions { app_id: "x".into(), platform_key: None, token: None };
        assert!(Douyin::new(&neither).is_err());
    }
}
