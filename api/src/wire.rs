//! Numbers and names as they stand in JSON, paths and queries.

use std::borrow::Cow;
use std::fmt;

use largesse_engine::catalog::Catalog;
use largesse_engine::units::{Amount, AssetId, EventPosition, RoomId, Seq, ShardId, UserId};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::error::ErrorCode;
use crate::problem::Problem;

/// An id as callers write it: a JSON integer or a decimal string. JavaScript needs the string above 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id(pub u64);

impl Id {
    /// Decimal digits in their one canonical form.
    pub fn parse(text: &str) -> Option<Id> {
        let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (!text.starts_with('0') || text == "0");
        if is_canonical { text.parse().ok().map(Id) } else { None }
    }

    pub fn user(self) -> UserId {
        UserId(self.0)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id: an integer from 0 to 2^64 − 1, or the same as a decimal string")
            }

            fn visit_u64<E: de::Error>(self, id: u64) -> Result<Id, E> {
                Ok(Id(id))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Id, E> {
                Id::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

/// An id in an answer: always a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdText(pub u64);

impl Serialize for IdText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl From<UserId> for IdText {
    fn from(user: UserId) -> IdText {
        IdText(user.get())
    }
}

impl From<RoomId> for IdText {
    fn from(room: RoomId) -> IdText {
        IdText(room.get())
    }
}

/// Any JSON number, judged later: a negative count or a fraction is a wrong amount rather than a wrong request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole(Option<u64>);

impl Whole {
    pub fn number(self, field: &'static str) -> Result<u64, Problem> {
        let detail = || format!("`{field}` must be a whole number, not negative");
        self.0.ok_or_else(|| Problem::new(ErrorCode::InvalidAmount, detail()))
    }

    pub fn amount(self, field: &'static str) -> Result<Amount, Problem> {
        let detail = || format!("`{field}` must be a whole number from 0 to 2^53 − 1");
        self.0.and_then(Amount::new).ok_or_else(|| Problem::new(ErrorCode::InvalidAmount, detail()))
    }
}

/// What was no whole number is none again, for whoever judges it.
impl Serialize for Whole {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(number) => serializer.serialize_u64(number),
            None => serializer.serialize_i64(-1),
        }
    }
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeVisitor;
        impl Visitor<'_> for WholeVisitor {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(Some(number)))
            }

            fn visit_i64<E: de::Error>(self, _negative: i64) -> Result<Whole, E> {
                Ok(Whole(None))
            }

            fn visit_f64<E: de::Error>(self, _fraction_or_huge: f64) -> Result<Whole, E> {
                Ok(Whole(None))
            }
        }
        deserializer.deserialize_any(WholeVisitor)
    }
}

/// Where an event is in the books; the shard as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Position)]
pub struct PositionText {
    shard: u16,
    #[schema(value_type = crate::openapi::schemas::Seq)]
    seq: Seq,
}

impl From<EventPosition> for PositionText {
    fn from(position: EventPosition) -> PositionText {
        PositionText { shard: position.shard.index, seq: position.seq }
    }
}

/// `3:17`, the position of an event on wallet shard 3.
pub fn parse_position(text: &str, wallet_shards: u16) -> Result<EventPosition, Problem> {
    let parse = || {
        let (shard, seq) = text.split_once(':')?;
        let (shard, seq) = (Id::parse(shard)?.0, Id::parse(seq)?.0);
        u16::try_from(shard).ok().filter(|shard| *shard < wallet_shards).map(|shard| (shard, seq))
    };
    match parse() {
        Some((shard, seq)) => Ok(EventPosition { shard: ShardId::wallet(shard), seq: Seq(seq) }),
        None => Err(Problem::bad_request(format!(
            "`after` must be `shard:seq` as in a receipt's position, with a shard below {wallet_shards}"
        ))),
    }
}

/// The name of an asset, without a copy where the catalog has it.
pub fn asset_name(catalog: &Catalog, asset: AssetId) -> Cow<'_, str> {
    match catalog.draft().assets.iter().find(|known| known.id == asset) {
        Some(known) => Cow::Borrowed(&known.name),
        None => Cow::Owned(catalog.asset_name(asset)),
    }
}

/// An asset by its name in the catalog, or as `asset-7` where it has left the catalog.
pub fn parse_asset(catalog: &Catalog, name: &str) -> Result<AssetId, Problem> {
    let left = || name.strip_prefix("asset-").and_then(|number| number.parse().ok().map(AssetId));
    catalog.asset(name).or_else(left).ok_or_else(|| {
        let known: Vec<_> = catalog.draft().assets.iter().map(|asset| asset.name.as_str()).collect();
        Problem::bad_request(format!("there is no asset of this name; there are: {}", known.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_integers_or_decimal_strings() {
        for (json, want) in [
            ("7", Some(7)),
            ("\"7\"", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("\"18446744073709551615\"", Some(u64::MAX)),
            ("\"18446744073709551616\"", None),
            ("18446744073709551616", None),
            ("-1", None),
            ("7.0", None),
            ("\"+7\"", None),
            ("\" 7\"", None),
            ("\"07\"", None),
            ("\"\"", None),
            ("\"7e1\"", None),
            ("null", None),
            ("true", None),
            ("[7]", None),
        ] {
            assert_eq!(serde_json::from_str::<Id>(json).ok().map(|id| id.0), want, "{json}");
        }
        assert_eq!(serde_json::to_string(&IdText(u64::MAX)).unwrap(), "\"18446744073709551615\"");
    }

    #[test]
    fn a_number_that_is_no_amount_is_told_apart_from_no_number() {
        for (json, want) in [
            ("0", Ok(0)),
            ("9007199254740991", Ok(9_007_199_254_740_991)),
            ("9007199254740992", Err(ErrorCode::InvalidAmount)),
            ("18446744073709551616", Err(ErrorCode::InvalidAmount)),
            ("-1", Err(ErrorCode::InvalidAmount)),
            ("1.5", Err(ErrorCode::InvalidAmount)),
            ("1e3", Err(ErrorCode::InvalidAmount)),
        ] {
            let whole: Whole = serde_json::from_str(json).unwrap();
            assert_eq!(whole.amount("x").map(Amount::get).map_err(|problem| problem.code()), want, "{json}");
        }
        for json in ["\"1\"", "null", "[1]", "true"] {
            assert!(serde_json::from_str::<Whole>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn positions_name_a_shard_of_this_ledger() {
        let position = parse_position("3:17", 16).unwrap();
        assert_eq!(position, EventPosition { shard: ShardId::wallet(3), seq: Seq(17) });
        for bad in ["", "3", ":", "3:", ":17", "16:1", "-1:1", "3:17:1", "a:b", "70000:1", "3:+1"] {
            assert!(parse_position(bad, 16).is_err(), "{bad}");
        }
    }
}
