//! The catalog: what a room sells, for anyone; and all of it, for administrators.

use std::sync::{Arc, PoisonError, RwLock};

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, VARY,
};
use http::{HeaderName, StatusCode};
use largesse_engine::catalog::{Catalog, CatalogDraft, Gift, SendRule, Tier};
use largesse_engine::units::{Amount, CatalogVersion, GiftId, Time};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use utoipa::ToSchema;

use crate::edge;
use crate::error::ErrorCode;
use crate::extract::{Admin, CatalogBytes, RoomPath, parse_json};
use crate::language::Language;
use crate::openapi::catalog_shapes as shapes;
use crate::openapi::errors::{AdminReadErrors, AdminWriteErrors, CatalogErrors};
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::refusals;
use crate::state::ApiState;

/// Longest reason for a change, in characters.
const REASON_CHARS_MAX: usize = 500;

/// The pages of the newest catalog, written once per version and language.
#[derive(Default)]
pub struct CatalogPages(RwLock<Option<Arc<Written>>>);

struct Written {
    of: Arc<Catalog>,
    pages: [Page; Language::ALL.len()],
}

struct Page {
    body: Bytes,
    tag: HeaderValue,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoomCatalog)]
pub(crate) struct CatalogBody<'a> {
    #[schema(value_type = schemas::Version)]
    version: CatalogVersion,
    gifts: Vec<GiftBody<'a>>,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = RoomGift)]
pub(crate) struct GiftBody<'a> {
    #[schema(value_type = schemas::GiftId)]
    gift_id: GiftId,
    /// In the language of the answer.
    name: &'a str,
    #[schema(value_type = schemas::Languages)]
    names: &'a BTreeMap<String, String>,
    #[schema(value_type = schemas::PositiveAmount)]
    price: Amount,
    asset: &'a str,
    category: &'a str,
    #[schema(schema_with = schemas::tier)]
    tier: Tier,
    icon_url: &'a str,
    #[schema(required)]
    effects_url: Option<&'a str>,
    #[schema(schema_with = schemas::send_rule)]
    send_rule: SendRule,
    created_at: &'a str,
    updated_at: &'a str,
}

/// The gifts of a room
#[utoipa::path(
    get, path = "/v1/rooms/{room}/catalog", operation_id = "roomCatalog", tag = "gifts",
    params(
        ("room" = inline(schemas::IdPath), Path, example = "1001"),
        ("Accept-Language" = Option<String>, Header, description = "`en` or `zh`."),
        ("If-None-Match" = Option<String>, Header, description = "The `ETag` of a page that is at hand.")
    ),
    responses(
        (status = 200, description = "All gifts, with names in the language asked for.", body = CatalogBody, headers(
            ("ETag" = String, description = "Changes when anything does."), ("Content-Language" = String)
        )),
        (status = 304, description = "What is at hand still holds."),
        CatalogErrors
    ),
    security(())
)]
pub async fn of_room(
    State(state): State<ApiState>,
    RoomPath(room): RoomPath,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let view = state.service.control.view();
    if !view.rooms.contains_key(&room) {
        return Err(Problem::new(ErrorCode::RoomUnknown, format!("room {room} does not exist")));
    }
    let language = Language::preferred(headers.get(ACCEPT_LANGUAGE));
    let written = state.catalog_pages.of(&view.catalog);
    let page = &written.pages[language as usize];
    let common: [(HeaderName, HeaderValue); 4] = [
        (ETAG, page.tag.clone()),
        // A price can change at any moment: keep the page, and ask each time whether it still holds.
        (CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (VARY, HeaderValue::from_static("accept-language")),
        (CONTENT_LANGUAGE, HeaderValue::from_static(language.tag())),
    ];
    if is_known(&headers, &page.tag) {
        return Ok((StatusCode::NOT_MODIFIED, common).into_response());
    }
    let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    Ok((common, json, Body::from(page.body.clone())).into_response())
}

/// Whether `If-None-Match` names this tag; weak and strong are the same here.
pub fn is_known(headers: &HeaderMap, tag: &HeaderValue) -> bool {
    headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/").as_bytes() == tag)
    })
}

impl CatalogPages {
    fn of(&self, catalog: &Arc<Catalog>) -> Arc<Written> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(written) = held.filter(|written| Arc::ptr_eq(&written.of, catalog)) {
            return written;
        }
        let pages = Language::ALL.map(|language| page(catalog, language));
        let written = Arc::new(Written { of: Arc::clone(catalog), pages });
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&written));
        written
    }
}

fn page(catalog: &Catalog, language: Language) -> Page {
    let gifts = catalog.gifts().iter().map(|gift| gift_body(gift, language)).collect();
    let body = CatalogBody { version: catalog.version(), gifts };
    let body = serde_json::to_vec(&body).expect("answers have string keys and whole numbers only");
    let hash = Sha256::digest(&body);
    let short = u64::from_be_bytes(hash[..8].try_into().expect("eight bytes"));
    let tag = format!("\"{}-{}-{short:016x}\"", catalog.version(), language.tag());
    let tag = HeaderValue::try_from(tag).expect("letters and digits in quotes make a header");
    Page { body: body.into(), tag }
}

fn gift_body(gift: &Gift, language: Language) -> GiftBody<'_> {
    GiftBody {
        gift_id: gift.gift_id,
        name: gift.names.get(language.tag()).unwrap_or(&gift.name),
        names: &gift.names,
        price: gift.price,
        asset: &gift.asset,
        category: &gift.category,
        tier: gift.tier,
        icon_url: &gift.icon_url,
        effects_url: gift.effects_url.as_deref(),
        send_rule: gift.send_rule,
        created_at: &gift.created_at,
        updated_at: &gift.updated_at,
    }
}

#[derive(Serialize)]
struct AdminBody<'a> {
    version: CatalogVersion,
    #[serde(flatten)]
    draft: &'a CatalogDraft,
}

/// The whole catalog, as it can be edited and put back
#[utoipa::path(
    get, path = "/v1/catalog", operation_id = "getCatalog", tag = "catalog",
    responses(
        (status = 200, description = "With its version.", body = shapes::CatalogOut, headers(
            ("ETag" = String, description = "Changes with the version.")
        )),
        (status = 304, description = "What is at hand still holds."),
        AdminReadErrors
    ),
    security(("admin" = []))
)]
pub async fn get(State(state): State<ApiState>, _admin: Admin, headers: HeaderMap) -> Response {
    let catalog = &state.service.control.view().catalog;
    let tag = HeaderValue::try_from(format!("\"{}\"", catalog.version())).expect("digits in quotes make a header");
    if is_known(&headers, &tag) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, tag)]).into_response();
    }
    let body = edge::json(&AdminBody { version: catalog.version(), draft: catalog.draft() });
    ([(ETAG, tag)], body).into_response()
}

/// Replace the catalog
///
/// What `get` answers can be edited and put back: `version` then says from which one the edit was made.
#[utoipa::path(
    put, path = "/v1/catalog", operation_id = "putCatalog", tag = "catalog", request_body = shapes::CatalogIn,
    responses((status = 200, description = "Its version, durable and in effect.", body = schemas::NewVersion), AdminWriteErrors),
    security(("admin" = []))
)]
pub async fn put(
    State(state): State<ApiState>,
    Admin(by): Admin,
    CatalogBytes(body): CatalogBytes,
) -> Result<Response, Problem> {
    let (draft, reason, based_on) = parse_draft(&body)?;
    let now = state.service.control.view().catalog.version();
    if let Some(based_on) = based_on.filter(|based_on| *based_on != u64::from(now.get())) {
        let detail =
            format!("this edit was made from version {based_on}, the catalog is at {now}; get it and edit again");
        return Err(Problem::bad_request(detail));
    }
    let patience = state.options.request_timeout;
    let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let final_after: Time = state.service.clock.now().plus_millis(millis);
    let applied = state.service.control.apply_catalog(draft, by.to_string(), reason);
    match tokio::time::timeout(patience, applied).await {
        Ok(Ok(version)) => Ok(edge::json(&serde_json::json!({ "version": version }))),
        Ok(Err(error)) => Err(refusals::of_control(error, "/v1/catalog", final_after)),
        Err(_elapsed) => Err(refusals::outcome_unknown("/v1/catalog".into(), final_after)),
    }
}

fn parse_draft(body: &[u8]) -> Result<(CatalogDraft, String, Option<u64>), Problem> {
    let mut fields: serde_json::Map<String, serde_json::Value> = parse_json(body)?;
    let reason = match fields.remove("reason") {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(reason)) if reason.chars().count() <= REASON_CHARS_MAX => reason,
        Some(_) => {
            return Err(Problem::bad_request(format!("`reason` is a text of at most {REASON_CHARS_MAX} characters")));
        }
    };
    let based_on = match fields.remove("version") {
        None => None,
        Some(version) => Some(version.as_u64().ok_or_else(|| Problem::bad_request("`version` is a whole number"))?),
    };
    let draft = serde_json::from_value(serde_json::Value::Object(fields));
    let draft = draft.map_err(|error| Problem::bad_request(format!("this is not a catalog: {error}")))?;
    Ok((draft, reason, based_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_tag_is_found_in_any_form() {
        let tag = HeaderValue::from_static("\"4-en-0a\"");
        for (value, want) in [
            ("\"4-en-0a\"", true),
            ("W/\"4-en-0a\"", true),
            ("\"3-en-0a\", \"4-en-0a\"", true),
            ("*", true),
            ("\"4-zh-0a\"", false),
            ("4-en-0a", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]);
            assert_eq!(is_known(&headers, &tag), want, "{value}");
        }
    }

    #[test]
    fn a_draft_is_strict_about_what_it_does_not_know() {
        let parse = |json: &str| parse_draft(json.as_bytes()).map_err(|problem| problem.detail().to_owned());
        let (draft, reason, based_on) =
            parse(r#"{"asset":[{"id":1,"name":"coin"}],"gift":[],"reason":"spring","version":3}"#).unwrap();
        assert_eq!((draft.assets.len(), reason.as_str(), based_on), (1, "spring", Some(3)));
        assert!(parse(r#"{"asset":[],"gift":[],"gifts":[]}"#).unwrap_err().contains("gifts"));
        assert!(parse(r#"{"asset":[]}"#).unwrap_err().contains("gift"));
        assert!(parse(r#"{"asset":[],"gift":[],"reason":7}"#).unwrap_err().contains("reason"));
        assert!(parse("[]").is_err());
    }
}
