//! Values as this interface writes them: enumerations by number or by name, amounts with a sign.

use std::borrow::Cow;
use std::fmt;

use largesse_engine::catalog::Catalog;
use largesse_engine::units::{Amount, AssetId};
use largesse_engine::wallet::event::Channel;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use crate::error::ErrorCode;
use crate::problem::Problem;
use crate::wire;

/// A number or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    Number(u64),
    Name(Cow<'a, str>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamedVisitor;
        impl<'de> Visitor<'de> for NamedVisitor {
            type Value = Named<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a name")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Named::Number(number))
            }

            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Named::Name(name.into()))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Named::Name(name.to_owned().into()))
            }
        }
        deserializer.deserialize_any(NamedVisitor)
    }
}

/// What an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventType {
    None,
    InteractGift,
    OrderApple,
    OrderWx,
    OrderAlipay,
    OrderDouyin,
}

impl EventType {
    const ALL: [EventType; 6] = [
        EventType::None,
        EventType::InteractGift,
        EventType::OrderApple,
        EventType::OrderWx,
        EventType::OrderAlipay,
        EventType::OrderDouyin,
    ];

    pub fn name(self) -> &'static str {
        match self {
            EventType::None => "none",
            EventType::InteractGift => "interactGift",
            EventType::OrderApple => "orderApple",
            EventType::OrderWx => "orderWX",
            EventType::OrderAlipay => "orderAlipay",
            EventType::OrderDouyin => "orderDouyin",
        }
    }

    pub fn read(given: &Named<'_>) -> Result<EventType, Problem> {
        pick(given, &EventType::ALL, EventType::name, "eventType")
    }

    /// Where the payment of an order came through.
    pub fn channel(self) -> Option<Channel> {
        match self {
            EventType::None | EventType::InteractGift => None,
            EventType::OrderApple => Some(Channel::Apple),
            EventType::OrderWx => Some(Channel::Wechat),
            EventType::OrderAlipay => Some(Channel::Alipay),
            EventType::OrderDouyin => Some(Channel::Douyin),
        }
    }
}

/// What an event belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BizType {
    None,
    Live,
    Recharge,
}

impl BizType {
    const ALL: [BizType; 3] = [BizType::None, BizType::Live, BizType::Recharge];

    fn name(self) -> &'static str {
        match self {
            BizType::None => "none",
            BizType::Live => "live",
            BizType::Recharge => "recharge",
        }
    }

    pub fn number(self) -> u8 {
        match self {
            BizType::None => 0,
            BizType::Live => 1,
            BizType::Recharge => 2,
        }
    }

    pub fn read(given: &Named<'_>) -> Result<BizType, Problem> {
        pick(given, &BizType::ALL, BizType::name, "bizType")
    }
}

fn pick<T: Copy>(given: &Named<'_>, all: &[T], name_of: fn(T) -> &'static str, field: &str) -> Result<T, Problem> {
    let found = match given {
        Named::Number(number) => usize::try_from(*number).ok().and_then(|number| all.get(number)),
        Named::Name(name) => all.iter().find(|value| name_of(**value) == name),
    };
    found.copied().ok_or_else(|| {
        let names: Vec<_> = all.iter().map(|value| name_of(*value)).collect();
        Problem::bad_request(format!("`{field}` is one of {}, or its number from 0 on", names.join(", ")))
    })
}

/// A number is an asset's id in the catalog, a name its name there; `goldCoin` is another name of `coin`.
pub fn asset(given: &Named<'_>, catalog: &Catalog) -> Result<AssetId, Problem> {
    match given {
        Named::Number(number) => {
            let id = u16::try_from(*number).ok().map(AssetId);
            let id = id.filter(|id| catalog.draft().assets.iter().any(|asset| asset.id == *id));
            id.ok_or_else(|| Problem::bad_request(format!("there is no asset {number} in the catalog")))
        }
        Named::Name(name) if name == "goldCoin" => wire::parse_asset(catalog, "coin"),
        Named::Name(name) => wire::parse_asset(catalog, name),
    }
}

/// A change of a balance, with its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incr {
    Nothing,
    Credit(Amount),
    Debit(Amount),
}

impl Incr {
    pub fn read(incr: i64) -> Result<Incr, Problem> {
        let amount = Amount::new(incr.unsigned_abs())
            .ok_or_else(|| Problem::new(ErrorCode::InvalidAmount, "`incr` must be within −(2^53 − 1) and 2^53 − 1"))?;
        Ok(match incr {
            0 => Incr::Nothing,
            1.. => Incr::Credit(amount),
            _ => Incr::Debit(amount),
        })
    }
}
