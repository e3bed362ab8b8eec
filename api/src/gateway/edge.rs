//! What sockets need, as a gateway has it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use largesse_engine::catalog::Catalog;
use largesse_engine::codec;
use largesse_engine::room::command::RoomNews;
use largesse_engine::room::event::RoomHead;
use largesse_engine::service::rooms::FeedPage;
use largesse_engine::units::{RoomId, RoomSeq, Time, UserId};
use tokio::sync::broadcast;

use crate::auth::tokens::Shown;
use crate::edge::Arrival;
use crate::gateway::{Gateway, send, unavailable, unreadable};
use crate::internal;
use crate::problem::Problem;
use crate::trace::Trace;
use crate::ws::Hub;
use crate::ws::edge::{Edge, Sender};
use crate::ws::frames::SendFrame;

impl Edge for Gateway {
    fn hub(&self) -> &Hub {
        &self.live
    }

    fn now(&self) -> Time {
        Gateway::now(self)
    }

    fn viewer(&self, token: &str) -> Result<Shown, Problem> {
        self.auth.tokens().read(token, Gateway::now(self))
    }

    fn trace(&self) -> Trace {
        Trace::of(&HeaderMap::new(), &self.fresh_ids)
    }

    fn origins(&self) -> &[HeaderValue] {
        &self.options.cors.origins
    }

    fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full().unwrap_or_else(|| Arc::new(Catalog::empty()))
    }

    fn news(&self) -> broadcast::Receiver<Arc<RoomNews>> {
        self.frames.news()
    }

    fn follow(&self, room: RoomId) {
        self.frames.follow(room);
    }

    fn unfollow(&self, room: RoomId) {
        self.frames.unfollow(room);
    }

    fn doubts_after(&self) -> Option<Duration> {
        Some(self.options.doubts_after)
    }

    fn head(&self, room: RoomId) -> BoxFuture<'_, Result<Arc<RoomHead>, Problem>> {
        async move {
            // What is shown between the two would be told by neither.
            self.frames.followed(room).await;
            let bytes = self.internal(format!("/internal/rooms/{room}/head"), None).await?.ok_or_else(unavailable)?;
            internal::read_head(&bytes).map_err(|error| unreadable(&error))
        }
        .boxed()
    }

    fn feed(&self, room: RoomId, after: RoomSeq, limit: usize) -> BoxFuture<'_, Result<FeedPage, Problem>> {
        async move {
            let path = format!("/internal/rooms/{room}/feed?after={after}&limit={limit}");
            let bytes = self.internal(path, None).await?.ok_or_else(unavailable)?;
            internal::read_feed(&bytes).map_err(|error| unreadable(&error))
        }
        .boxed()
    }

    fn send(self: Arc<Self>, from: Sender, arrival: Arrival, frame: SendFrame) -> BoxFuture<'static, Bytes> {
        async move { send::send(&self, &from, arrival, frame).await }.boxed()
    }

    fn leave(&self, gone: Vec<(RoomId, UserId)>) -> BoxFuture<'_, ()> {
        async move {
            if let Err(problem) =
                self.tell("/internal/leave", internal::told(|out| codec::encode_into(&gone, out))).await
            {
                tracing::debug!(%problem, "streaks of some who left go on until they end by time");
            }
        }
        .boxed()
    }

    fn warm(&self, users: Vec<UserId>) -> BoxFuture<'_, ()> {
        async move {
            if let Err(problem) =
                self.tell("/internal/warm", internal::told(|out| codec::encode_into(&users, out))).await
            {
                tracing::debug!(%problem, "the first gifts of some who came may wait for the store");
            }
        }
        .boxed()
    }

    fn watched(&self, here: Vec<(RoomId, u32)>) -> BoxFuture<'_, Option<Vec<u64>>> {
        async move {
            let body = internal::told(|out| codec::encode_into(&(self.name.0, &here), out));
            let told = self.tell("/internal/viewers", body).await;
            let elsewhere = told.and_then(|bytes| internal::read_viewers(&bytes).map_err(|error| unreadable(&error)));
            elsewhere.inspect_err(|problem| tracing::debug!(%problem, "viewers of other processes are not known")).ok()
        }
        .boxed()
    }

    fn keeps_tokens(&self) -> bool {
        true
    }
}
