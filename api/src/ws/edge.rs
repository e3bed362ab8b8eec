//! What sockets need of the process that they are in: one that owns shards, or a gateway in front of such.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
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

/// Rooms that are told at once of those who left.
const LEAVES_AT_ONCE: usize = 32;
/// Wallets that are read at once for those who enter: gifts whose wallets are not here go first.
const WARMED_AT_ONCE: usize = 16;

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

    /// These have left these rooms, as far as this process knows. That it is told is worth some trouble, and no more: streaks
    /// end by themselves.
    fn leave(&self, gone: Vec<(RoomId, UserId)>) -> BoxFuture<'_, ()>;

    /// Reads the wallets of these into memory, so that their first gifts need not wait for the store. None of it is promised.
    fn warm(&self, users: Vec<UserId>) -> BoxFuture<'_, ()>;

    /// So many watch these rooms here. Answers with how many do elsewhere, in the same order; with nothing where that cannot be
    /// told now.
    fn watched(&self, here: Vec<(RoomId, u32)>) -> BoxFuture<'_, Option<Vec<u64>>>;

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

    fn leave(&self, gone: Vec<(RoomId, UserId)>) -> BoxFuture<'_, ()> {
        let view = self.service.control.view();
        let known = gone.into_iter().filter(move |(room, _)| view.rooms.contains_key(room));
        let leave = move |(room, user)| async move {
            if let Err(error) = self.service.leave(room, user).await {
                tracing::debug!(%room, %error, "streaks of somebody who left go on until they end by time");
            }
        };
        stream::iter(known).for_each_concurrent(LEAVES_AT_ONCE, leave).boxed()
    }

    fn warm(&self, users: Vec<UserId>) -> BoxFuture<'_, ()> {
        // A question about it does that.
        let warm = move |user| async move { drop(self.service.balances(user, None).await) };
        stream::iter(users).for_each_concurrent(WARMED_AT_ONCE, warm).boxed()
    }

    fn watched(&self, here: Vec<(RoomId, u32)>) -> BoxFuture<'_, Option<Vec<u64>>> {
        let rooms = here.into_iter().map(|(room, _)| room);
        std::future::ready(Some(self.live.crowd.elsewhere(None, rooms, Instant::now()))).boxed()
    }

    fn keeps_tokens(&self) -> bool {
        false
    }
}
