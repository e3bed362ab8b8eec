//! The catalog: which assets there are, which gifts are sold at what price, and who gets what out of a gift.

use std::collections::{BTreeMap, HashMap};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::units::{Amount, AssetId, CatalogVersion, GiftId, UserId};

/// A catalog as an administrator writes it, without a version yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogDraft {
    #[serde(rename = "asset")]
    pub assets: Vec<Asset>,
    #[serde(default)]
    pub rules: Rules,
    #[serde(rename = "gift")]
    pub gifts: Vec<Gift>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asset {
    pub id: AssetId,
    /// Lower case; how the asset is called in every API.
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gift {
    pub gift_id: GiftId,
    /// The English name.
    pub name: String,
    /// By language tag; `en` and `zh` at least.
    pub names: BTreeMap<String, String>,
    /// Of one piece, in `asset`.
    pub price: Amount,
    /// Name of an asset.
    pub asset: String,
    pub category: String,
    /// How big a moment it is: decides effects and how long it is shown.
    pub tier: Tier,
    pub icon_url: String,
    /// Where the effect's animation lies; gifts too small for one have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects_url: Option<String>,
    pub send_rule: SendRule,
    /// RFC 3339.
    pub created_at: String,
    pub updated_at: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    Small,
    Medium,
    Large,
    Grand,
}

/// How a gift is sent and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendRule {
    /// Taps add up to a streak; its effect shows once per streak.
    Combo,
    /// Each send is a moment of its own with its effect.
    Single,
    /// As `Single`, and announced beyond the room.
    Broadcast,
}

/// Who gets what out of a gift, beside its receivers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Shares of every receiver's credit that go to other accounts; the receiver gets the rest, rounding included.
    pub shares: Vec<Share>,
    /// Activity points that the sender is issued with a gift.
    pub points: Option<PointsRule>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    pub account: UserId,
    /// Thousandths of the amount, rounded down to the unit.
    pub permille: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointsRule {
    /// Name of the asset; no gift may be priced in it.
    pub asset: String,
    /// The asset whose spending earns points.
    pub for_asset: String,
    /// Points for every thousand units spent, rounded down.
    pub per_thousand: u32,
}

/// A draft that was checked and given its version, with its indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalog {
    version: CatalogVersion,
    draft: CatalogDraft,
    gifts: HashMap<GiftId, usize>,
    assets: HashMap<String, AssetId>,
}

/// Most gifts, assets and shares of one catalog.
pub const GIFTS_MAX: usize = 5_000;
pub const ASSETS_MAX: usize = 64;
pub const SHARES_MAX: usize = 8;

/// What is wrong with a draft, with the place of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct CatalogError {
    pub place: String,
    pub why: String,
}

impl Catalog {
    /// Before the first catalog is applied nothing is sold.
    pub fn empty() -> Catalog {
        Catalog::checked(CatalogDraft::default(), CatalogVersion(0)).expect("an empty draft has nothing wrong in it")
    }

    /// Checks everything that later code relies on.
    pub fn checked(draft: CatalogDraft, version: CatalogVersion) -> Result<Catalog, CatalogError> {
        let assets = check_assets(&draft)?;
        check_rules(&draft.rules, &assets)?;
        let mut gifts = HashMap::with_capacity(draft.gifts.len());
        limit("gift", draft.gifts.len(), GIFTS_MAX)?;
        for (place, gift) in draft.gifts.iter().enumerate() {
            check_gift(gift, &assets, draft.rules.points.as_ref())?;
            if gifts.insert(gift.gift_id, place).is_some() {
                return wrong(format!("gift {}", gift.gift_id), "is listed twice");
            }
        }
        Ok(Catalog { version, draft, gifts, assets })
    }

    pub fn version(&self) -> CatalogVersion {
        self.version
    }

    pub fn draft(&self) -> &CatalogDraft {
        &self.draft
    }

    pub fn gifts(&self) -> &[Gift] {
        &self.draft.gifts
    }

    pub fn rules(&self) -> &Rules {
        &self.draft.rules
    }

    pub fn gift(&self, gift: GiftId) -> Option<&Gift> {
        self.gifts.get(&gift).map(|place| &self.draft.gifts[*place])
    }

    pub fn asset(&self, name: &str) -> Option<AssetId> {
        self.assets.get(name).copied()
    }

    /// The name of an asset; one that left the catalog is still held by users and shows its number.
    pub fn asset_name(&self, asset: AssetId) -> String {
        match self.draft.assets.iter().find(|known| known.id == asset) {
            Some(known) => known.name.clone(),
            None => format!("asset-{asset}"),
        }
    }
}

fn check_assets(draft: &CatalogDraft) -> Result<HashMap<String, AssetId>, CatalogError> {
    limit("asset", draft.assets.len(), ASSETS_MAX)?;
    let mut by_name = HashMap::new();
    let mut by_id = HashMap::new();
    for asset in &draft.assets {
        let place = format!("asset `{}`", asset.name);
        let is_word = asset.name.starts_with(|c: char| c.is_ascii_lowercase())
            && asset.name.len() <= 32
            && asset.name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if !is_word {
            return wrong(place, "a name is a-z, 0-9 and _, a letter first, at most 32");
        }
        if by_name.insert(asset.name.clone(), asset.id).is_some() {
            return wrong(place, "is listed twice");
        }
        if by_id.insert(asset.id, ()).is_some() {
            return wrong(place, "has the id of another asset");
        }
    }
    Ok(by_name)
}

fn check_rules(rules: &Rules, assets: &HashMap<String, AssetId>) -> Result<(), CatalogError> {
    limit("rules.shares", rules.shares.len(), SHARES_MAX)?;
    let mut permille = 0u32;
    for (place, share) in rules.shares.iter().enumerate() {
        permille += u32::from(share.permille);
        let is_repeated = rules.shares[..place].iter().any(|other| other.account == share.account);
        if share.account == UserId::NOBODY || share.permille == 0 || is_repeated {
            return wrong("rules.shares".into(), "each share needs an account of its own and at least 1 permille");
        }
    }
    if permille > 1_000 {
        return wrong("rules.shares".into(), "the shares are more than the whole");
    }
    if let Some(points) = &rules.points {
        for asset in [&points.asset, &points.for_asset] {
            if !assets.contains_key(asset) {
                return wrong("rules.points".into(), &format!("asset `{asset}` is not listed"));
            }
        }
        if points.asset == points.for_asset {
            return wrong("rules.points".into(), "points must be an asset of their own");
        }
    }
    Ok(())
}

fn check_gift(gift: &Gift, assets: &HashMap<String, AssetId>, points: Option<&PointsRule>) -> Result<(), CatalogError> {
    let place = || format!("gift {} `{}`", gift.gift_id, gift.name);
    if gift.gift_id == GiftId(0) || gift.name.is_empty() || gift.name.chars().count() > 64 {
        return wrong(place(), "needs an id above 0 and a name of 1 to 64 characters");
    }
    if gift.price.is_zero() || gift.price > Amount::MAX {
        return wrong(place(), "the price must be 1 to 2^53 − 1");
    }
    if !assets.contains_key(&gift.asset) {
        return wrong(place(), &format!("asset `{}` is not listed", gift.asset));
    }
    if points.is_some_and(|points| points.asset == gift.asset) {
        return wrong(place(), "no gift can be priced in activity points");
    }
    for language in ["en", "zh"] {
        if gift.names.get(language).is_none_or(String::is_empty) {
            return wrong(place(), &format!("names.{language} is missing"));
        }
    }
    if gift.icon_url.is_empty() || gift.effects_url.as_deref() == Some("") {
        return wrong(place(), "icon_url is needed, and effects_url may be left out but not empty");
    }
    Ok(())
}

fn limit(place: &str, count: usize, max: usize) -> Result<(), CatalogError> {
    if count <= max { Ok(()) } else { wrong(place.into(), &format!("there are {count}; at most {max} are allowed")) }
}

fn wrong<T>(place: String, why: &str) -> Result<T, CatalogError> {
    Err(CatalogError { place, why: why.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gift(id: u32, price: u64, asset: &str) -> Gift {
        Gift {
            gift_id: GiftId(id),
            name: "Rose".into(),
            names: [("en".into(), "Rose".into()), ("zh".into(), "玫瑰".into())].into(),
            price: Amount::new(price).unwrap(),
            asset: asset.into(),
            category: "classic".into(),
            tier: Tier::Small,
            icon_url: "/icons/rose.svg".into(),
            effects_url: None,
            send_rule: SendRule::Combo,
            created_at: "2026-01-01T00:00:00Z".into(),
            updated_at: "2026-01-01T00:00:00Z".into(),
        }
    }

    fn draft() -> CatalogDraft {
        CatalogDraft {
            assets: vec![Asset { id: AssetId(1), name: "coin".into() }, Asset { id: AssetId(3), name: "point".into() }],
            rules: Rules {
                shares: vec![],
                points: Some(PointsRule { asset: "point".into(), for_asset: "coin".into(), per_thousand: 100 }),
            },
            gifts: vec![gift(1, 1, "coin")],
        }
    }

    #[test]
    fn a_good_draft_passes_and_is_found_by_id_and_name() {
        let catalog = Catalog::checked(draft(), CatalogVersion(4)).unwrap();
        assert_eq!(catalog.gift(GiftId(1)).unwrap().price.get(), 1);
        assert_eq!(catalog.asset("coin"), Some(AssetId(1)));
        assert_eq!(catalog.asset_name(AssetId(9)), "asset-9");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |change: &dyn Fn(&mut CatalogDraft), want: &str| {
            let mut bad = draft();
            change(&mut bad);
            let told = Catalog::checked(bad, CatalogVersion(1)).unwrap_err().to_string();
            assert!(told.contains(want), "{told}");
        };
        check(&|draft| draft.gifts.push(gift(1, 2, "coin")), "gift 1: is listed twice");
        check(&|draft| draft.gifts.push(gift(2, 0, "coin")), "the price must be");
        check(&|draft| draft.gifts.push(gift(2, 1, "gold")), "asset `gold` is not listed");
        check(&|draft| draft.gifts.push(gift(2, 1, "point")), "activity points");
        check(&|draft| drop(draft.gifts[0].names.remove("zh")), "names.zh is missing");
        check(&|draft| draft.assets.push(Asset { id: AssetId(1), name: "gem".into() }), "has the id of another");
        check(&|draft| draft.rules.shares = vec![Share { account: UserId(1), permille: 1_001 }], "more than the whole");
    }
}
