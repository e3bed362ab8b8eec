//! A room's feed as it happens, as server-sent events.
//!
//! The id of an event is its place in the feed, so a reader that comes back with `Last-Event-ID` misses nothing and reads
//! nothing twice.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use largesse_engine::service::ServiceError;
use largesse_engine::units::{RoomId, RoomSeq, Time};
use rand::RngExt;
use serde::Deserialize;
use tokio::time::Instant;
use utoipa::IntoParams;

use super::feed::room_seq;
use super::follow::{Followed, Follower, Place};
use super::item::item;
use super::known;
use super::streams::StreamPlace;
use crate::extract::{Params, Public, RoomPath};
use crate::openapi::errors::RoomErrors;
use crate::openapi::schemas;
use crate::problem::Problem;
use crate::refusals;
use crate::state::ApiState;
use crate::wire::{Id, IdText};

pub const LAST_EVENT_ID: &str = "last-event-id";
/// After a failure that may pass.
const AGAIN: Duration = Duration::from_millis(500);
/// A reader whose stream ended comes back after so many milliseconds, each after another time: a process that ends has all
/// of them at once.
const BACK_AFTER: std::ops::Range<u32> = 500..3_000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamParams {
    /// The last entry that is known, a snapshot's `room_seq` say. Without it, and without `Last-Event-ID`, the stream begins
    /// with what happens from now on.
    #[param(schema_with = schemas::room_seq_query, required = false)]
    after: Option<u64>,
}

/// A room's feed as it happens
///
/// Server-sent events. The `data` of each is an entry of the feed, `event` its kind, and `id` its place. An event `gap` says
/// that the reader's place is not one of this feed, and from where it goes on: read a snapshot then. A stream ends from time
/// to time; come back with `Last-Event-ID`, and nothing is missed.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/events", operation_id = "roomEvents", tag = "rooms",
    params(
        ("room" = inline(schemas::IdPath), Path, example = "1001"),
        ("Last-Event-ID" = Option<schemas::LastEventId>, Header, description = "The `id` of the last event that was read."),
        StreamParams
    ),
    responses(
        (status = 200, description = "It goes on.", body = String, content_type = "text/event-stream"),
        RoomErrors
    ),
    security(("viewer" = []), ("service" = []))
)]
pub async fn stream(
    State(state): State<ApiState>,
    Public(caller): Public,
    RoomPath(room): RoomPath,
    Params(params): Params<StreamParams>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let asked = asked_place(&headers, params.after)?;
    let view = state.service.control.view();
    known(&view, room)?;
    let place = state.room_streams.enter(&caller)?;
    let service = state.service.clone();
    let heard = state.room_streams.hub.listen(room, &*service.rooms);
    let head = service.room(room).await.map_err(|error| refusals::of_read(error, &view.catalog))?;
    let begin = match asked {
        Asked::Place(place) => place,
        Asked::After(after) => Place { epoch: head.began, after },
        Asked::Now => Place { epoch: head.began, after: head.last() },
    };
    let until = Instant::now() + jittered(state.room_streams.limits.longest);
    let follower = Follower::new(service, room, heard, begin);
    let open = OpenStream { state: state.clone(), room, follower, until, is_begun: false, _place: place };
    let events = futures::stream::unfold(open, |mut open| async move {
        let bytes = open.next().await?;
        Some((Ok::<_, Infallible>(bytes), open))
    });
    let headers: [(HeaderName, HeaderValue); 3] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Proxies that gather answers before they pass them on leave this one alone.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Now,
    After(RoomSeq),
    Place(Place),
}

/// Where the reader wants to begin. What its last event says counts more than the address, which stays the same when it
/// comes back.
fn asked_place(headers: &HeaderMap, after: Option<u64>) -> Result<Asked, Problem> {
    let wrong = || Problem::bad_request("Last-Event-ID is the id of one event of a room's stream: `epoch-room_seq`");
    let mut given = headers.get_all(LAST_EVENT_ID).iter();
    let last = given.next().map(|value| value.to_str().map_err(|_| wrong())).transpose()?;
    if given.next().is_some() {
        return Err(wrong());
    }
    match (last.filter(|last| !last.is_empty()), after) {
        (Some(last), _) => {
            let (epoch, number) = last.split_once('-').ok_or_else(wrong)?;
            let (epoch, number) = Id::parse(epoch).zip(Id::parse(number)).ok_or_else(wrong)?;
            Ok(Asked::Place(Place { epoch: Time(epoch.0), after: room_seq(number.0, "Last-Event-ID")? }))
        }
        (None, Some(after)) => Ok(Asked::After(room_seq(after, "after")?)),
        (None, None) => Ok(Asked::Now),
    }
}

/// Up to a tenth less, so that streams that began together do not end together.
fn jittered(span: Duration) -> Duration {
    span.mul_f64(rand::rng().random_range(0.9..1.0))
}

struct OpenStream {
    state: ApiState,
    room: RoomId,
    follower: Follower,
    until: Instant,
    is_begun: bool,
    _place: StreamPlace,
}

impl OpenStream {
    /// The next bytes; none at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.is_begun {
            self.is_begun = true;
            return Some(format!("retry: {}\n\n", rand::rng().random_range(BACK_AFTER)).into());
        }
        let heartbeat = self.state.room_streams.limits.heartbeat;
        let followed = async {
            loop {
                match self.follower.next().await {
                    Ok(followed) => return Some(followed),
                    Err(ServiceError::Internal(what)) => {
                        tracing::error!(room = %self.room, what, "a room's feed cannot be read");
                        return None;
                    }
                    // It passes; the reader need not notice.
                    Err(
                        ServiceError::Refused(_)
                        | ServiceError::Overloaded { .. }
                        | ServiceError::ShardUnavailable
                        | ServiceError::StoreUnavailable
                        | ServiceError::StoreBehind
                        | ServiceError::CursorInvalid
                        | ServiceError::OutcomeUnknown { .. },
                    ) => tokio::time::sleep(AGAIN).await,
                }
            }
        };
        let followed = tokio::select! {
            followed = followed => followed?,
            () = tokio::time::sleep(heartbeat) => {
                self.follower.look_again();
                return Some(Bytes::from_static(b":\n\n"));
            }
            () = tokio::time::sleep_until(self.until) => return None,
            () = self.state.readiness.draining() => return None,
        };
        self.written(followed)
    }

    fn written(&self, followed: Followed) -> Option<Bytes> {
        let mut text = Vec::new();
        match followed {
            Followed::Items(items) => {
                let epoch = self.follower.place().epoch;
                let view = self.state.service.control.view();
                for (number, stored) in &items {
                    let body = item(*number, stored, &view.catalog);
                    write_event(&mut text, Place { epoch, after: *number }, body.kind(), &body.json());
                }
            }
            Followed::Gap(place) => {
                let (room_id, epoch) = (IdText::from(self.room), IdText(place.epoch.get()));
                let data = serde_json::json!({ "room_id": room_id, "epoch": epoch, "after": place.after });
                write_event(&mut text, place, "gap", data.to_string().as_bytes());
            }
            Followed::End => return None,
        }
        Some(text.into())
    }
}

fn write_event(text: &mut Vec<u8>, place: Place, kind: &str, data: &[u8]) {
    text.extend_from_slice(format!("id: {}-{}\nevent: {kind}\ndata: ", place.epoch, place.after).as_bytes());
    text.extend_from_slice(data);
    text.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_goes_on_where_its_last_event_says() {
        let asked = |last: &[&'static str], after| {
            let mut headers = HeaderMap::new();
            for last in last {
                headers.append(LAST_EVENT_ID, HeaderValue::from_static(last));
            }
            asked_place(&headers, after).map_err(|problem| problem.code())
        };
        let place = |epoch, after| Ok(Asked::Place(Place { epoch: Time(epoch), after: RoomSeq(after) }));
        assert_eq!(asked(&[], None), Ok(Asked::Now));
        assert_eq!(asked(&[""], None), Ok(Asked::Now));
        assert_eq!(asked(&[], Some(7)), Ok(Asked::After(RoomSeq(7))));
        assert_eq!(asked(&["1769903999999-12"], Some(7)), place(1_769_903_999_999, 12));
        assert_eq!(asked(&["0-0"], None), place(0, 0));
        let bad = crate::error::ErrorCode::BadRequest;
        for wrong in ["12", "-", "1-", "-1", "1-2-3", "a-b", "1--2", "01-2", "1-9007199254740992"] {
            assert_eq!(asked(&[wrong], None), Err(bad), "{wrong}");
        }
        assert_eq!(asked(&["1-2", "1-2"], None), Err(bad));
        assert_eq!(asked(&[], Some(u64::MAX)), Err(bad));
    }
}
