//! Random bytes as what payment providers send. Where a signature can be made here, it fits, so that what stands behind it
//! is read as well.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use largesse_api::payments::alipay::{Alipay, AlipayOptions};
use largesse_api::payments::apple::{Apple, AppleOptions};
use largesse_api::payments::douyin::{Douyin, DouyinOptions};
use largesse_api::payments::hmac::{HmacChannel, HmacOptions};
use largesse_api::payments::wechat::{Wechat, WechatOptions};
use largesse_api::payments::{PaymentOptions, Provider};
use largesse_api::signed;
use largesse_engine::clock::{Clock, SystemClock};
use sha2::Sha256;

use crate::words;

const SECRET: &str = "a secret of the fuzz targets, long enough";
const RSA: &str = include_str!("../../../api/tests/keys/rsa.pub.pem");
const ROOT: &str = include_str!("../../../api/tests/vectors/apple/testCA.pem");

/// A channel of every kind.
pub fn options() -> PaymentOptions {
    let (app_id, environment) = ("app".to_owned(), "Sandbox".to_owned());
    let apple = AppleOptions { bundle_id: app_id.clone(), environment, roots: vec![ROOT.into()] };
    let keys = vec![("1".to_owned(), RSA.to_owned())];
    let wechat = WechatOptions { merchant_id: "1".into(), api_v3_key: "k".repeat(32), keys };
    let alipay = AlipayOptions { app_id: app_id.clone(), seller_id: Some("1".into()), public_key: RSA.into() };
    let douyin = DouyinOptions { app_id, platform_key: Some(RSA.into()), token: Some("token".into()) };
    let own = HmacOptions { name: "own".into(), secret: SECRET.into() };
    let providers: [(&str, Arc<dyn Provider>); 5] = [
        ("apple", Arc::new(Apple::new(&apple).unwrap())),
        ("wechat", Arc::new(Wechat::new(&wechat).unwrap())),
        ("alipay", Arc::new(Alipay::new(&alipay).unwrap())),
        ("douyin", Arc::new(Douyin::new(&douyin).unwrap())),
        ("own", Arc::new(HmacChannel::new(own).unwrap())),
    ];
    let providers =
        providers.into_iter().map(|(name, provider)| (name.to_owned(), provider)).collect::<HashMap<_, _>>();
    PaymentOptions { asset: "coin".into(), currency: "CNY".into(), products: Vec::new(), providers }
}

/// One input as reports to each channel: path, headers, body.
pub fn of(input: &[u8]) -> Vec<(&'static str, HeaderMap, Vec<u8>)> {
    let now = SystemClock.now().get();
    let raw = words::json(input);
    let own = "/v1/recharges/callbacks/own";
    let mut proof = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    proof.update(signed::text(&http::Method::POST, own, now, &raw).as_bytes());
    let headers = |pairs: &[(&'static str, String)]| {
        let pairs = pairs.iter().filter_map(|(name, value)| Some((*name, value.parse().ok()?)));
        pairs.map(|(name, value)| (http::HeaderName::from_static(name), value)).collect::<HeaderMap>()
    };
    let mine =
        [("largesse-time", now.to_string()), ("largesse-signature", signed::hex(&proof.finalize().into_bytes()))];
    let text = String::from_utf8_lossy(input).into_owned();
    let wechat = [
        ("wechatpay-timestamp", (now / 1_000).to_string()),
        ("wechatpay-nonce", "n".into()),
        ("wechatpay-serial", "1".into()),
        ("wechatpay-signature", STANDARD.encode(input)),
    ];
    let douyin =
        [("byte-timestamp", text.clone()), ("byte-nonce-str", "n".into()), ("byte-signature", STANDARD.encode(input))];
    vec![
        (own, headers(&mine), raw.clone()),
        ("/v1/recharges/callbacks/apple", HeaderMap::new(), raw.clone()),
        ("/v1/recharges/callbacks/apple", HeaderMap::new(), jws(input)),
        ("/v1/recharges/callbacks/wechat", headers(&wechat), raw.clone()),
        ("/v1/recharges/callbacks/alipay", HeaderMap::new(), words::query(input).into_bytes()),
        ("/v1/recharges/callbacks/douyin", headers(&douyin), raw.clone()),
        ("/v1/recharges/callbacks/douyin", HeaderMap::new(), raw),
    ]
}

/// Signed data of Apple's form, whose chain of certificates is the input between two real ones.
fn jws(input: &[u8]) -> Vec<u8> {
    let root: String = ROOT.lines().filter(|line| !line.starts_with("---")).collect();
    let chain = [STANDARD.encode(input), root.clone(), root];
    let header = format!(r#"{{"alg":"ES256","x5c":["{}"]}}"#, chain.join("\",\""));
    let parts = [header.as_bytes(), br#"{"signedDate":1}"#, input].map(|part| URL_SAFE_NO_PAD.encode(part));
    format!(r#"{{"signedPayload":"{}"}}"#, parts.join(".")).into_bytes()
}
