//! Follows the rooms that somebody watches. A frame comes here once, however many watch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::node::backoff::{Backoff, Ladder};
use largesse_engine::room::command::RoomNews;
use largesse_engine::units::RoomId;
use metrics::{Counter, counter, describe_counter, describe_gauge, gauge};
use redis::{PushInfo, PushKind, RedisResult, Value, cmd};
use tokio::sync::{Notify, broadcast, watch};

use super::FramesOptions;
use super::frame::{channel, decode};
use crate::redis_link::Link;

/// News that may wait for whoever is slow; beyond, they are told that they missed some.
const NEWS_MAX: usize = 4_096;
/// Rooms that are subscribed to at once.
const AT_ONCE: usize = 256;
/// How often Redis is asked whether it is still there.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Frames on their way in, for as long as it lives.
pub struct Subscriber {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
}

struct Shared {
    options: FramesOptions,
    news: broadcast::Sender<Arc<RoomNews>>,
    rooms: Mutex<HashMap<RoomId, Standing>>,
    /// A room is wanted, or not any more; or a connection ended.
    changed: Notify,
    /// Counts up whenever rooms have been subscribed to.
    subscribed: watch::Sender<u64>,
    received: Counter,
    unreadable: Counter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Wanted,
    Followed,
    /// Followed until now.
    Unwanted,
}

impl Subscriber {
    /// Begins to connect. Whether Redis can be reached makes no difference to this.
    pub fn start(options: FramesOptions) -> std::io::Result<Subscriber> {
        describe_counter!("largesse_frames_received_total", "Frames of rooms that came from Redis");
        describe_counter!("largesse_frames_unreadable_total", "Frames of rooms that could not be read");
        describe_gauge!("largesse_frames_rooms", "Rooms whose frames are followed");
        let shared = Arc::new(Shared {
            options,
            news: broadcast::Sender::new(NEWS_MAX),
            rooms: Mutex::default(),
            changed: Notify::new(),
            subscribed: watch::Sender::new(0),
            received: counter!("largesse_frames_received_total"),
            unreadable: counter!("largesse_frames_unreadable_total"),
        });
        let (stop, mut stopping) = watch::channel(false);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let worker = Arc::clone(&shared);
        std::thread::Builder::new().name("frames-in".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = worker.run() => (),
                    _over = stopping.wait_for(|is_stopping| *is_stopping) => (),
                }
            });
        })?;
        Ok(Subscriber { shared, stop })
    }

    /// The news of all rooms that are followed.
    pub fn news(&self) -> broadcast::Receiver<Arc<RoomNews>> {
        self.shared.news.subscribe()
    }

    /// News of this room are wanted from now on.
    pub fn follow(&self, room: RoomId) {
        let mut rooms = self.shared.rooms();
        let standing = rooms.entry(room).or_insert(Standing::Wanted);
        if *standing == Standing::Unwanted {
            *standing = Standing::Followed;
        }
        drop(rooms);
        self.shared.changed.notify_one();
    }

    /// They are not wanted any more.
    pub fn unfollow(&self, room: RoomId) {
        let mut rooms = self.shared.rooms();
        match rooms.get(&room) {
            Some(Standing::Followed) => drop(rooms.insert(room, Standing::Unwanted)),
            Some(Standing::Wanted) => drop(rooms.remove(&room)),
            Some(Standing::Unwanted) | None => {}
        }
        drop(rooms);
        self.shared.changed.notify_one();
    }

    /// Resolves once frames of the room come, or after `patience`.
    pub async fn followed(&self, room: RoomId, patience: Duration) {
        let mut subscribed = self.shared.subscribed.subscribe();
        let is_followed = |_: &u64| self.shared.rooms().get(&room) == Some(&Standing::Followed);
        let _late = tokio::time::timeout(patience, subscribed.wait_for(is_followed)).await;
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Shared {
    fn rooms(&self) -> MutexGuard<'_, HashMap<RoomId, Standing>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(self: &Arc<Self>) {
        let mut backoff = Backoff::new(Ladder::ENDLESS);
        loop {
            let Err(error) = self.follow_all(&mut backoff).await;
            let at = &self.options.topology;
            tracing::warn!(%at, %error, "frames do not come; rooms are asked for what they show");
            self.rooms().retain(|_, standing| {
                let is_wanted = *standing != Standing::Unwanted;
                *standing = Standing::Wanted;
                is_wanted
            });
            tokio::time::sleep(backoff.wait()).await;
        }
    }

    /// Over one connection, until that fails.
    async fn follow_all(self: &Arc<Self>, backoff: &mut Backoff) -> RedisResult<std::convert::Infallible> {
        let ended = Arc::new(Notify::new());
        let mut link = self.options.way().open_to_hear(self.hear(&ended)).await?;
        let mut asks = tokio::time::interval(ASK_EVERY);
        loop {
            self.settle(&link).await?;
            backoff.reset();
            tokio::select! {
                () = self.changed.notified() => {}
                _ = asks.tick() => link.ask::<()>(&cmd("PING")).await?,
                () = ended.notified() => return Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()),
            }
        }
    }

    /// Subscribes to what is wanted and leaves what is not.
    async fn settle(&self, link: &Link) -> RedisResult<()> {
        let take = |of: Standing| -> Vec<RoomId> {
            let rooms = self.rooms();
            rooms.iter().filter(|(_, standing)| **standing == of).map(|(room, _)| *room).collect()
        };
        let (wanted, unwanted) = (take(Standing::Wanted), take(Standing::Unwanted));
        if wanted.is_empty() && unwanted.is_empty() {
            return Ok(());
        }
        let changes = wanted.iter().map(|room| (*room, true)).chain(unwanted.iter().map(|room| (*room, false)));
        let change = |(room, is_wanted)| change(link.clone(), channel(&self.options.prefix, room), is_wanted);
        stream::iter(changes).map(change).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        let mut rooms = self.rooms();
        for room in wanted {
            match rooms.get_mut(&room) {
                Some(standing) => *standing = Standing::Followed,
                // Nobody wants it any more, and it has to be left again.
                None => drop(rooms.insert(room, Standing::Unwanted)),
            }
        }
        for room in unwanted {
            match rooms.get_mut(&room) {
                Some(standing @ Standing::Followed) => *standing = Standing::Wanted,
                Some(Standing::Unwanted) => drop(rooms.remove(&room)),
                Some(Standing::Wanted) | None => {}
            }
        }
        let is_more = rooms.values().any(|standing| *standing != Standing::Followed);
        gauge!("largesse_frames_rooms").set(rooms.len() as f64);
        drop(rooms);
        if is_more {
            self.changed.notify_one();
        }
        self.subscribed.send_modify(|count| *count += 1);
        Ok(())
    }

    fn hear(self: &Arc<Self>, ended: &Arc<Notify>) -> impl Fn(PushInfo) + Send + Sync + 'static {
        let (shared, ended) = (Arc::clone(self), Arc::clone(ended));
        move |push| {
            if push.kind == PushKind::SMessage {
                shared.take(&push.data);
            } else if push.kind == PushKind::Disconnection {
                ended.notify_one();
            } else if push.kind == PushKind::SUnsubscribe {
                shared.left(&push.data);
            }
        }
    }

    /// A channel and what was published there.
    fn take(&self, data: &[Value]) {
        let [_, Value::BulkString(bytes)] = data else { return };
        match decode(bytes) {
            Ok(news) => {
                self.received.increment(1);
                // Nobody may listen yet.
                let _listeners = self.news.send(Arc::new(news));
            }
            Err(error) => {
                self.unreadable.increment(1);
                tracing::debug!(%error, "a frame cannot be read");
            }
        }
    }

    /// A server of a cluster ends subscriptions by itself when it gives rooms away.
    fn left(&self, data: &[Value]) {
        let Some(Value::BulkString(name)) = data.first() else { return };
        let mut rooms = self.rooms();
        let place = |room: &RoomId| channel(&self.options.prefix, *room).as_bytes() == name.as_slice();
        let gone = rooms.iter_mut().find(|(room, standing)| **standing == Standing::Followed && place(room));
        if let Some((_, standing)) = gone {
            *standing = Standing::Wanted;
            drop(rooms);
            self.changed.notify_one();
        }
    }
}

async fn change(link: Link, channel: String, is_wanted: bool) -> RedisResult<()> {
    let word = if is_wanted { "SSUBSCRIBE" } else { "SUNSUBSCRIBE" };
    match link {
        Link::Single(mut connection) => cmd(word).arg(channel).query_async(&mut connection).await,
        Link::Cluster(mut connection) if is_wanted => connection.ssubscribe(channel).await,
        Link::Cluster(mut connection) => connection.sunsubscribe(channel).await,
    }
}
