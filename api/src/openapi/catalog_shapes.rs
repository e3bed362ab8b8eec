//! The shape of the whole catalog, which belongs to the engine and knows nothing of schemas. A test keeps the two in step.

#![allow(dead_code, reason = "the fields are read by derives only")]

use std::collections::BTreeMap;

use serde::Deserialize;
use utoipa::ToSchema;

use crate::openapi::schemas;

/// The catalog as it is read.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Catalog)]
pub struct CatalogOut {
    #[schema(value_type = schemas::Version)]
    version: u32,
    asset: Vec<Asset>,
    rules: Rules,
    gift: Vec<Gift>,
}

/// The catalog as it is written.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CatalogDraft)]
pub struct CatalogIn {
    /// From which version this edit was made; if another one is in effect by now, it is refused.
    #[schema(value_type = schemas::Version, required = false)]
    version: Option<u32>,
    /// For whoever asks later why this was changed.
    #[schema(max_length = 500)]
    reason: Option<String>,
    #[schema(max_items = 64)]
    asset: Vec<Asset>,
    #[schema(nullable = false)]
    rules: Option<Rules>,
    #[schema(max_items = 5_000)]
    gift: Vec<Gift>,
}

/// A kind of money that users hold.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Asset {
    id: u16,
    #[schema(pattern = "^[a-z][a-z0-9_]{0,31}$")]
    name: String,
}

/// Who gets what out of a gift, beside its receivers.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Rules {
    #[schema(max_items = 8, nullable = false)]
    shares: Option<Vec<Share>>,
    points: Option<Points>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Share {
    #[schema(minimum = 1)]
    account: u64,
    /// Thousandths of the amount, rounded down to the unit.
    #[schema(minimum = 1, maximum = 1_000)]
    permille: u16,
}

/// Activity points that the sender of a gift is issued.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Points {
    asset: String,
    for_asset: String,
    per_thousand: u32,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Gift {
    #[schema(value_type = schemas::GiftId)]
    gift_id: u32,
    #[schema(min_length = 1, max_length = 64)]
    name: String,
    /// By language tag; `en` and `zh` at least.
    #[schema(schema_with = schemas::two_languages)]
    names: BTreeMap<String, String>,
    #[schema(value_type = schemas::PositiveAmount)]
    price: u64,
    asset: String,
    category: String,
    #[schema(schema_with = schemas::tier)]
    tier: String,
    #[schema(min_length = 1)]
    icon_url: String,
    #[schema(min_length = 1)]
    effects_url: Option<String>,
    #[schema(schema_with = schemas::send_rule)]
    send_rule: String,
    created_at: String,
    updated_at: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shape_is_the_engines() {
        let gift = largesse_engine::catalog::Gift {
            gift_id: largesse_engine::units::GiftId(1),
            name: "Rose".into(),
            names: BTreeMap::from([("en".into(), "Rose".into()), ("zh".into(), "玫瑰".into())]),
            price: largesse_engine::units::Amount::MAX,
            asset: "coin".into(),
            category: "classic".into(),
            tier: largesse_engine::catalog::Tier::Grand,
            icon_url: "/rose".into(),
            effects_url: Some("/rose".into()),
            send_rule: largesse_engine::catalog::SendRule::Combo,
            created_at: String::new(),
            updated_at: String::new(),
        };
        let draft = largesse_engine::catalog::CatalogDraft {
            assets: vec![largesse_engine::catalog::Asset {
                id: largesse_engine::units::AssetId(1),
                name: "coin".into(),
            }],
            rules: largesse_engine::catalog::Rules {
                shares: vec![largesse_engine::catalog::Share {
                    account: largesse_engine::units::UserId(1),
                    permille: 1,
                }],
                points: Some(largesse_engine::catalog::PointsRule {
                    asset: "point".into(),
                    for_asset: "coin".into(),
                    per_thousand: 1,
                }),
            },
            gifts: vec![gift],
        };
        let mut json = serde_json::to_value(&draft).unwrap();
        // Here nothing may be left out and nothing may be too much.
        serde_json::from_value::<CatalogIn>(json.clone()).unwrap();
        json["version"] = 7.into();
        serde_json::from_value::<CatalogOut>(json).unwrap();
    }
}
