//! A user's history, newest first.
//!
//! The store pages by time only. Filters are applied here, over a bounded number of events per request: a page may have
//! fewer items than asked for, and a cursor to go on from.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use largesse_engine::catalog::Catalog;
use largesse_engine::codec;
use largesse_engine::event_id::EventId;
use largesse_engine::service::ServiceError;
use largesse_engine::store::{Page, ReceivedEntry, ReceivedQuery, SentQuery, StoredEvent};
use largesse_engine::units::{AssetId, RoomId, Time, UserId};
use largesse_engine::wallet::event::WalletEvent;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::auth::Caller;
use crate::edge;
use crate::error::ErrorCode;
use crate::extract::{Params, Viewer, VisibleUser, in_time};
use crate::openapi::errors::HistoryErrors;
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::refusals;
use crate::state::ApiState;
use crate::time_text::{self, Rfc3339};
use crate::wire::{Id, asset_name, parse_asset};

pub mod cursor;
pub mod items;

use cursor::{Cursor, CursorSeal, List};
use items::{Item, ItemBody, Kind, Reader, Side};

pub const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 50;
/// Events that one request looks through at most.
const SCANNED_MAX: usize = 2_000;
/// Events asked of the store at a time where a filter may drop most of them.
const FILTERED_CHUNK: usize = 200;
/// How many events may come in while a page is made before it is given up.
const PUSHED_MAX: usize = 16;
/// A cursor longer than this was not made here.

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct HistoryParams {
    /// Own events (the default), or what came from others.
    #[param(inline, required = false, nullable = false)]
    pub(crate) side: Option<Side>,
    #[param(inline, required = false, nullable = false)]
    pub(crate) kind: Option<Kind>,
    /// By its name in the catalog.
    #[param(required = false, nullable = false)]
    pub(crate) asset: Option<String>,
    #[param(schema_with = schemas::user_query, required = false)]
    pub(crate) room: Option<String>,
    /// The other user: a receiver of what was sent, the sender of what was received.
    #[param(schema_with = schemas::user_query, required = false)]
    pub(crate) peer: Option<String>,
    /// RFC 3339, or milliseconds; included.
    #[param(schema_with = schemas::time_query, required = false)]
    pub(crate) since: Option<String>,
    /// RFC 3339, or milliseconds; not included.
    #[param(schema_with = schemas::time_query, required = false)]
    pub(crate) until: Option<String>,
    /// Items of a page at most, 1 to 1,000. Default: 50.
    #[param(schema_with = schemas::limit_query, required = false)]
    pub(crate) limit: Option<usize>,
    /// From the page before.
    #[param(required = false, nullable = false)]
    pub(crate) cursor: Option<String>,
}

/// The parameters, understood.
struct Query {
    user: UserId,
    reader: Reader,
    side: Side,
    filter: Filter,
    since: Option<Time>,
    until: Option<Time>,
    limit: usize,
    from: Cursor,
}

#[derive(Clone, Debug, Default)]
struct Filter {
    kind: Option<Kind>,
    asset: Option<AssetId>,
    room: Option<RoomId>,
    peer: Option<UserId>,
}

#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = HistoryPage)]
pub(crate) struct HistoryPage<'a> {
    /// Newest first. There may be fewer than asked for, and a cursor nevertheless.
    items: Vec<ItemBody<'a>>,
    /// Where the next page begins; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cursor: Option<String>,
    /// Everything received before this time is in the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    complete_until: Option<Rfc3339>,
}

/// A viewer's own history
#[utoipa::path(
    get, path = "/v1/me/history", operation_id = "ownHistory", tag = "money", params(HistoryParams),
    responses(
        (status = 200, description = "A page, newest first.", body = HistoryPage, links(
            // A cursor belongs to its list: another side refuses it, other filters go on in another list.
            ("nextPage" = (operation_id = "ownHistory", parameters(
                ("side" = "$request.query.side"),
                ("kind" = "$request.query.kind"),
                ("asset" = "$request.query.asset"),
                ("room" = "$request.query.room"),
                ("peer" = "$request.query.peer"),
                ("since" = "$request.query.since"),
                ("until" = "$request.query.until"),
                ("limit" = "$request.query.limit"),
                ("cursor" = "$response.body#/cursor")
            ))),
        )),
        HistoryErrors
    ),
    security(("viewer" = []))
)]
pub async fn own(
    State(state): State<ApiState>,
    Viewer(user): Viewer,
    Params(params): Params<HistoryParams>,
) -> Result<Response, Problem> {
    history(&state, user, Reader::User, params).await
}

/// A user's history
#[utoipa::path(
    get, path = "/v1/users/{user}/history", operation_id = "historyOfUser", tag = "money",
    params(("user" = inline(schemas::IdPath), Path, example = "3001"), HistoryParams),
    responses(
        (status = 200, description = "A page, newest first.", body = HistoryPage, links(
            ("nextPage" = (operation_id = "historyOfUser", parameters(
                ("user" = "$request.path.user"),
                ("side" = "$request.query.side"),
                ("kind" = "$request.query.kind"),
                ("asset" = "$request.query.asset"),
                ("room" = "$request.query.room"),
                ("peer" = "$request.query.peer"),
                ("since" = "$request.query.since"),
                ("until" = "$request.query.until"),
                ("limit" = "$request.query.limit"),
                ("cursor" = "$response.body#/cursor")
            ))),
        )),
        HistoryErrors
    ),
    security(("viewer" = []), ("service" = []))
)]
pub async fn of_user(
    State(state): State<ApiState>,
    VisibleUser(user, caller): VisibleUser,
    Params(params): Params<HistoryParams>,
) -> Result<Response, Problem> {
    let reader = match caller {
        Caller::Service(_) => Reader::Service,
        Caller::Viewer(_) | Caller::Reader(_) | Caller::Admin(_) => Reader::User,
    };
    history(&state, user, reader, params).await
}

async fn history(state: &ApiState, user: UserId, reader: Reader, params: HistoryParams) -> Result<Response, Problem> {
    let view = state.service.control.view();
    let query = Query::parse(user, reader, params, &view.catalog, &state.cursors)?;
    let page = gather(state, &query);
    let page =
        in_time(page, state.options.request_timeout).await.unwrap_or_else(|| Err(refusals::store_unavailable()))?;
    let items = page.items.iter().map(|item| item.body(query.side, |asset| asset_name(&view.catalog, asset)));
    Ok(edge::json(&HistoryPage {
        items: items.collect(),
        cursor: page.cursor,
        complete_until: page.complete_until.map(Rfc3339),
    }))
}

/// A page before it is written.
pub(crate) struct Gleaned {
    pub items: Vec<Item>,
    pub cursor: Option<String>,
    pub complete_until: Option<Time>,
}

/// A page for those who write it in a form of their own, which names no peers.
pub(crate) async fn page(
    state: &ApiState,
    user: UserId,
    params: HistoryParams,
    patience: Duration,
) -> Result<Gleaned, Problem> {
    let view = state.service.control.view();
    let query = Query::parse(user, Reader::User, params, &view.catalog, &state.cursors)?;
    in_time(gather(state, &query), patience).await.unwrap_or_else(|| Err(refusals::store_unavailable()))
}

/// The store's cursor behind the event `last`, which was number `events` from `start` on a moment ago.
///
/// A page that is full before its chunk's end needs this: only the store can say where exactly that is. Events that
/// came in between have pushed `last` down by their number.
async fn end_of(
    state: &ApiState,
    query: &Query,
    start: Option<Bytes>,
    events: usize,
    last: (EventId, Time),
) -> Result<Bytes, Problem> {
    for pushed in 0..PUSHED_MAX {
        let (read, _) = read_chunk(state, query, start.clone(), events + pushed, false).await?;
        match (read.items.last().and_then(|event| mark(event)), read.next) {
            (Some(found), Some(next)) if found == last => return Ok(next),
            _ => {}
        }
    }
    Err(Problem::new(ErrorCode::StoreUnavailable, "the list grows too fast to be paged; try again"))
}

fn mark(event: &[Item]) -> Option<(EventId, Time)> {
    event.first().map(|item| (item.id, item.at))
}

/// Reads pages of the store until enough items fit, all is read, or enough was looked through.
async fn gather(state: &ApiState, query: &Query) -> Result<Gleaned, Problem> {
    let mut gathered = Gathered { items: Vec::new(), next: Some(query.from.clone()), scanned: 0 };
    let mut complete_until = None;
    while let Some(from) = gathered.next.take() {
        let room = query.limit - gathered.items.len();
        if room == 0 || gathered.scanned >= SCANNED_MAX {
            gathered.next = Some(from);
            break;
        }
        let chunk = if query.filter.is_empty() { room } else { room.max(FILTERED_CHUNK) };
        let chunk = chunk.min(SCANNED_MAX.saturating_sub(gathered.scanned).max(1));
        let (read, until) = read_chunk(state, query, from.store.clone(), chunk, gathered.scanned == 0).await?;
        complete_until = complete_until.or(until);
        if let Cut::After { events, skip, last } = gathered.add(read, from.skip, query) {
            let store = match last {
                Some(last) => Some(end_of(state, query, from.store, events, last).await?),
                None => from.store,
            };
            gathered.next = Some(Cursor { store, skip });
        }
    }
    let cursor = gathered.next.map(|cursor| cursor.encode(query.list(), &state.cursors));
    Ok(Gleaned { items: gathered.items, cursor, complete_until })
}

struct Gathered {
    items: Vec<Item>,
    next: Option<Cursor>,
    scanned: usize,
}

enum Cut {
    /// Everything of the chunk was looked at; `Gathered::next` is where the store goes on.
    AtEnd,
    /// The page is full after so many events of the chunk, and so many items of the next one.
    After { events: usize, skip: u8, last: Option<(EventId, Time)> },
}

impl Gathered {
    fn add(&mut self, read: Page<Vec<Item>>, skip_first: u8, query: &Query) -> Cut {
        // An empty chunk was work as well.
        self.scanned += 1;
        let at_end = read.items.len().saturating_sub(1);
        let mut before = None;
        for (place, event) in read.items.into_iter().enumerate() {
            let (mark, items_of_event) = (mark(&event), event.len());
            let skip = if place == 0 { usize::from(skip_first) } else { 0 };
            for (number, item) in event.into_iter().enumerate().skip(skip) {
                if !query.filter.fits(&item) {
                    continue;
                }
                self.items.push(item);
                let ends_event = number + 1 == items_of_event;
                if self.items.len() < query.limit || (ends_event && place == at_end) {
                    continue;
                }
                if ends_event {
                    return Cut::After { events: place + 1, skip: 0, last: mark };
                }
                let skip = u8::try_from(number + 1).expect("an event has fewer items than 256");
                return Cut::After { events: place, skip, last: before };
            }
            before = mark;
            self.scanned += 1;
        }
        self.next = read.next.map(|store| Cursor { store: Some(store), skip: 0 });
        Cut::AtEnd
    }
}

/// One page of the store, each event as its items.
async fn read_chunk(
    state: &ApiState,
    query: &Query,
    cursor: Option<Bytes>,
    limit: usize,
    is_first: bool,
) -> Result<(Page<Vec<Item>>, Option<Time>), Problem> {
    let service = &state.service;
    let Query { user, since, until, .. } = *query;
    let shard = service.wallets.shape().wallet_of(user);
    let read = match query.side {
        Side::Sent => {
            let sent = SentQuery { shard, user, since, until, cursor, limit };
            // Only the first read waits for what was answered before this request to be in the store.
            let page = if is_first {
                service.sent_history(sent).await
            } else {
                service.store.page_sent(sent).await.map_err(ServiceError::from)
            };
            page.and_then(|page| sent_items(page, user)).map(|page| (page, None))
        }
        Side::Received => {
            let received = ReceivedQuery { shard, user, since, until, cursor, limit };
            let page = service.received_history(received).await;
            page.map(|(page, complete_until)| (received_items(page, query.reader), Some(complete_until)))
        }
    };
    read.map_err(|error| refusals::of_read(error, &service.control.view().catalog))
}

fn sent_items(page: Page<StoredEvent>, user: UserId) -> Result<Page<Vec<Item>>, ServiceError> {
    let items = page.items.iter().map(|stored| {
        let event: WalletEvent =
            codec::decode(&stored.event).map_err(|error| ServiceError::Internal(error.to_string()))?;
        Ok(items::of_event(&event, stored.at, user))
    });
    Ok(Page { items: items.collect::<Result<_, ServiceError>>()?, next: page.next })
}

fn received_items(page: Page<ReceivedEntry>, reader: Reader) -> Page<Vec<Item>> {
    Page { items: page.items.iter().map(|entry| vec![items::of_entry(entry, reader)]).collect(), next: page.next }
}

impl Query {
    fn list(&self) -> List {
        List { side: self.side, user: self.user, reader: self.reader }
    }

    fn parse(
        user: UserId,
        reader: Reader,
        params: HistoryParams,
        catalog: &Catalog,
        seal: &CursorSeal,
    ) -> Result<Query, Problem> {
        let HistoryParams { side, kind, asset, room, peer, since, until, limit, cursor } = params;
        let side = side.unwrap_or(Side::Sent);
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::bad_request(format!("`limit` must be 1 to {LIMIT_MAX}")));
        }
        let id = |text: Option<String>, name: &'static str| match text {
            None => Ok(None),
            Some(text) => match Id::parse(&text).filter(|id| id.0 != 0) {
                Some(id) => Ok(Some(id.0)),
                None => Err(Problem::bad_request(format!("`{name}` must be a decimal id from 1 on"))),
            },
        };
        let time = |text: Option<String>, name: &'static str| match text {
            None => Ok(None),
            Some(text) => time_text::parse(&text).map(Some).ok_or_else(|| {
                let detail = format!("`{name}` must be RFC 3339 (a `+` of its offset written as %2B) or milliseconds");
                Problem::bad_request(detail)
            }),
        };
        let filter = Filter {
            kind,
            asset: asset.map(|name| parse_asset(catalog, &name)).transpose()?,
            room: id(room, "room")?.map(RoomId),
            peer: id(peer, "peer")?.map(UserId),
        };
        let from = match cursor {
            None => Cursor::default(),
            Some(text) => Cursor::decode(&text, List { side, user, reader }, seal).ok_or_else(|| {
                Problem::new(ErrorCode::CursorInvalid, "the cursor was not made by this list; start without one")
            })?,
        };
        let (since, until) = (time(since, "since")?, time(until, "until")?);
        Ok(Query { user, reader, side, filter, since, until, limit, from })
    }
}

impl Filter {
    fn is_empty(&self) -> bool {
        let Filter { kind, asset, room, peer } = self;
        kind.is_none() && asset.is_none() && room.is_none() && peer.is_none()
    }

    fn fits(&self, item: &Item) -> bool {
        self.kind.is_none_or(|kind| item.kind == kind)
            && self.asset.is_none_or(|asset| item.asset == asset)
            && self.room.is_none_or(|room| item.room() == Some(room))
            && self.peer.is_none_or(|peer| item.peers.contains(&peer))
    }
}

#[cfg(test)]
mod tests;
