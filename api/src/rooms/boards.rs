//! Who gave, and who was given, the most.

use std::borrow::Cow;

use axum::extract::{FromRequestParts, Path, State};
use axum::response::Response;
use http::request::Parts;
use largesse_engine::room::board;
use largesse_engine::room::command::BoardQuery;
use largesse_engine::room::event;
use largesse_engine::units::{RoomId, RoomSeq, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::{RankedBody, main_asset};
use super::known;
use crate::auth::Caller;
use crate::edge;
use crate::extract::{Params, Public};
use crate::openapi::errors::RoomErrors;
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::refusals;
use crate::state::ApiState;
use crate::wire::{Id, asset_name, parse_asset};

const LIMIT_MAX: usize = board::TOP_MAX;
const LIMIT_DEFAULT: usize = 100;

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BoardPeriod)]
pub(crate) enum Period {
    Live,
    Day,
    Week,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = BoardSide)]
pub(crate) enum Side {
    Senders,
    Hosts,
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct BoardParams {
    /// Who gave (the default), or who was given.
    #[param(inline, required = false, nullable = false)]
    side: Option<Side>,
    /// By its name in the catalog. Default: the first that anything was given of.
    #[param(required = false, nullable = false)]
    asset: Option<String>,
    /// Places at most, 1 to 1,000. Default: 100.
    #[param(schema_with = schemas::limit_query, required = false)]
    limit: Option<usize>,
    /// Whose own place a service asks for.
    #[param(schema_with = schemas::user_query, required = false)]
    user: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Board)]
pub(crate) struct BoardBody<'a> {
    period: Period,
    side: Side,
    #[schema(value_type = String)]
    asset: Cow<'a, str>,
    /// Best first.
    entries: Vec<RankedBody>,
    /// The place of the viewer who asks, or of the user whom a service named; null where there is none, and for a read-only
    /// token.
    #[schema(required)]
    own: Option<RankedBody>,
    /// The place of what the same user gave anonymously, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    own_anonymous: Option<RankedBody>,
    /// Places on this board, of all assets.
    ranked: usize,
    /// The board has no place for whoever is not on it yet.
    is_full: bool,
    /// The entry of the feed up to which it counts.
    #[schema(value_type = schemas::Seq)]
    as_of: RoomSeq,
}

/// The room and the period in the path.
pub struct BoardPath(RoomId, Period);

impl FromRequestParts<ApiState> for BoardPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &ApiState) -> Result<Self, Problem> {
        let Path((room, period)) = Path::<(String, String)>::from_request_parts(parts, &())
            .await
            .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
        let room = Id::parse(&room).filter(|id| id.0 != 0);
        let room = room.ok_or_else(|| Problem::bad_request("the room in the path must be a decimal id from 1 on"))?;
        let period = match period.as_str() {
            "live" => Period::Live,
            "day" => Period::Day,
            "week" => Period::Week,
            _ => return Err(Problem::bad_request("there are the boards `live`, `day` and `week`")),
        };
        Ok(BoardPath(RoomId(room.0), period))
    }
}

/// A board of a room
///
/// Of this live, of the day or of the week of business. Places below the entries are exact as well.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/boards/{period}", operation_id = "roomBoard", tag = "rooms",
    params(
        ("room" = inline(schemas::IdPath), Path, example = "1001"),
        ("period" = inline(Period), Path, example = "live"),
        BoardParams
    ),
    responses((status = 200, description = "As of `as_of`.", body = BoardBody), RoomErrors),
    security(("viewer" = []), ("service" = []))
)]
pub async fn read(
    State(state): State<ApiState>,
    Public(caller): Public,
    BoardPath(room, period): BoardPath,
    Params(params): Params<BoardParams>,
) -> Result<Response, Problem> {
    let BoardParams { side, asset, limit, user } = params;
    let side = side.unwrap_or(Side::Senders);
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` must be 1 to {LIMIT_MAX}")));
    }
    let user = whose(&caller, user.as_deref())?;
    let (service, view) = (&state.service, state.service.control.view());
    known(&view, room)?;
    let told = |error| refusals::of_read(error, &view.catalog);
    let asset = match asset {
        Some(name) => parse_asset(&view.catalog, &name)?,
        None => main_asset(&*service.room(room).await.map_err(told)?, &view.catalog),
    };
    let query = BoardQuery { period: period.into(), side: side.into(), asset, limit, user };
    let page = service.board(room, query).await.map_err(told)?;
    Ok(edge::json(&BoardBody {
        period,
        side,
        asset: asset_name(&view.catalog, asset),
        entries: page.top.iter().map(RankedBody::from).collect(),
        own: page.own.as_ref().map(RankedBody::from),
        own_anonymous: page.own_anonymous.as_ref().map(RankedBody::from),
        ranked: page.ranked,
        is_full: page.is_full,
        as_of: page.as_of,
    }))
}

/// Whose place is told besides.
fn whose(caller: &Caller, named: Option<&str>) -> Result<Option<UserId>, Problem> {
    let parse = |text| Id::parse(text).filter(|id| id.0 != 0).map(Id::user);
    let wrong = || Problem::bad_request("`user` must be a decimal id from 1 on");
    let named = named.map(|text| parse(text).ok_or_else(wrong)).transpose()?;
    match caller {
        Caller::Service(_) => Ok(named),
        Caller::Viewer(own) if named.is_none_or(|named| named == *own) => Ok(Some(*own)),
        // Only what everybody sees: who looks with such a token need not be whose it is.
        Caller::Reader(_) if named.is_none() => Ok(None),
        Caller::Reader(_) => Err(Problem::read_only()),
        Caller::Viewer(_) | Caller::Admin(_) => Err(Problem::forbidden("a viewer can only ask for his own place")),
    }
}

impl From<Period> for event::Period {
    fn from(period: Period) -> event::Period {
        match period {
            Period::Live => event::Period::Live,
            Period::Day => event::Period::Day,
            Period::Week => event::Period::Week,
        }
    }
}

impl From<Side> for board::Side {
    fn from(side: Side) -> board::Side {
        match side {
            Side::Senders => board::Side::Senders,
            Side::Hosts => board::Side::Hosts,
        }
    }
}
