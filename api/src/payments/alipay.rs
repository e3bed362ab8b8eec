//! Alipay: asynchronous notifications, signed with RSA2.
//!
//! - "使用支付宝公钥验签", <https://developer.aliyun.com/article/710981>: of the form's parameters, all but `sign` and
//!   `sign_type`, decoded, are sorted by name and joined as `name=value` with `&`; `sign` is SHA-256 with RSA over that, in
//!   base64, with Alipay's key.
//! - "异步通知参数说明", <https://docs.open.alipay.com/204/105301/>: the server must compare `app_id` (and `seller_id`)
//!   with its own; `TRADE_SUCCESS` and `TRADE_FINISHED` mean that it was paid; the answer is the word `success`.

use std::collections::BTreeMap;

use axum::response::{IntoResponse, Response};
use largesse_engine::wallet::event::Channel;

use crate::payments::rsa::RsaKey;
use crate::payments::{Distrust, Notice, Payment, Provider, Told, Worth, user};

/// Parameters that a notification can have.
const PARAMETERS_MAX: usize = 100;

#[derive(Debug)]
pub struct AlipayOptions {
    pub app_id: String,
    /// Where given, a payment must have gone to this seller.
    pub seller_id: Option<String>,
    /// Alipay's public key, not the app's.
    pub public_key: String,
}

pub struct Alipay {
    app_id: String,
    seller_id: Option<String>,
    key: RsaKey,
}

type Form = BTreeMap<String, String>;

impl Alipay {
    pub fn new(options: &AlipayOptions) -> Result<Alipay, String> {
        let key = RsaKey::parse(&options.public_key)?;
        Ok(Alipay { app_id: options.app_id.clone(), seller_id: options.seller_id.clone(), key })
    }

    /// The parameters that were signed.
    fn checked(&self, body: &[u8]) -> Result<Form, Distrust> {
        let mut form = parse(body)?;
        let sign = form.remove("sign").ok_or(Distrust::Signature("`sign` is missing"))?;
        if form.remove("sign_type").as_deref() != Some("RSA2") {
            return Err(Distrust::Signature("`sign_type` must be RSA2"));
        }
        if !self.key.fits(text(&form).as_bytes(), &sign) {
            return Err(Distrust::Signature("it does not fit"));
        }
        Ok(form)
    }
}

/// What is signed. The form is sorted by its type.
fn text(form: &Form) -> String {
    let pairs: Vec<String> = form.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn parse(body: &[u8]) -> Result<Form, Distrust> {
    let malformed = |why: &str| Distrust::Malformed(why.into());
    let mut form = Form::new();
    for (name, value) in form_urlencoded::parse(body) {
        // Bytes that are no UTF-8 were replaced: what was signed cannot be told.
        if name.contains(char::REPLACEMENT_CHARACTER) || value.contains(char::REPLACEMENT_CHARACTER) {
            return Err(malformed("it is not in UTF-8"));
        }
        if form.len() >= PARAMETERS_MAX {
            return Err(malformed("it has too many parameters"));
        }
        if form.insert(name.into_owned(), value.into_owned()).is_some() {
            return Err(malformed("a parameter is there twice"));
        }
    }
    Ok(form)
}

/// `6.00` yuan in cents; nothing else than digits and at most two after the point.
fn cents(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_digits(whole) || !is_digits(fraction) || fraction.len() > 2 {
        return None;
    }
    let fraction: u64 = format!("{fraction:0<2}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(fraction)
}

impl Provider for Alipay {
    fn channel(&self) -> Channel {
        Channel::Alipay
    }

    fn read(&self, notice: &Notice<'_>) -> Result<Told, Distrust> {
        let form = self.checked(notice.body)?;
        let field = |name: &str| {
            let value = form.get(name).map(String::as_str);
            value.ok_or_else(|| Distrust::Malformed(format!("`{name}` is missing")))
        };
        if field("app_id")? != self.app_id {
            return Err(Distrust::NotForUs("`app_id` is another app's"));
        }
        if self.seller_id.as_deref().is_some_and(|seller| form.get("seller_id").map(String::as_str) != Some(seller)) {
            return Err(Distrust::NotForUs("`seller_id` is another seller's"));
        }
        let status = field("trade_status")?;
        // A refund of a part comes as a success again, with what was given back beside it.
        let is_refund = form.get("refund_fee").is_some_and(|fee| cents(fee) != Some(0));
        if !matches!(status, "TRADE_SUCCESS" | "TRADE_FINISHED") || is_refund {
            return Ok(Told::Other(status.to_owned()));
        }
        let minor = cents(field("total_amount")?)
            .ok_or_else(|| Distrust::Malformed("`total_amount` is an amount of yuan".into()))?;
        Ok(Told::Paid(Payment {
            transaction: field("trade_no")?.to_owned(),
            user: user(field("passback_params")?, "passback_params")?,
            worth: Worth::Price { minor, currency: "CNY".into() },
        }))
    }

    fn thanks(&self) -> Response {
        "success".into_response()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use largesse_engine::units::{Time, UserId};

    use super::*;
    use crate::payments::rsa::tests::{PUBLIC, sign};

    const FORM: [(&str, &str); 9] = [
        ("app_id", "2021000000000001"),
        ("body", "60 金币 & more = fun"),
        ("charset", "utf-8"),
        ("notify_time", "2027-01-15 08:00:00"),
        ("passback_params", "3001"),
        ("seller_id", "2088000000000001"),
        ("total_amount", "6.00"),
        ("trade_no", "2027011522001"),
        ("trade_status", "TRADE_SUCCESS"),
    ];

    fn alipay() -> Alipay {
        let seller_id = Some("2088000000000001".into());
        Alipay::new(&AlipayOptions { app_id: FORM[0].1.into(), seller_id, public_key: PUBLIC.into() }).unwrap()
    }

    /// The form with these values instead, signed.
    fn signed(changes: &[(&str, &str)]) -> String {
        let mut form: BTreeMap<&str, &str> = FORM.into();
        form.extend(changes.iter().copied());
        form.retain(|_, value| *value != "none");
        let own: Form = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.append_pair("sign", &sign(text(&own).as_bytes())).append_pair("sign_type", "RSA2");
        // In another order than they are signed in.
        body.extend_pairs(form.iter().rev());
        body.finish()
    }

    fn read(body: &str) -> Result<Told, Distrust> {
        alipay().read(&Notice { headers: &HeaderMap::new(), path: "/", body: body.as_bytes(), now: Time(0) })
    }

    #[test]
    fn a_payment_is_read_from_the_signed_parameters() {
        let worth = Worth::Price { minor: 600, currency: "CNY".into() };
        let want = Payment { transaction: "2027011522001".into(), user: UserId(3001), worth };
        assert_eq!(read(&signed(&[])), Ok(Told::Paid(want.clone())));
        let body = signed(&[]).into_bytes();
        crate::payments::tests::check_nearly(&alipay(), &HeaderMap::new(), "/", &body, Time(0));
        assert_eq!(read(&signed(&[("trade_status", "TRADE_FINISHED")])), Ok(Told::Paid(want.clone())));
        assert_eq!(read(&signed(&[("refund_fee", "0.00")])), Ok(Told::Paid(want)), "nothing was given back");
    }

    #[test]
    fn the_text_is_the_one_of_the_published_example() {
        let notice = "total_amount=2.00&buyer_id=2088102116773037&body=大乐透2.1&trade_no=2016071921001003030200089909\
            &refund_fee=0.00&notify_time=2016-07-19 14:10:49&subject=大乐透2.1&charset=utf-8\
            &notify_type=trade_status_sync&out_trade_no=0719141034-6418&gmt_close=2016-07-19 14:10:46\
            &gmt_payment=2016-07-19 14:10:47&trade_status=TRADE_SUCCESS&version=1.0&gmt_create=2016-07-19 14:10:44\
            &app_id=2015102700040153&seller_id=2088102119685838&notify_id=4a91b7a78a503640467525113fb7d8bg8e";
        let want = "app_id=2015102700040153&body=大乐透2.1&buyer_id=2088102116773037&charset=utf-8\
            &gmt_close=2016-07-19 14:10:46&gmt_create=2016-07-19 14:10:44&gmt_payment=2016-07-19 14:10:47\
            &notify_id=4a91b7a78a503640467525113fb7d8bg8e&notify_time=2016-07-19 14:10:49\
            &notify_type=trade_status_sync&out_trade_no=0719141034-6418&refund_fee=0.00\
            &seller_id=2088102119685838&subject=大乐透2.1&total_amount=2.00\
            &trade_no=2016071921001003030200089909&trade_status=TRADE_SUCCESS&version=1.0";
        assert_eq!(text(&parse(notice.as_bytes()).unwrap()), want);
    }

    #[test]
    fn everything_else_is_refused() {
        let good = signed(&[]);
        for (change, to) in [
            ("total_amount=6.00", "total_amount=600.00"),
            ("passback_params=3001", "passback_params=3002"),
            ("sign_type=RSA2", "sign_type=RSA"),
            ("sign_type=RSA2", "x=RSA2"),
            ("sign=", "sing="),
            ("trade_no=2", "trade_no=3"),
        ] {
            let forged = good.replacen(change, to, 1);
            assert_ne!(forged, good, "{change}");
            assert!(matches!(read(&forged), Err(Distrust::Signature(_))), "{change}");
        }
        assert!(
            matches!(read(&format!("{good}&extra=1")), Err(Distrust::Signature(_))),
            "one more that was not signed"
        );
        assert!(matches!(read(&format!("{good}&total_amount=1")), Err(Distrust::Malformed(_))), "one of them twice");
        assert!(matches!(read(&signed(&[("app_id", "2021000000000002")])), Err(Distrust::NotForUs(_))));
        assert!(matches!(read(&signed(&[("seller_id", "none")])), Err(Distrust::NotForUs(_))));
        for status in ["WAIT_BUYER_PAY", "TRADE_CLOSED"] {
            assert_eq!(read(&signed(&[("trade_status", status)])), Ok(Told::Other(status.into())));
        }
        let refund = read(&signed(&[("refund_fee", "6.00")]));
        assert_eq!(refund, Ok(Told::Other("TRADE_SUCCESS".into())), "a refund is no second payment");
        for (name, value) in
            [("passback_params", "none"), ("passback_params", "x"), ("total_amount", "6,00"), ("trade_no", "none")]
        {
            assert!(matches!(read(&signed(&[(name, value)])), Err(Distrust::Malformed(_))), "{name}={value}");
        }
        for garbage in ["", "&&&", "=", "sign", "{\"sign\":1}", "sign=%ff%fe", "%%%", &"a=1&".repeat(500)] {
            assert!(read(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn yuan_are_read_to_the_cent() {
        for (text, want) in [
            ("6.00", Some(600)),
            ("6", Some(600)),
            ("6.5", Some(650)),
            ("0.01", Some(1)),
            ("6.001", None),
            ("-6.00", None),
            ("6e2", None),
            (".5", None),
            ("", None),
            ("184467440737095517", None),
        ] {
            assert_eq!(cents(text), want, "{text}");
        }
    }
}
