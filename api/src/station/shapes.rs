//! Bodies of this interface, in the field names that its callers know.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::openapi::schemas;
use crate::station::fields::Named;
use crate::wire::{Id, Whole};

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ChangeAssetsRequest)]
pub struct ChangeAssetsBody<'a> {
    #[serde(borrow)]
    #[schema(max_items = 50)]
    pub biz_asset_changes: Vec<BizEventAssetChange<'a>>,
}

/// One event: what it takes from the user who acts, and what it gives to another.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = BizEventAssetChange)]
pub struct BizEventAssetChange<'a> {
    /// The key: the same id with the same change is carried out once.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub event_id: Cow<'a, str>,
    pub op_user_id: Id,
    #[serde(borrow)]
    #[schema(schema_with = schemas::event_type)]
    pub event_type: Named<'a>,
    /// The room, or the order.
    #[schema(schema_with = schemas::any_id)]
    pub biz_id: Id,
    #[serde(borrow)]
    #[schema(schema_with = schemas::biz_type)]
    pub biz_type: Named<'a>,
    /// The gift, or the payment's number at its channel, which is then the key.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub obj_id: Cow<'a, str>,
    #[serde(borrow)]
    pub op_user_asset_change: UserAssetChange<'a>,
    #[serde(default, borrow)]
    pub to_user_asset_change: Option<UserAssetChange<'a>>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UserAssetChangeInfo)]
pub struct UserAssetChange<'a> {
    #[schema(schema_with = schemas::any_id)]
    pub user_id: Id,
    #[serde(borrow)]
    #[schema(schema_with = schemas::asset_type)]
    pub asset_type: Named<'a>,
    /// Below 0 it is a debit.
    pub incr: i64,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ChangeAssetsData)]
pub struct ChangeAssetsData<'a> {
    /// One per item, in order.
    pub biz_asset_change_res_list: Vec<ChangeResult<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = BizEventAssetChangeRes)]
pub struct ChangeResult<'a> {
    pub event_id: &'a str,
    /// Absent where it is not known, which is not the same as false.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub change_res: Option<bool>,
    pub fail_msg: String,
    pub err_code: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub op_user_asset: Option<UserAsset>,
    /// Where to ask for an outcome that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub poll: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UserAsset)]
pub struct UserAsset {
    pub user_id: u64,
    pub asset_type: u16,
    #[schema(value_type = schemas::Amount)]
    pub asset_cn: u64,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GetAssetsRequest)]
pub struct GetAssetsBody<'a> {
    #[schema(max_items = 50)]
    pub user_ids: Vec<Id>,
    /// Only this one.
    #[serde(default, borrow)]
    #[schema(schema_with = schemas::optional_asset_type)]
    pub asset_type: Option<Named<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GetAssetsData)]
pub struct GetAssetsData {
    pub user_assets: Vec<UserAsset>,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = GetAssetRecordsRequest)]
pub struct RecordsBody {
    pub user_id: Id,
    /// 1: as the one who acted, which is what is meant without it; 2: as the one who received.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 2)]
    pub op_user_type: Option<u8>,
    #[serde(default)]
    #[schema(minimum = 1, maximum = 50)]
    pub limit: Option<usize>,
    /// From the answer before.
    #[serde(default)]
    pub cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = GetAssetRecordsData)]
pub struct RecordsData {
    pub records: Vec<AssetRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub cursor: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = UserAssetRecord)]
pub struct AssetRecord {
    pub user_id: u64,
    pub op_user_type: u8,
    pub biz_id: u64,
    pub biz_type: u8,
    pub event_id: String,
    pub event_type: String,
    pub obj_id: String,
    pub asset_type: u16,
    /// The amount.
    #[schema(value_type = schemas::Amount)]
    pub record: u64,
    /// `+` or `-`; empty where the user gave what was issued and his own balance did not change.
    pub record_op: &'static str,
    /// The balance right after it, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schemas::Amount>, nullable = false)]
    pub asset_cn: Option<u64>,
    pub created_at: crate::time_text::Rfc3339,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = SendGiftRequest)]
pub struct SendGiftBody<'a> {
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub event_id: Cow<'a, str>,
    /// For whom a service sends.
    #[serde(default)]
    pub op_user_id: Option<Id>,
    pub room_id: Id,
    #[schema(value_type = schemas::GiftId)]
    pub gift_id: u32,
    #[schema(value_type = u16, minimum = 1, maximum = 9_999)]
    pub count: Whole,
    #[schema(schema_with = schemas::receivers)]
    pub to_user_ids: Vec<Id>,
    #[serde(default)]
    #[schema(schema_with = schemas::optional_any_id)]
    pub combo_id: Option<Id>,
    /// The unit price on the sender's screen.
    #[serde(default)]
    #[schema(value_type = Option<schemas::Amount>)]
    pub price: Option<Whole>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SendGiftData)]
pub struct SendGiftData {
    pub event_id: String,
    #[schema(value_type = schemas::Amount)]
    pub total: u64,
    pub op_user_asset: UserAsset,
    pub replayed: bool,
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ListGiftRequest)]
pub struct ListGiftBody {
    pub room_id: Id,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ListGiftData)]
pub struct ListGiftData<'a> {
    pub gifts: Vec<ListedGift<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ListedGift)]
pub struct ListedGift<'a> {
    #[schema(value_type = schemas::GiftId)]
    pub gift_id: u32,
    pub name: &'a str,
    /// The price of one.
    #[schema(value_type = schemas::PositiveAmount)]
    pub currency_cn: u64,
    /// The asset that it is paid in.
    pub unit: &'a str,
    pub gift_category: &'a str,
    pub icon_url: &'a str,
    #[schema(schema_with = schemas::send_rule)]
    pub send_rule: largesse_engine::catalog::SendRule,
    pub effects_url: &'a str,
    pub created_at: &'a str,
    pub updated_at: &'a str,
}

/// What every answer has; `errCode` is 0 where all went well.
#[derive(ToSchema)]
#[allow(dead_code, reason = "read by the derive only")]
#[schema(as = Envelope, rename_all = "camelCase")]
pub struct EnvelopeShape {
    #[schema(minimum = 0, maximum = 199_999)]
    err_code: u32,
    err_msg: String,
    /// `traceId` always; of an error its `code`, and what else it has to tell.
    extra: BTreeMap<String, String>,
}

macro_rules! answers {
    ($($name:ident = $text:literal with $data:ty;)*) => {
        $(#[doc = "The envelope, and beside it what was asked for."]
        pub struct $name;

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                schemas::enveloped::<$data>()
            }
        }

        impl ToSchema for $name {
            fn name() -> Cow<'static, str> {
                $text.into()
            }

            fn schemas(all: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                schemas::collect::<EnvelopeShape>(all);
                schemas::collect::<$data>(all);
            }
        })*
    };
}

answers! {
    ChangeAssetsAnswer = "ChangeAssetsAnswer" with ChangeAssetsData<'static>;
    GetAssetsAnswer = "GetAssetsAnswer" with GetAssetsData;
    RecordsAnswer = "GetAssetRecordsAnswer" with RecordsData;
    SendGiftAnswer = "SendGiftAnswer" with SendGiftData;
    ListGiftAnswer = "ListGiftAnswer" with ListGiftData<'static>;
}
