//! Streams of rooms: nothing is missed and nothing told twice, however often a reader goes and comes back.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use futures::StreamExt;
use http::StatusCode;
use largesse_api::ApiOptions;
use largesse_api::rooms::streams::StreamLimits;
use largesse_api::state::Phase;
use serde_json::{Value, json};

use crate::rooms::{events, feed_until, open, send};
use crate::world::{ANN, BOB, SERVICE, World, token};

/// An event as it was read.
#[derive(Clone, Debug, PartialEq)]
struct Event {
    id: String,
    kind: String,
    data: Value,
}

struct Reader {
    body: BodyDataStream,
    text: String,
}

impl Reader {
    async fn open(world: &World, path: &str, last: Option<&str>) -> Reader {
        let mut call = world.get(path).bearer(SERVICE);
        if let Some(last) = last {
            call = call.header("Last-Event-ID", last);
        }
        let (head, body) = call.open().await;
        assert_eq!(head.status, StatusCode::OK);
        assert_eq!(head.headers["content-type"], "text/event-stream");
        let mut reader = Reader::of(body);
        assert!(reader.block().await.unwrap().starts_with("retry: "));
        reader
    }

    fn of(body: Body) -> Reader {
        Reader { body: body.into_data_stream(), text: String::new() }
    }

    /// What stands before the next empty line; nothing at the end of the stream.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let bytes = self.body.next().await?.unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    async fn event(&mut self) -> Event {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if block.starts_with(':') {
                continue;
            }
            let field = |name: &str| {
                let line = block.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{block}"));
                line.to_owned()
            };
            let data = serde_json::from_str(&field("data: ")).unwrap();
            return Event { id: field("id: "), kind: field("event: "), data };
        }
    }

    async fn take(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            events.push(self.event().await);
        }
        events
    }
}

async fn world_with(limits: StreamLimits) -> World {
    World::start_with(1_000, ApiOptions { room_streams: limits, ..ApiOptions::default() }).await
}

/// Gifts that no two of are shown as one.
async fn give(world: &World, counts: std::ops::Range<u64>) {
    for count in counts {
        send(world, 1001, ANN, json!({ "count": count, "combo_id": count })).await;
    }
}

#[tokio::test]
async fn a_reader_that_comes_back_misses_nothing_and_reads_nothing_twice() {
    let world = World::start().await;
    world.recharge(ANN, 1_000_000, "t1").await;
    give(&world, 1..4).await;
    let mut read = Vec::new();
    let mut reader = Reader::open(&world, "/v1/rooms/1001/events?after=0", None).await;
    read.extend(reader.take(2).await);
    drop(reader);
    give(&world, 4..8).await;
    let last = read.last().unwrap().id.clone();
    // A browser comes back to the same address.
    let mut reader = Reader::open(&world, "/v1/rooms/1001/events?after=0", Some(&last)).await;
    read.extend(reader.take(3).await);
    give(&world, 8..10).await;
    let feed = feed_until(&world, 1001, 1_000, |items| events(items) == 9).await;
    read.extend(reader.take(feed.len() - read.len()).await);
    assert_eq!(read.iter().map(|event| event.data.clone()).collect::<Vec<_>>(), feed, "as the feed has them");
    for event in &read {
        assert_eq!(event.kind, event.data["kind"]);
        let epoch = event.id.split_once('-').unwrap().0;
        assert_eq!(event.id, format!("{epoch}-{}", event.data["room_seq"]));
    }
    world.stop().await;
}

#[tokio::test]
async fn entries_have_the_same_bytes_by_either_way() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    give(&world, 1..2).await;
    feed_until(&world, 1001, 100, |items| events(items) == 1).await;
    let page = world.get("/v1/rooms/1001/feed").bearer(SERVICE).send().await;
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    let mut reader = Reader::open(&world, "/v1/rooms/1001/events?after=0", None).await;
    for _ in 0..2 {
        let block = reader.block().await.unwrap();
        let data = block.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        assert!(page.contains(data), "{data} is not in {page}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_slow_reader_catches_up_with_the_feed() {
    let world = World::start().await;
    world.recharge(ANN, 1_000_000, "t1").await;
    let mut reader = Reader::open(&world, "/v1/rooms/1001/events", None).await;
    // More than waits for a reader of one room, each for itself, while this one does not read.
    for count in 1..=80 {
        give(&world, count..count + 1).await;
        feed_until(&world, 1001, 1_000, |items| events(items) == count).await;
    }
    let feed = feed_until(&world, 1001, 1_000, |items| events(items) == 80).await;
    let begun = 1; // The live had begun before.
    let read = reader.take(feed.len() - begun).await;
    assert_eq!(read.into_iter().map(|event| event.data).collect::<Vec<_>>(), feed[begun..]);
    world.stop().await;
}

#[tokio::test]
async fn a_place_in_another_feed_is_a_gap() {
    let world = World::start().await;
    world.recharge(ANN, 1_000, "t1").await;
    give(&world, 1..2).await;
    let feed = feed_until(&world, 1001, 100, |items| events(items) == 1).await;
    let room = world.get("/v1/rooms/1001").bearer(SERVICE).send().await.json();
    let epoch = room["epoch"].as_str().unwrap();
    let mut reader = Reader::open(&world, "/v1/rooms/1001/events", Some("1-1")).await;
    let gap = reader.event().await;
    assert_eq!((gap.kind.as_str(), gap.id.as_str()), ("gap", format!("{epoch}-0").as_str()));
    assert_eq!(gap.data, json!({ "room_id": "1001", "epoch": epoch, "after": 0 }));
    assert_eq!(reader.event().await.data, feed[0], "this feed is new to the reader from its beginning");

    let mut ahead = Reader::open(&world, "/v1/rooms/1001/events?after=999", None).await;
    let gap = ahead.event().await;
    assert_eq!((gap.kind.as_str(), &gap.data["after"]), ("gap", &room["room_seq"]), "there are no such entries");
    give(&world, 2..3).await;
    assert!(ahead.event().await.data["room_seq"].as_u64() > room["room_seq"].as_u64());
    world.stop().await;
}

#[tokio::test]
async fn a_room_that_opens_later_is_followed_from_its_beginning() {
    let world = World::start().await;
    open(&world, 77, json!({ "hosts": [2001] })).await;
    let mut reader = Reader::open(&world, "/v1/rooms/77/events?after=0", None).await;
    assert_eq!(reader.event().await.kind, "live_start");
    world.post("/v1/rooms/77:close").bearer(SERVICE).send().await;
    assert_eq!(reader.event().await.kind, "live_end");
    world.stop().await;
}

#[tokio::test]
async fn streams_are_bounded_for_one_and_for_all() {
    let world = world_with(StreamLimits { all_max: 3, caller_max: 2, ..StreamLimits::default() }).await;
    let open = async |user| {
        let (head, body) = world.get("/v1/rooms/1001/events").bearer(&token(user)).open().await;
        (head.status == StatusCode::OK).then(|| Reader::of(body))
    };
    let first = open(ANN).await.unwrap();
    let second = open(ANN).await.unwrap();
    let refused = world.get("/v1/rooms/1001/events").bearer(&token(ANN)).send().await;
    let detail = refused.expect_problem("overloaded")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("this caller") && refused.header("retry-after").is_some(), "{detail}");
    let _third = open(BOB).await.unwrap();
    let refused = world.get("/v1/rooms/1001/events").bearer(SERVICE).send().await;
    let detail = refused.expect_problem("overloaded")["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("this process"), "{detail}");
    drop((first, second));
    assert!(open(ANN).await.is_some(), "places are given back");
    world.stop().await;
}

#[tokio::test]
async fn a_stream_shows_that_it_lives_and_ends_in_time() {
    let limits = StreamLimits { heartbeat: Duration::from_millis(20), ..StreamLimits::default() };
    let world = world_with(limits).await;
    let mut reader = Reader::open(&world, "/v1/rooms/1001/events", None).await;
    for _ in 0..3 {
        assert_eq!(reader.block().await.as_deref(), Some(":"));
    }
    world.state.readiness.set(Phase::Draining);
    while let Some(block) = reader.block().await {
        assert_eq!(block, ":", "nothing but heartbeats comes before the end");
    }
    world.stop().await;

    let world = world_with(StreamLimits { longest: Duration::from_millis(100), ..StreamLimits::default() }).await;
    let mut reader = Reader::open(&world, "/v1/rooms/1001/events", None).await;
    assert_eq!(reader.block().await, None, "a key that was revoked does not read on for ever");
    world.stop().await;
}
