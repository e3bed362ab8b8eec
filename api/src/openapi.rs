//! The description of the API, made from the handlers themselves.

use std::sync::LazyLock;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use utoipa::openapi::path::Parameter;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{Modify, OpenApi};

use crate::catalog::is_known;
use crate::{
    assets, balances, callbacks, catalog, gifts, history, keys, ops, recharges, room_pass, rooms, station, transfers,
};

pub mod catalog_shapes;
pub mod errors;
pub mod schemas;

/// What viewers and services reach.
#[derive(OpenApi)]
#[openapi(
    info(title = "Largesse", description = include_str!("openapi/public.md"), license(name = "Apache-2.0", identifier = "Apache-2.0")),
    paths(
        gifts::send, gifts::find, catalog::of_room, room_pass::http_call::create, assets::asset,
        balances::own, balances::of_user, balances::query, history::own, history::of_user,
        rooms::get, rooms::snapshot, rooms::feed::read, rooms::boards::read, rooms::events::stream,
        rooms::settings::put, rooms::settings::close,
        recharges::recharge,
        callbacks::report, transfers::batch,
        station::change_assets, station::get_assets, station::get_asset_records, station::send_gift, station::list_gift,
        ops::healthz, description
    ),
    components(schemas(schemas::ProblemBody, crate::wire::Id, schemas::KeyHeader, schemas::DeadlineHeader, schemas::LastEventId)),
    modifiers(&Callers),
    tags(
        (name = "gifts", description = "Gifts, and what became of them."),
        (name = "rooms", description = "What goes on in a room, and how it is set."),
        (name = "money", description = "Balances, histories, payments, transfers."),
        (name = "station", description = "For callers of the payment station and its gateway."),
        (name = "operations", description = "For those who keep it running.")
    )
)]
pub struct PublicApi;

/// What administrators and machines that watch reach.
#[derive(OpenApi)]
#[openapi(
    info(title = "Largesse, for administrators", description = include_str!("openapi/admin.md"), license(name = "Apache-2.0", identifier = "Apache-2.0")),
    paths(catalog::get, catalog::put, keys::list, keys::create, keys::revoke, ops::healthz, ops::readyz, ops::metrics, description),
    components(schemas(schemas::ProblemBody, keys::Listed<'static>)),
    modifiers(&Callers),
    tags((name = "keys", description = "Keys of services."), (name = "catalog", description = "What is sold."), (name = "operations", description = "For those who keep it running."))
)]
pub struct AdminApi;

/// How callers prove who they are.
struct Callers;

impl Modify for Callers {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let bearer = |format: Option<&str>, about: &str| {
            let mut scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(about));
            if let Some(format) = format {
                scheme = scheme.bearer_format(format);
            }
            SecurityScheme::Http(scheme.build())
        };
        let components = api.components.get_or_insert_default();
        let is_public = api.paths.paths.contains_key("/v1/gifts/{event_id}");
        if is_public {
            let viewer = "A token whose `sub` is the user's id. One whose `scope` has the word `read` and not `write` is \
                          read-only: it reads rooms, and is `forbidden` to send gifts and to read accounts.";
            components.add_security_scheme("viewer", bearer(Some("JWT"), viewer));
            components.add_security_scheme("service", bearer(None, "A service's key, `lgk_…`."));
        } else {
            components.add_security_scheme("admin", bearer(None, "An administrator's key."));
        }
        for item in api.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post, &mut item.put, &mut item.delete].into_iter().flatten() {
                operation.parameters.iter_mut().flatten().for_each(without_null);
            }
        }
        api.info.version = env!("CARGO_PKG_VERSION").into();
    }
}

/// A parameter that may be left out is left out, never null.
fn without_null(parameter: &mut RefOr<Parameter>) {
    let RefOr::T(parameter) = parameter else { return };
    match &mut parameter.schema {
        Some(RefOr::T(Schema::OneOf(one))) if one.items.len() == 2 => {
            let is_null = |item: &RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(it)) if it.schema_type == Type::Null.into());
            if let Some(place) = one.items.iter().position(|item| !is_null(item)) {
                parameter.schema = Some(one.items.swap_remove(place));
            }
        }
        Some(RefOr::T(Schema::Object(object))) => {
            if let SchemaType::Array(types) = &object.schema_type
                && let Some(kind) = types.iter().find(|kind| **kind != Type::Null)
            {
                object.schema_type = kind.clone().into();
            }
        }
        Some(_) | None => {}
    }
}

/// A description as it is sent, with its tag.
struct Written {
    body: Bytes,
    tag: HeaderValue,
}

impl Written {
    fn new(api: &utoipa::openapi::OpenApi) -> Written {
        let body = serde_json::to_vec(api).expect("a description is plain data");
        let hash = Sha256::digest(&body);
        let tag: String = hash[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let tag = HeaderValue::try_from(format!("\"{tag}\"")).expect("hex digits in quotes make a header");
        Written { body: body.into(), tag }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let common = [(ETAG, self.tag.clone()), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
        if is_known(headers, &self.tag) {
            return (StatusCode::NOT_MODIFIED, common).into_response();
        }
        let json = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        (common, json, Body::from(self.body.clone())).into_response()
    }
}

static PUBLIC: LazyLock<Written> = LazyLock::new(|| Written::new(&PublicApi::openapi()));
static ADMIN: LazyLock<Written> = LazyLock::new(|| Written::new(&AdminApi::openapi()));

/// This description
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "description", tag = "operations", security(()),
    responses(
        (status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json", headers(("ETag" = String))),
        (status = 304, description = "What is at hand still holds."),
        errors::OpenErrors
    )
)]
pub async fn description(headers: HeaderMap) -> Response {
    PUBLIC.answer(&headers)
}

/// The description of the administrators' port.
pub async fn admin_description(headers: HeaderMap) -> Response {
    ADMIN.answer(&headers)
}
