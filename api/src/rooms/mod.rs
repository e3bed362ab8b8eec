//! Rooms: what goes on in one, as a page, as a list, and as it happens.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use largesse_engine::resolve::ControlView;
use largesse_engine::room::board::Side;
use largesse_engine::room::command::{BoardPage, BoardQuery};
use largesse_engine::room::event::{Period, RoomHead};
use largesse_engine::room::settings::Room;
use largesse_engine::service::ServiceError;
use largesse_engine::units::{AssetId, RoomId};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::edge;
use crate::error::ErrorCode;
use crate::extract::{Params, Public, RoomPath};
use crate::openapi::errors::RoomErrors;
use crate::openapi::schemas;
use crate::problem::{Extras, Problem};
use crate::refusals;
use crate::state::ApiState;
use crate::wire::{asset_name, parse_asset};

pub mod boards;
pub mod body;
pub mod events;
pub mod feed;
pub mod follow;
pub mod hub;
pub mod item;
pub mod settings;
pub mod streams;

use body::{RankedBody, RoomBody, SnapshotBody, TopBody};

/// Places of each side in a snapshot.
const TOP: usize = 10;
/// How often the parts of a snapshot are read until they are of the same moment, as they nearly always are at once.
const SNAPSHOT_TRIES: usize = 8;

/// A room
///
/// Its settings, and how it stands.
#[utoipa::path(
    get, path = "/v1/rooms/{room}", operation_id = "getRoom", tag = "rooms",
    params(("room" = inline(schemas::IdPath), Path, example = "1001")),
    responses((status = 200, description = "As of `room_seq`.", body = RoomBody), RoomErrors),
    security(("viewer" = []), ("service" = []))
)]
pub async fn get(
    State(state): State<ApiState>,
    Public(_anyone): Public,
    RoomPath(room): RoomPath,
) -> Result<Response, Problem> {
    let view = state.service.control.view();
    let settings = known(&view, room)?;
    let head = state.service.room(room).await.map_err(|error| refusals::of_read(error, &view.catalog))?;
    Ok(edge::json(&body::room(settings, &head, &view.catalog)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotParams {
    /// Of which the best are told, by its name in the catalog. Default: the first that anything was given of.
    #[param(required = false, nullable = false)]
    asset: Option<String>,
}

/// A room to begin with
///
/// All of it counts up to `room_seq`: go on with the feed or the stream with `?after=` that number, and nothing is missed
/// and nothing counted twice.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/snapshot", operation_id = "roomSnapshot", tag = "rooms",
    params(("room" = inline(schemas::IdPath), Path, example = "1001"), SnapshotParams),
    responses((status = 200, description = "As of `room_seq`.", body = SnapshotBody), RoomErrors),
    security(("viewer" = []), ("service" = []))
)]
pub async fn snapshot(
    State(state): State<ApiState>,
    Public(_anyone): Public,
    RoomPath(room): RoomPath,
    Params(params): Params<SnapshotParams>,
) -> Result<Response, Problem> {
    let view = state.service.control.view();
    let settings = known(&view, room)?;
    let asset = params.asset.map(|name| parse_asset(&view.catalog, &name)).transpose()?;
    let parts = parts_of(&state, room, asset, &view).await;
    let parts = parts.map_err(|error| refusals::of_read(error, &view.catalog))?.ok_or_else(|| {
        let detail = "the room changes faster than it can be read as of one moment; try again";
        Problem::with(ErrorCode::Overloaded, detail, Extras::RetryAfter(Duration::from_secs(1)))
    })?;
    Ok(edge::json(&snapshot_body(settings, &parts, &view)))
}

/// The parts of a snapshot, all as of the same entry.
pub struct SnapshotParts {
    pub head: Arc<RoomHead>,
    pub asset: AssetId,
    pub senders: BoardPage,
    pub hosts: BoardPage,
}

/// Reads a room with the best of this live; `None` where that did not work out as of one moment.
pub async fn parts_of(
    state: &ApiState,
    room: RoomId,
    asset: Option<AssetId>,
    view: &ControlView,
) -> Result<Option<SnapshotParts>, ServiceError> {
    let service = &state.service;
    for _ in 0..SNAPSHOT_TRIES {
        let asset = match asset {
            Some(asset) => asset,
            None => body::main_asset(&*service.room(room).await?, &view.catalog),
        };
        let board =
            |side| service.board(room, BoardQuery { period: Period::Live, side, asset, limit: TOP, user: None });
        // Asked in the same breath, so that the shard takes them as one batch.
        let read = tokio::try_join!(service.room(room), board(Side::Senders), board(Side::Hosts));
        let (head, senders, hosts) = read?;
        if senders.as_of == head.last() && hosts.as_of == head.last() {
            return Ok(Some(SnapshotParts { head, asset, senders, hosts }));
        }
    }
    Ok(None)
}

pub fn snapshot_body<'a>(settings: &'a Room, parts: &SnapshotParts, view: &'a ControlView) -> SnapshotBody<'a> {
    let places = |page: &BoardPage| page.top.iter().map(RankedBody::from).collect();
    SnapshotBody {
        room: body::room(settings, &parts.head, &view.catalog),
        top: TopBody {
            asset: asset_name(&view.catalog, parts.asset),
            senders: places(&parts.senders),
            hosts: places(&parts.hosts),
        },
    }
}

/// The settings of a room that there is.
pub fn known(view: &ControlView, room: RoomId) -> Result<&Room, Problem> {
    let found = view.rooms.get(&room);
    found.ok_or_else(|| Problem::new(ErrorCode::RoomUnknown, format!("there is no room {room}")))
}
