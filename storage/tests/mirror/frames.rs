//! Frames of rooms through real servers.

use std::sync::Arc;
use std::time::Duration;

use largesse_engine::room::command::{Chunk, RoomNews};
use largesse_engine::room::event::{FeedItem, FeedWhat, RoomHead};
use largesse_engine::units::{RoomId, RoomSeq, Time};
use largesse_storage::frames::{FramesOptions, Publisher, Subscriber, Topology};
use tokio::sync::broadcast;

use crate::cluster::Cluster;
use crate::server::Redis;

const PATIENCE: Duration = Duration::from_secs(60);

/// One that owns rooms and one that watches them.
struct Pair {
    news: broadcast::Sender<Arc<RoomNews>>,
    subscriber: Subscriber,
    _publisher: Publisher,
    heard: broadcast::Receiver<Arc<RoomNews>>,
}

fn news(room: u64, number: u64) -> Arc<RoomNews> {
    let item = FeedItem { at: Time(5), what: FeedWhat::LiveStarted { live: 1 } };
    let chunk = Chunk { first: RoomSeq(number), items: [item].into() };
    let head = RoomHead { next: chunk.next(), ..RoomHead::new(Time(3)) };
    Arc::new(RoomNews { room: RoomId(room), chunk, head: Arc::new(head), due: None })
}

impl Pair {
    fn start(topology: Topology) -> Pair {
        let options = FramesOptions {
            topology,
            credentials: None,
            prefix: "test:".into(),
            connect_timeout: Duration::from_millis(500),
            response_timeout: Duration::from_millis(500),
        };
        let news = broadcast::Sender::new(64);
        let publisher = Publisher::start(options.clone(), news.subscribe()).unwrap();
        let subscriber = Subscriber::start(options).unwrap();
        Pair { heard: subscriber.news(), news, subscriber, _publisher: publisher }
    }

    async fn follow(&self, rooms: impl Iterator<Item = u64>) {
        for room in rooms.map(RoomId) {
            self.subscriber.follow(room);
            self.subscriber.followed(room, PATIENCE).await;
        }
    }

    fn tell(&self, room: u64, number: u64) {
        self.news.send(news(room, number)).unwrap();
    }

    async fn hear(&mut self) -> (u64, u64) {
        let news = tokio::time::timeout(PATIENCE, self.heard.recv()).await.expect("a frame comes").unwrap();
        (news.room.get(), news.chunk.first.get())
    }

    /// Tells of a room again and again, each time with another number, until something of it comes. Frames may be lost
    /// while there is no connection, and nobody is told when there is one.
    async fn until_heard(&mut self, room: u64, from: u64) {
        for number in from.. {
            self.tell(room, number);
            let patience = Duration::from_millis(50);
            while let Ok(heard) = tokio::time::timeout(patience, self.heard.recv()).await {
                if heard.is_ok_and(|news| news.room == RoomId(room) && news.chunk.first.get() >= from) {
                    return;
                }
            }
            assert!(number < from + 1_000, "nothing ever came of room {room}");
        }
    }
}

#[tokio::test]
async fn rooms_that_are_followed_are_heard_once_and_in_order() {
    let Some(redis) = Redis::start() else { return };
    let mut pair = Pair::start(Topology::Single { node: redis.node(), database: 0 });
    pair.follow(1..=3).await;
    pair.until_heard(1, 1).await;
    // Of nobody's interest.
    pair.tell(4, 9_000);
    for number in 10_000..10_040 {
        pair.tell(1 + number % 3, number);
    }
    let mut next = 10_000;
    while next < 10_040 {
        let (room, number) = pair.hear().await;
        assert_ne!(room, 4);
        if number >= 10_000 {
            assert_eq!((room, number), (1 + next % 3, next));
            next += 1;
        }
    }
    let channels: Vec<String> = redis.ask(&["PUBSUB", "SHARDCHANNELS"]);
    assert_eq!(channels.len(), 3, "{channels:?}");
    assert!(channels.contains(&"test:frames.{2}".to_owned()), "{channels:?}");

    // One that is left is heard no more.
    pair.subscriber.unfollow(RoomId(2));
    let is_left = || redis.ask::<Vec<String>>(&["PUBSUB", "SHARDCHANNELS"]).len() == 2;
    crate::server::until("a room is left", is_left).await;
    pair.tell(2, 20_000);
    pair.tell(3, 20_001);
    assert_eq!(pair.hear().await, (3, 20_001));
}

#[tokio::test]
async fn all_rooms_are_heard_again_after_redis_was_away() {
    let Some(mut redis) = Redis::start() else { return };
    let mut pair = Pair::start(Topology::Single { node: redis.node(), database: 0 });
    pair.follow(1..=3).await;
    pair.until_heard(1, 1).await;
    redis.kill();
    // More than can wait: whoever tells is not held up, and the oldest are lost.
    for number in 2_000..2_200 {
        pair.tell(2, number);
    }
    redis.start_again();
    for room in 1..=3 {
        pair.until_heard(room, 3_000).await;
    }
    // A server that is there and says nothing.
    redis.freeze();
    for number in 4_000..4_200 {
        pair.tell(2, number);
    }
    let sent = std::time::Instant::now();
    pair.subscriber.follow(RoomId(5));
    pair.subscriber.followed(RoomId(5), Duration::from_millis(100)).await;
    assert!(sent.elapsed() >= Duration::from_millis(100), "it cannot be followed yet");
    redis.thaw();
    pair.subscriber.followed(RoomId(5), PATIENCE).await;
    for room in [1, 2, 3, 5] {
        pair.until_heard(room, 5_000).await;
    }
}

#[tokio::test]
async fn rooms_are_spread_over_a_cluster_and_heard_again_when_one_of_it_was_away() {
    let Some(mut cluster) = Cluster::start().await else { return };
    let mut pair = Pair::start(cluster.topology());
    pair.follow(1..=30).await;
    for room in 1..=30 {
        pair.until_heard(room, 1).await;
    }
    let followed = |redis: &Redis| redis.ask::<Vec<String>>(&["PUBSUB", "SHARDCHANNELS"]).len();
    let spread: Vec<usize> = cluster.members().iter().map(followed).collect();
    assert_eq!(spread.iter().sum::<usize>(), 30, "{spread:?}");
    assert!(spread.iter().all(|&rooms| rooms > 0), "{spread:?}");
    cluster.lose_and_find(1).await;
    for room in 1..=30 {
        pair.until_heard(room, 3_000).await;
    }
}
