//! Opening a room, changing how it is set, and closing it.

use axum::body::HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::request::Parts;
use largesse_engine::catalog::Catalog;
use largesse_engine::room::settings::{PluginSettings, Room};
use largesse_engine::units::{GiftId, RoomId, UserId};
use serde::Deserialize;
use utoipa::ToSchema;

use super::body::{self, RoomBody};
use super::known;
use crate::edge;
use crate::error::ErrorCode;
use crate::extract::{JsonBytes, RoomPath, Service, parse_json, read_body};
use crate::openapi::errors::RoomWriteErrors;
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::refusals;
use crate::state::ApiState;
use crate::time_text;
use crate::wire::{Id, Whole, parse_asset};

/// Longest reason for a change, in characters.
const REASON_CHARS_MAX: usize = 500;
/// What the path of a room is closed with ends in.
const CLOSE: &str = ":close";

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SetRoom)]
pub(crate) struct SetBody {
    /// Who can be given gifts here, each once.
    #[schema(schema_with = schemas::hosts, example = json!(["2001", "2002"]))]
    hosts: Vec<Id>,
    /// The gifts that are sold here. Without it all of the catalog are.
    #[serde(default)]
    #[schema(schema_with = schemas::gift_set)]
    gifts: Option<Vec<u32>>,
    /// Live features that are switched on. One that stays as it is goes on with what it has.
    #[serde(default)]
    #[schema(schema_with = schemas::room_plugins, required = false)]
    plugins: Vec<PluginIn>,
    /// For whoever asks later why this was changed.
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum PluginIn {
    Goal {
        asset: String,
        target: Whole,
    },
    Pk {
        hosts: [Id; 2],
        asset: String,
        #[serde(default)]
        until: Option<String>,
    },
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CloseRoom)]
pub(crate) struct CloseBody {
    /// For whoever asks later why it was closed.
    #[serde(default)]
    #[schema(max_length = 500)]
    reason: Option<String>,
}

/// Open a room, or change how it is set
///
/// A room that is not there yet is made, one that was closed begins another live. What is left out of the body is not set:
/// the room is as the body says, whatever it was before.
#[utoipa::path(
    put, path = "/v1/rooms/{room}", operation_id = "setRoom", tag = "rooms",
    params(("room" = inline(schemas::IdPath), Path, example = "1001")),
    request_body(content = SetBody, example = json!({
        "hosts": ["2001", "2002"], "plugins": [{ "kind": "goal", "asset": "coin", "target": 10_000 }], "reason": "tonight"
    })),
    responses((status = 200, description = "The room, open.", body = RoomBody), RoomWriteErrors),
    security(("service" = []))
)]
pub async fn put(
    State(state): State<ApiState>,
    Service(service): Service,
    RoomPath(room): RoomPath,
    JsonBytes(body): JsonBytes,
) -> Result<Response, Problem> {
    let SetBody { hosts, gifts, plugins, reason } = parse_json(&body)?;
    let reason = checked(reason)?;
    let catalog = &state.service.control.view().catalog;
    let hosts: Vec<UserId> = hosts.into_iter().map(Id::user).collect();
    let gifts = gifts.map(|gifts| gifts.into_iter().map(|gift| on_sale(catalog, GiftId(gift))).collect());
    let plugins = plugins.into_iter().map(|plugin| plugin.understood(catalog)).collect::<Result<_, _>>()?;
    let room = Room { gifts: gifts.transpose()?, plugins, ..Room::new(room, hosts) };
    room.check()?;
    set(&state, room, &service.name, reason).await
}

/// Close a room
///
/// Its live ends, and with it every streak. Gifts are refused from now on; those that were paid before are still shown. It
/// keeps its settings.
#[utoipa::path(
    post, path = "/v1/rooms/{room}:close", operation_id = "closeRoom", tag = "rooms",
    params(("room" = inline(schemas::IdPath), Path, example = "1001")),
    request_body(content = Option<CloseBody>, example = json!({ "reason": "the show is over" })),
    responses((status = 200, description = "The room, closed.", body = RoomBody), RoomWriteErrors),
    security(("service" = []))
)]
pub async fn close(
    State(state): State<ApiState>,
    Service(service): Service,
    ClosePath(room): ClosePath,
    OptionalJson(body): OptionalJson,
) -> Result<Response, Problem> {
    let CloseBody { reason } = body.map_or(Ok(None), |body| parse_json::<Option<_>>(&body))?.unwrap_or_default();
    let reason = checked(reason)?;
    let room = Room { is_closed: true, ..known(&state.service.control.view(), room)?.clone() };
    set(&state, room, &service.name, reason).await
}

/// Whether a request is about an action on a room, and not about the room itself.
pub fn is_close(path: &str) -> bool {
    let end = path.len().checked_sub("%3Aclose".len()).and_then(|at| path.get(at..)).unwrap_or_default();
    path.ends_with(CLOSE) || end.eq_ignore_ascii_case("%3Aclose")
}

async fn set(state: &ApiState, room: Room, by: &str, reason: String) -> Result<Response, Problem> {
    let service = &state.service;
    let poll = format!("/v1/rooms/{}", room.id);
    let patience = state.options.request_timeout;
    let millis = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
    let final_after = service.clock.now().plus_millis(millis);
    let room = match tokio::time::timeout(patience, service.set_room(room, by.into(), reason)).await {
        Ok(Ok(room)) => room,
        Ok(Err(error)) => return Err(refusals::of_control(error, &poll, final_after)),
        Err(_elapsed) => return Err(refusals::outcome_unknown(poll, final_after)),
    };
    let catalog = &service.control.view().catalog;
    let head = service.room(room.id).await.map_err(|error| refusals::of_read(error, catalog))?;
    Ok(edge::json(&body::room(&room, &head, catalog)))
}

fn checked(reason: Option<String>) -> Result<String, Problem> {
    let reason = reason.unwrap_or_default();
    let fits = reason.chars().count() <= REASON_CHARS_MAX;
    let refused = || Problem::bad_request(format!("`reason` is a text of at most {REASON_CHARS_MAX} characters"));
    fits.then_some(reason).ok_or_else(refused)
}

fn on_sale(catalog: &Catalog, gift: GiftId) -> Result<GiftId, Problem> {
    let unknown = || Problem::new(ErrorCode::GiftUnknown, format!("gift {gift} is not in the catalog"));
    catalog.gift(gift).map(|gift| gift.gift_id).ok_or_else(unknown)
}

impl PluginIn {
    fn understood(self, catalog: &Catalog) -> Result<PluginSettings, Problem> {
        match self {
            PluginIn::Goal { asset, target } => {
                let (asset, target) = (parse_asset(catalog, &asset)?, target.amount("target")?);
                Ok(PluginSettings::Goal { asset, target })
            }
            PluginIn::Pk { hosts, asset, until } => {
                let time = |text: String| {
                    time_text::parse(&text)
                        .ok_or_else(|| Problem::bad_request("`until` must be RFC 3339 or milliseconds, as text"))
                };
                let until = until.map(time).transpose()?;
                Ok(PluginSettings::Pk { hosts: hosts.map(Id::user), asset: parse_asset(catalog, &asset)?, until })
            }
        }
    }
}

/// The room in a path that ends in `:close`.
pub struct ClosePath(RoomId);

impl FromRequestParts<ApiState> for ClosePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, &())
            .await
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        let id = text.strip_suffix(CLOSE).and_then(Id::parse).filter(|id| id.0 != 0);
        let id = id.ok_or_else(|| Problem::bad_request("the room in the path must be a decimal id from 1 on"))?;
        Ok(ClosePath(RoomId(id.0)))
    }
}

/// The bytes of a JSON body, where there is one.
pub struct OptionalJson(Option<Bytes>);

impl FromRequest<ApiState> for OptionalJson {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &ApiState) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(OptionalJson(None));
        }
        read_body(request, state.options.body_bytes_max, state).await.map(|body| OptionalJson(Some(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_told_from_a_room_by_the_end_of_the_path() {
        for (path, want) in [
            ("/v1/rooms/1001:close", true),
            ("/v1/rooms/1001%3Aclose", true),
            ("/v1/rooms/1001%3aclose", true),
            ("/v1/rooms/1001", false),
            ("/v1/rooms/1001:open", false),
            ("/v1/rooms/close", false),
            ("%3é", false),
        ] {
            assert_eq!(is_close(path), want, "{path}");
        }
    }
}
