//! What sockets need of the process that they are in: one that owns shards, or a gateway in front of such.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use largesse_engine::catalog::Catalog;
use largesse_engine::room::command::RoomNews;
use largesse_engine::room::event::RoomHead;
use largesse_engine::service::rooms::FeedPage;
use largesse_engine::units::{RoomId, RoomSeq, Time, UserId};
use tokio::sync::broadcast;

use crate::auth::tokens::Shown;
use crate::edge::Arrival;
use crate::error::ErrorCode;
use crate::problem::Problem;
use crate::refusals;
use crate::state::Shared;
use crate::trace::Trace;
use crate::ws::Hub;
use crate::ws::frames::SendFrame;
use crate::ws::send;

pub trait Edge: Send + Sync + 'static {
    fn hub(&self) -> &Hub;

    fn now(&self) -> Time;

    /// Whose token this is, until when, and for what.
    fn viewer(&self, token: &str) -> Result<Shown, Problem>;

    fn trace(&self) -> Trace;

    /// Pages of these may connect, beside the server's own.
    fn origins(&self) -> &[HeaderValue];

    fn catalog(&self) -> Arc<Catalog>;

    /// What rooms show from now on.
    fn news(&self) -> broadcast::Receiver<Arc<RoomNews>>;

    /// News of this room are wanted from now on.
    fn follow(&self, room: RoomId);

    /// They are not wanted any more.
    fn unfollow(&self, room: RoomId);

    /// How long a room may be quiet before it is asked whether news of it were lost on their way; never, where they cannot.
    fn doubts_after(&self) -> Option<Duration>;

    /// The room as its owner has it. One that does not exist is a problem.
    fn head(&self, room: RoomId) -> BoxFuture<'_, Result<Arc<RoomHead>, Problem>>;

    fn feed(&self, room: RoomId, after: RoomSeq, limit: usize) -> BoxFuture<'_, Result<FeedPage, Problem>>;

    /// Sends a gift, and encodes what became of it.
    fn send(self: Arc<Self>, from: Sender, arrival: Arrival, frame: SendFrame) -> BoxFuture<'static, Bytes>;

    /// Whether the token is needed again for each gift.
    fn keeps_tokens(&self) -> bool;
}

/// Who sends.
#[derive(Clone, Debug)]
pub struct Sender {
    pub user: UserId,
    /// Of the token that was shown last.
    pub is_read_only: bool,
    /// Where it is kept.
    pub token: Option<Arc<str>>,
}

impl Edge for Shared {
    fn hub(&self) -> &Hub {
        &self.live
    }

    fn now(&self) -> Time {
        self.service.clock.now()
    }

    fn viewer(&self, token: &str) -> Result<Shown, Problem> {
        self.auth.tokens().read(token, self.now())
    }

    fn trace(&self) -> Trace {
        Trace::of(&HeaderMap::new(), &self.fresh_ids)
    }

    fn origins(&self) -> &[HeaderValue] {
        &self.options.cors.origins
    }

    fn catalog(&self) -> Arc<Catalog> {
        Arc::clone(&self.service.control.view().catalog)
    }

    fn news(&self) -> broadcast::Receiver<Arc<RoomNews>> {
        self.service.rooms.news()
    }

    fn follow(&self, _room: RoomId) {}

    fn unfollow(&self, _room: RoomId) {}

    fn doubts_after(&self) -> Option<Duration> {
        None
    }

    fn head(&self, room: RoomId) -> BoxFuture<'_, Result<Arc<RoomHead>, Problem>> {
        async move {
            if !self.service.control.view().rooms.contains_key(&room) {
                return Err(Problem::new(ErrorCode::RoomUnknown, format!("room {room} does not exist")));
            }
            self.service.room(room).await.map_err(|error| refusals::of_read(error, &self.catalog()))
        }
        .boxed()
    }

    fn feed(&self, room: RoomId, after: RoomSeq, limit: usize) -> BoxFuture<'_, Result<FeedPage, Problem>> {
        async move {
            let page = self.service.feed(room, after, limit).await;
            page.map_err(|error| refusals::of_read(error, &self.catalog()))
        }
        .boxed()
    }

    fn send(self: Arc<Self>, from: Sender, arrival: Arrival, frame: SendFrame) -> BoxFuture<'static, Bytes> {
        async move { send::send(&self, &from, arrival, frame).await }.boxed()
    }

    fn keeps_tokens(&self) -> bool {
        false
    }
}
