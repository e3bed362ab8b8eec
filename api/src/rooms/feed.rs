//! The complete feed of a room, in pages: each gift is counted in it exactly once.

use axum::extract::State;
use axum::response::Response;
use largesse_engine::units::{Amount, RoomSeq};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::epoch;
use super::item::{ItemBody, item};
use super::known;
use crate::edge;
use crate::extract::{Params, Public, RoomPath};
use crate::openapi::errors::RoomErrors;
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::refusals;
use crate::state::ApiState;
use crate::wire::IdText;

const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FeedParams {
    /// The last entry that is known; the page begins with the one behind it. Default: 0, the beginning.
    #[param(schema_with = schemas::room_seq_query, required = false)]
    after: Option<u64>,
    /// Entries of a page at most, 1 to 1,000. Default: 100.
    #[param(schema_with = schemas::limit_query, required = false)]
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FeedPage)]
pub(crate) struct PageBody<'a> {
    room_id: IdText,
    #[schema(schema_with = schemas::epoch)]
    epoch: IdText,
    /// In order and without gaps. There may be fewer than asked for, even none, although there are more to come: the end is
    /// where `next_after` is `room_seq`.
    items: Vec<ItemBody<'a>>,
    /// The last entry of this page: the next one is after it.
    #[schema(value_type = schemas::Seq)]
    next_after: RoomSeq,
    /// The last entry of the feed.
    #[schema(value_type = schemas::Seq)]
    room_seq: RoomSeq,
}

/// A room's feed
///
/// Everything that happened in the room, in the order in which it was shown. `delta` of gifts is the only field that is
/// ever summed: per asset, it comes to what these gifts debited.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/feed", operation_id = "roomFeed", tag = "rooms",
    params(("room" = inline(schemas::IdPath), Path, example = "1001"), FeedParams),
    responses((status = 200, description = "A page, oldest first.", body = PageBody), RoomErrors),
    security(("viewer" = []), ("service" = []))
)]
pub async fn read(
    State(state): State<ApiState>,
    Public(_anyone): Public,
    RoomPath(room): RoomPath,
    Params(FeedParams { after, limit }): Params<FeedParams>,
) -> Result<Response, Problem> {
    let limit = limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` must be 1 to {LIMIT_MAX}")));
    }
    let after = room_seq(after.unwrap_or(0), "after")?;
    let view = state.service.control.view();
    known(&view, room)?;
    let page = state.service.feed(room, after, limit).await;
    let page = page.map_err(|error| refusals::of_read(error, &view.catalog))?;
    Ok(edge::json(&PageBody {
        room_id: room.into(),
        epoch: epoch(&page.head),
        items: page.items.iter().map(|(number, stored)| item(*number, stored, &view.catalog)).collect(),
        next_after: page.items.last().map_or(after, |(number, _)| *number),
        room_seq: page.head.last(),
    }))
}

/// A number that an entry can have, or 0.
pub fn room_seq(number: u64, what: &str) -> Result<RoomSeq, Problem> {
    // No feed is ever as long as that, and JSON carries no larger number exactly.
    let fits = number <= Amount::MAX.get();
    let refused = || Problem::bad_request(format!("`{what}` is the number of an entry, from 0 to 2^53 − 1"));
    fits.then_some(RoomSeq(number)).ok_or_else(refused)
}
