//! Payments as the stores and wallets of the world report them, each proven in its own way.
//!
//! A provider reads one notice and says what it proves. It looks nothing up and moves no money. What a payment is worth
//! in coins comes from the configured products, or from the signed notice itself, never from a field that nobody signed.
//! Each payment counts once, by its provider's transaction number.

pub mod alipay;
pub mod apple;
mod chain;
pub mod douyin;
pub mod hmac;
mod rsa;
pub mod wechat;

use std::collections::HashMap;
use std::sync::Arc;

use axum::response::Response;
use http::HeaderMap;
use largesse_engine::units::{Amount, Time, UserId};
use largesse_engine::wallet::event::Channel;

use crate::wire::Id;

/// How far a signed time may be from ours, in either direction.
const WINDOW_MILLIS: u64 = 5 * 60 * 1_000;

/// One way of reporting payments.
pub trait Provider: Send + Sync + 'static {
    fn channel(&self) -> Channel;

    /// Checks the proof first, then reads what it proves.
    fn read(&self, notice: &Notice<'_>) -> Result<Told, Distrust>;

    /// What this provider wants to hear when it need not tell the same again. Everything else makes it try again.
    fn thanks(&self) -> Response;
}

/// A request of a provider.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    pub headers: &'a HeaderMap,
    pub path: &'a str,
    pub body: &'a [u8],
    pub now: Time,
}

/// What a proven notice says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Paid(Payment),
    /// Something that moves no coins here: a test, a refund, a state on the way.
    Other(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Of the provider, one of its kind within the channel.
    pub transaction: String,
    pub user: UserId,
    pub worth: Worth,
}

/// What was paid for, as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Worth {
    Product { id: String, quantity: u64 },
    Price { minor: u64, currency: String },
    Amount { asset: String, amount: Amount },
}

/// Why a notice is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    #[error("the notice is not signed as it should be: {0}")]
    Signature(&'static str),
    #[error("the notice was signed at another time")]
    Stale,
    #[error("the notice is meant for somebody else: {0}")]
    NotForUs(&'static str),
    #[error("the notice cannot be read: {0}")]
    Malformed(String),
}

/// Something that is sold for money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Product {
    /// As the stores call it.
    pub id: String,
    /// Its price in the smallest unit of the currency, for channels that tell only that.
    pub price: Option<u64>,
    /// How much of the asset it is.
    pub amount: Amount,
}

#[derive(Clone, Default)]
pub struct PaymentOptions {
    /// What products are paid out in, by its name in the catalog.
    pub asset: String,
    /// Of the products' prices.
    pub currency: String,
    pub products: Vec<Product>,
    /// By the last part of the path they report to.
    pub providers: HashMap<String, Arc<dyn Provider>>,
}

impl std::fmt::Debug for PaymentOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.providers.keys().collect();
        f.debug_struct("PaymentOptions").field("providers", &names).field("products", &self.products).finish()
    }
}

impl PaymentOptions {
    /// What a payment is worth here, and of which asset.
    pub fn worth(&self, worth: &Worth) -> Result<(String, Amount), String> {
        let (product, quantity) = match worth {
            Worth::Amount { asset, amount } => return Ok((asset.clone(), *amount)),
            Worth::Product { id, quantity } => {
                let product = self.products.iter().find(|product| product.id == *id);
                (product.ok_or_else(|| format!("no product `{id}` is configured"))?, *quantity)
            }
            Worth::Price { minor, currency } if *currency == self.currency => {
                let product = self.products.iter().find(|product| product.price == Some(*minor));
                (product.ok_or_else(|| format!("no product for {minor} {currency} is configured"))?, 1)
            }
            Worth::Price { currency, .. } => return Err(format!("prices are in {}, not in {currency}", self.currency)),
        };
        let amount = product.amount.times(quantity).filter(|amount| !amount.is_zero());
        let amount = amount.ok_or_else(|| format!("{quantity} times product `{}` is no amount", product.id))?;
        Ok((self.asset.clone(), amount))
    }
}

/// The one value of a header.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    if values.next().is_some() { None } else { value.to_str().ok() }
}

/// Whom a payment is for: the app puts the user's id into the field that the provider hands back as it was.
fn user(text: &str, field: &str) -> Result<UserId, Distrust> {
    let user = Id::parse(text).map(Id::user).filter(|user| *user != UserId::NOBODY);
    user.ok_or_else(|| Distrust::Malformed(format!("`{field}` must be the user's id in decimal digits")))
}

/// Seconds since 1970, near enough to ours.
fn fresh(seconds: &str, now: Time) -> Result<(), Distrust> {
    let seconds: u64 = seconds.parse().map_err(|_| Distrust::Signature("its time is no number"))?;
    let is_near = seconds.saturating_mul(1_000).abs_diff(now.get()) <= WINDOW_MILLIS;
    if is_near { Ok(()) } else { Err(Distrust::Stale) }
}

fn json<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Distrust> {
    serde_json::from_slice(bytes).map_err(|error| Distrust::Malformed(error.to_string()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A thousand texts that are nearly this one: with bytes changed, left out, put in and cut off. The same each time.
    pub fn nearly(text: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = move |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state >> 33).unwrap() % below.max(1)
        };
        (0..1_000).map(move |_| {
            let mut changed = text.to_vec();
            for _ in 0..=next(2) {
                let (at, byte) = (next(changed.len()), u8::try_from(next(256)).unwrap());
                match next(4) {
                    0 if !changed.is_empty() => changed[at] ^= byte.max(1),
                    1 if !changed.is_empty() => drop(changed.remove(at)),
                    2 => changed.truncate(at),
                    _ => changed.insert(at, byte),
                }
            }
            changed
        })
    }

    /// Whatever is changed in a proven notice, it proves no other payment, and nothing panics.
    pub fn check_nearly(provider: &dyn Provider, headers: &HeaderMap, path: &str, body: &[u8], now: Time) {
        let read = |body: &[u8]| provider.read(&Notice { headers, path, body, now });
        let proven = read(body);
        assert!(matches!(proven, Ok(Told::Paid(_))), "{proven:?}");
        for changed in nearly(body) {
            let told = read(&changed);
            let is_paid = matches!(told, Ok(Told::Paid(_)));
            assert!(!is_paid || told == proven, "{told:?} from {}", String::from_utf8_lossy(&changed));
        }
    }

    #[test]
    fn worth_is_what_is_configured_or_signed() {
        let amount = |units| Amount::new(units).unwrap();
        let product = |id: &str, price, units| Product { id: id.into(), price, amount: amount(units) };
        let options = PaymentOptions {
            asset: "coin".into(),
            currency: "CNY".into(),
            products: vec![product("coins.60", Some(600), 60), product("coins.huge", None, Amount::MAX.get())],
            providers: HashMap::new(),
        };
        let by_product = |id: &str, quantity| options.worth(&Worth::Product { id: id.into(), quantity });
        let by_price = |minor, currency: &str| options.worth(&Worth::Price { minor, currency: currency.into() });
        let coins = |units| Ok(("coin".to_owned(), amount(units)));
        assert_eq!((by_product("coins.60", 1), by_product("coins.60", 3)), (coins(60), coins(180)));
        assert_eq!(by_price(600, "CNY"), coins(60));
        for wrong in [by_product("coins.61", 1), by_product("coins.60", 0), by_product("coins.huge", 2)] {
            assert!(wrong.is_err(), "{wrong:?}");
        }
        for wrong in [by_price(601, "CNY"), by_price(0, "CNY"), by_price(600, "USD"), by_price(6, "CNY")] {
            assert!(wrong.is_err(), "{wrong:?}");
        }
        let signed = Worth::Amount { asset: "diamond".into(), amount: amount(7) };
        assert_eq!(options.worth(&signed), Ok(("diamond".to_owned(), amount(7))));
    }
}
