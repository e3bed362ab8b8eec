//! Schemas of what is read and written by hand: numbers of the engine, ids, times, errors.

use std::borrow::Cow;

use largesse_engine::room::settings as room;
use largesse_engine::units as engine;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Type};
use utoipa::openapi::{Object, Ref, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::error::ErrorCode;
use crate::{time_text, wire};

/// Decimal digits of an id from 1 on. The highest ids, of 20 digits from 18·10^18 on, are taken as well.
pub const ID_PATTERN: &str = "^([1-9][0-9]{0,18}|1[0-7][0-9]{18})$";
/// A key as it is, or quoted as in structured fields. The quoted form may have spaces at its ends.
pub const KEY_PATTERN: &str = r#"^([!#-~]([ -~]{0,126}[!-~])?|"([ !#-\[\]-~]|\\["\\]){1,128}")$"#;
/// `shard:seq`.
pub const POSITION_PATTERN: &str = "^(0|[1-9][0-9]{0,2}):(0|[1-9][0-9]{0,17})$";
/// RFC 3339, or milliseconds since the epoch.
pub const TIME_PATTERN: &str = r"^([0-9]{1,13}|(19[7-9][0-9]|[2-9][0-9]{3})-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,9})?(Z|[+-](0[0-9]|1[0-9]|2[0-3]):[0-5][0-9]))$";
/// Printable characters only, at least one.
pub const TRANSACTION_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]+$";

macro_rules! schema {
    ($type:ty, $name:literal, $make:expr) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                $make.into()
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                $name.into()
            }
        }
    };
}

/// Stands for [`engine::Amount`], which knows nothing of schemas; so do the ones below for theirs.
pub struct Amount;
pub struct PositiveAmount;
pub struct GiftId;
pub struct Seq;
pub struct Version;
pub struct EventIdText;
pub struct ProblemBody;
pub struct Languages;

schema!(Amount, "Amount", whole(0, engine::Amount::MAX.get()).description(Some("In the asset's smallest unit.")));
schema!(PositiveAmount, "PositiveAmount", whole(1, engine::Amount::MAX.get()));
schema!(GiftId, "GiftId", whole(1, u32::MAX.into()));
schema!(Seq, "Seq", whole(0, u64::MAX));
schema!(Version, "CatalogVersion", whole(0, u32::MAX.into()));
schema!(
    wire::IdText,
    "IdText",
    text()
        .pattern(Some("^(0|[1-9][0-9]{0,19})$"))
        .description(Some("An id as a decimal string: JavaScript cannot hold all of them as numbers."))
);
schema!(time_text::Rfc3339, "Time", text().format(Some(SchemaFormat::Custom("date-time".into()))));
schema!(
    EventIdText,
    "EventId",
    text().min_length(Some(1)).max_length(Some(128)).description(Some("The caller's own spelling of the key."))
);
schema!(
    Languages,
    "Names",
    ObjectBuilder::new().additional_properties(Some(text())).description(Some("By language tag."))
);
schema!(
    wire::Id,
    "Id",
    OneOfBuilder::new()
        .item(whole(1, u64::MAX))
        .item(digits())
        .description(Some("An id: an integer, or the same as a decimal string."))
);
schema!(ProblemBody, "Problem", problem());

fn whole(minimum: u64, maximum: u64) -> ObjectBuilder {
    let number = |number: u64| usize::try_from(number).ok();
    ObjectBuilder::new().schema_type(Type::Integer).minimum(number(minimum)).maximum(number(maximum))
}

pub fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn digits() -> ObjectBuilder {
    text().pattern(Some(ID_PATTERN))
}

/// An idempotency key in a header.
pub fn key_header() -> Object {
    text().pattern(Some(KEY_PATTERN)).build()
}

/// The same in a body or a path.
pub fn key_text() -> Object {
    text().min_length(Some(1)).max_length(Some(128)).pattern(Some("^[ -~]+$")).build()
}

pub fn user_query() -> Object {
    digits().build()
}

pub fn position_query() -> Object {
    text().pattern(Some(POSITION_PATTERN)).build()
}

pub fn time_query() -> Object {
    text().pattern(Some(TIME_PATTERN)).build()
}

pub fn millis_query() -> Object {
    whole(0, u64::MAX).build()
}

pub fn transaction() -> Object {
    text().min_length(Some(1)).max_length(Some(128)).pattern(Some(TRANSACTION_PATTERN)).build()
}

pub fn channel() -> Object {
    let names = largesse_engine::wallet::event::Channel::ALL.map(|channel| channel.name());
    text().enum_values(Some(names)).build()
}

/// Users of a gift, each once.
pub fn receivers() -> Schema {
    let array = ArrayBuilder::new().items(Ref::from_schema_name("Id")).min_items(Some(1));
    array.max_items(Some(engine::RECEIVERS_MAX)).unique_items(true).build().into()
}

pub fn tier() -> Object {
    text().enum_values(Some(["small", "medium", "large", "grand"])).build()
}

pub fn optional_tier() -> Schema {
    OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::Null)).item(tier()).build().into()
}

/// When a room's feed began.
pub fn epoch() -> Object {
    text().pattern(Some("^[0-9]{1,20}$")).build()
}

pub fn room_seq_query() -> Object {
    whole(0, engine::Amount::MAX.get()).build()
}

pub fn live_state() -> Object {
    text().enum_values(Some(["open", "closed"])).build()
}

pub fn goal() -> Object {
    text().enum_values(Some(["goal"])).build()
}

pub fn pk() -> Object {
    text().enum_values(Some(["pk"])).build()
}

/// Users who can be given gifts in a room, each once.
pub fn hosts() -> Schema {
    let array = ArrayBuilder::new().items(Ref::from_schema_name("Id")).min_items(Some(1));
    array.max_items(Some(room::HOSTS_MAX)).unique_items(true).build().into()
}

pub fn gift_set() -> Schema {
    let gifts = ArrayBuilder::new().items(whole(1, u32::MAX.into())).min_items(Some(1));
    let gifts = gifts.max_items(Some(room::GIFT_SET_MAX)).build();
    OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::Null)).item(gifts).build().into()
}

/// Plug-ins as they are switched on.
pub fn room_plugins() -> Schema {
    let asset = || RefOr::<Schema>::from(text());
    let target = whole(1, engine::Amount::MAX.get());
    let goal = object(vec![("kind", goal().into()), ("asset", asset()), ("target", target.into())]);
    let two = ArrayBuilder::new().items(Ref::from_schema_name("Id")).min_items(Some(2)).max_items(Some(2));
    let until = text().pattern(Some(TIME_PATTERN));
    let until = OneOfBuilder::new().item(ObjectBuilder::new().schema_type(Type::Null)).item(until);
    let pk = object(vec![("kind", pk().into()), ("hosts", two.into()), ("asset", asset())]).property("until", until);
    let either = OneOfBuilder::new().item(goal).item(pk);
    ArrayBuilder::new().items(either).max_items(Some(room::PLUGINS_MAX)).build().into()
}

/// A sum over many gifts, which may be larger than an amount.
pub fn sum() -> Object {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).build()
}

pub fn send_rule() -> Object {
    text().enum_values(Some(["combo", "single", "broadcast"])).build()
}

/// What every error's body has, and what only some have.
fn problem() -> ObjectBuilder {
    let codes = ErrorCode::ALL.iter().map(|code| code.name());
    let amount = || RefOr::<Schema>::from(whole(0, engine::Amount::MAX.get()));
    let time = || text().format(Some(SchemaFormat::Custom("date-time".into())));
    ObjectBuilder::new()
        .property("type", text().pattern(Some("^/docs/errors#[a-z_]+$")))
        .required("type")
        .property("title", text())
        .required("title")
        .property("status", whole(400, 599))
        .required("status")
        .property("detail", text())
        .required("detail")
        .property("code", text().enum_values(Some(codes)))
        .required("code")
        .property("err_code", whole(10_000, 29_999))
        .required("err_code")
        .property("retryable", ObjectBuilder::new().schema_type(Type::Boolean))
        .required("retryable")
        .property("trace_id", text().pattern(Some("^[0-9a-f]{32}$")))
        .required("trace_id")
        .property("price_seen", amount())
        .property("price", amount())
        .property("needed", amount())
        .property("available", amount())
        .property("asset", text())
        .property("prompt", text().description(Some("For the user, in the language of `Accept-Language`.")))
        .property("poll", text().description(Some("Where to ask for the outcome.")))
        .property("final_after", time())
        .property("server_time", time())
        .property("oldest", time())
        .property("final", ObjectBuilder::new().schema_type(Type::Boolean))
        .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::FreeForm(false)))
        .description(Some("An error, as in RFC 9457; `docs/errors.md` says what to do about each code."))
}

/// In a path or a header, where schemas stand alone.
pub struct IdPath;
pub struct KeyPath;
pub struct KeyHeader;
pub struct DeadlineHeader;
pub struct LastEventId;
pub struct True;

schema!(IdPath, "IdPath", user_query());
schema!(KeyPath, "KeyPath", key_text());
schema!(KeyHeader, "KeyHeader", key_header());
schema!(
    DeadlineHeader,
    "DeadlineHeader",
    text().pattern(Some("^[0-9]{1,19}$")).description(Some("In milliseconds since 1970. Past it, nothing is decided."))
);
schema!(LastEventId, "LastEventId", text().pattern(Some("^(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,14})$")));
schema!(True, "True", text().enum_values(Some(["true"])));

pub fn optional_key() -> Schema {
    let null = ObjectBuilder::new().schema_type(Type::Null).build();
    OneOfBuilder::new().item(null).item(key_text()).build().into()
}

pub fn limit_query() -> Object {
    whole(1, 1_000).build()
}

/// Of a field that is only there where it is true.
pub fn only_true() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build()
}

pub fn applied() -> Object {
    text().enum_values(Some(["applied"])).build()
}

pub fn two_languages() -> Object {
    let name = || text().min_length(Some(1));
    ObjectBuilder::new()
        .property("en", name())
        .required("en")
        .property("zh", name())
        .required("zh")
        .additional_properties(Some(text()))
        .build()
}

/// An object of one member.
fn only(name: &'static str, member: Object) -> ObjectBuilder {
    let no_more = utoipa::openapi::schema::AdditionalProperties::FreeForm(false);
    ObjectBuilder::new().property(name, member).required(name).additional_properties(Some(no_more))
}

/// Answers that have no type of their own.
pub struct Healthy;
pub struct Ready;
pub struct NewVersion;

schema!(Healthy, "Healthy", only("status", text().enum_values(Some(["ok"])).build()));
schema!(Ready, "Ready", only("status", text().enum_values(Some(["ready"])).build()));
schema!(NewVersion, "NewVersion", only("version", whole(1, u32::MAX.into()).build()));

/// A number from 0 on, or a name.
fn named(names: &[&str]) -> Schema {
    let last = u64::try_from(names.len()).unwrap_or(u64::MAX) - 1;
    OneOfBuilder::new().item(whole(0, last)).item(text().enum_values(Some(names.to_vec()))).build().into()
}

pub fn event_type() -> Schema {
    named(&["none", "interactGift", "orderApple", "orderWX", "orderAlipay", "orderDouyin"])
}

pub fn biz_type() -> Schema {
    named(&["none", "live", "recharge"])
}

/// An asset's id in the catalog, or its name.
pub fn asset_type() -> Schema {
    OneOfBuilder::new().item(whole(0, u64::MAX)).item(text()).build().into()
}

pub fn optional_asset_type() -> Schema {
    let null = ObjectBuilder::new().schema_type(Type::Null).build();
    OneOfBuilder::new().item(null).item(whole(0, u64::MAX)).item(text()).build().into()
}

/// An id that may be 0.
pub fn any_id() -> Schema {
    any_ids().build().into()
}

pub fn optional_any_id() -> Schema {
    any_ids().item(ObjectBuilder::new().schema_type(Type::Null).build()).build().into()
}

fn any_ids() -> OneOfBuilder {
    OneOfBuilder::new().item(whole(0, u64::MAX)).item(text().pattern(Some("^(0|[1-9][0-9]{0,18})$")))
}

/// The envelope with `T` beside it, which is there if there is no error.
pub fn enveloped<T: ToSchema>() -> RefOr<Schema> {
    use utoipa::openapi::schema::{AllOfBuilder, AnyOfBuilder};
    let whole = AllOfBuilder::new()
        .item(Ref::from_schema_name("Envelope"))
        .item(Ref::from_schema_name(T::name().into_owned()))
        .build();
    let failed =
        ObjectBuilder::new().property("errCode", ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)));
    let failed = AllOfBuilder::new().item(Ref::from_schema_name("Envelope")).item(failed).build();
    RefOr::T(Schema::AnyOf(AnyOfBuilder::new().item(Schema::AllOf(whole)).item(Schema::AllOf(failed)).build()))
}

/// Adds a schema and those it refers to.
pub fn collect<T: ToSchema>(all: &mut Vec<(String, RefOr<Schema>)>) {
    all.push((T::name().into_owned(), T::schema()));
    T::schemas(all);
}

pub fn direction() -> Object {
    text().enum_values(Some(["debit", "credit"])).build()
}

/// An object of these members and no others.
fn object(members: Vec<(&str, RefOr<Schema>)>) -> ObjectBuilder {
    let no_more = utoipa::openapi::schema::AdditionalProperties::FreeForm(false);
    members.into_iter().fold(ObjectBuilder::new().additional_properties(Some(no_more)), |object, (name, member)| {
        object.property(name, member).required(name)
    })
}

/// Answers about keys and passes, which have no type of their own.
pub struct Keys;
pub struct NewKey;
pub struct Revoked;
pub struct Pass;

schema!(Keys, "Keys", object(vec![("keys", listed_keys())]));
schema!(
    NewKey,
    "NewKey",
    object(vec![
        ("name", text().into()),
        ("key", text().pattern(Some("^lgk_")).into()),
        ("scopes", ArrayBuilder::new().items(text()).into()),
        ("signing", ObjectBuilder::new().schema_type(Type::Boolean).into()),
    ])
);
schema!(
    Revoked,
    "Revoked",
    object(vec![("name", text().into()), ("revoked", ObjectBuilder::new().schema_type(Type::Boolean).into())])
);
schema!(
    Pass,
    "Pass",
    object(vec![
        ("room_id", text().pattern(Some("^[0-9]{1,20}$")).into()),
        ("pass", text().into()),
        ("expires_at", text().into())
    ])
);

fn listed_keys() -> RefOr<Schema> {
    ArrayBuilder::new().items(Ref::from_schema_name("ServiceKey")).into()
}

pub fn scopes() -> Schema {
    let names = crate::auth::scopes::Scope::ALL.iter().map(|scope| scope.name()).chain([crate::auth::scopes::ALL]);
    ArrayBuilder::new().items(text().enum_values(Some(names))).min_items(Some(1)).build().into()
}
