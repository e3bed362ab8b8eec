//! Streaks of those who leave.

use std::sync::Arc;

use http::Method;
use largesse_api::ApiOptions;
use largesse_engine::room::command::RoomNews;
use largesse_engine::room::event::{ComboEnd, FeedWhat};
use largesse_engine::units::{RoomId, UserId};
use serde_json::json;
use tokio::sync::broadcast::Receiver;

use super::client::{Client, Doors};
use super::gift;
use crate::world::{ANN, BOB, SERVICE, call, key};

/// Nobody's, until they are given some.
const CID: u64 = 3003;

async fn doors(combo_millis: u64) -> (Doors, Receiver<Arc<RoomNews>>) {
    let doors = Doors::open(|node| node.room_limits.combo_millis = combo_millis, ApiOptions::default()).await;
    for user in [ANN, BOB, CID] {
        doors.world.recharge(user, 1_000, &format!("t{user}")).await;
    }
    let news = doors.world.node.service().rooms.news();
    (doors, news)
}

/// The next streak that ends: whose it was, and why.
async fn ended(news: &mut Receiver<Arc<RoomNews>>) -> (u64, ComboEnd) {
    loop {
        let news = news.recv().await.unwrap();
        let ended = news.chunk.items.iter().find_map(|item| match &item.what {
            FeedWhat::ComboEnded(ended) => Some((ended.sender.user().get(), ended.cause)),
            FeedWhat::Gift(_) | FeedWhat::LiveStarted { .. } | FeedWhat::LiveEnded { .. } | FeedWhat::Plugin(_) => None,
        });
        if let Some(ended) = ended {
            return ended;
        }
    }
}

/// Sends one, and is shown it.
fn give(client: &mut Client, sender: u64) {
    client.say(&gift(&key(), 1));
    assert_eq!(client.expect("result")["status"], 200);
    let sender = json!(sender.to_string());
    while client.expect("tick")["items"][0]["sender"] != sender {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streak_ends_with_the_last_socket_of_its_sender() {
    let (doors, mut news) = doors(600_000).await;
    let leave = json!({ "type": "leave", "room": "1001" });
    let (mut ann, mut bob) = tokio::task::block_in_place(|| {
        let ((mut first, _), (second, _), (mut bob, _)) = (doors.viewer(ANN), doors.viewer(ANN), doors.viewer(BOB));
        give(&mut first, ANN);
        give(&mut bob, BOB);
        first.say(&leave);
        first.expect("left");
        // Entering again is no way to leave.
        bob.say(&json!({ "type": "join", "room": "1001" }));
        bob.expect("joined");
        let (mut cid, _) = doors.viewer(CID);
        give(&mut cid, CID);
        cid.say(&leave);
        cid.expect("left");
        (second, bob)
    });
    assert_eq!(ended(&mut news).await, (CID, ComboEnd::Left), "the others are told of before, if they are");
    tokio::task::block_in_place(|| {
        bob.say(&leave);
        bob.expect("left");
    });
    assert_eq!(ended(&mut news).await, (BOB, ComboEnd::Left), "what was sent before entering again counts");
    ann.ws.close(None).unwrap();
    assert_eq!(ended(&mut news).await, (ANN, ComboEnd::Left));
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_does_not_say_that_everybody_left() {
    let (doors, mut news) = doors(2_000).await;
    tokio::task::block_in_place(|| {
        let (mut ann, _) = doors.viewer(ANN);
        give(&mut ann, ANN);
        doors.world.state.live.close();
        ann.expect_bye("going_away");
    });
    assert_eq!(ended(&mut news).await, (ANN, ComboEnd::Time));
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_says_who_left_and_nothing_else() {
    let (doors, mut news) = doors(600_000).await;
    for user in [ANN, BOB] {
        assert_eq!(doors.world.send(user, &key(), json!({})).await.status, 200);
    }
    let told = |gone: &Vec<(RoomId, UserId)>| {
        let mut body = vec![1];
        largesse_engine::codec::encode_into(gone, &mut body);
        body
    };
    let tell = async |body: Vec<u8>| {
        let asked = call(&doors.world.public, Method::POST, "/internal/leave");
        asked.bearer(SERVICE).body(body).send().await
    };
    let room = RoomId(1001);
    // Both gifts have to be there to end.
    let mut gifts = 0;
    while gifts < 2 {
        let news = news.recv().await.unwrap();
        gifts += news.chunk.items.iter().filter(|item| matches!(item.what, FeedWhat::Gift(_))).count();
    }
    let some = vec![(RoomId(77), UserId(ANN)), (room, UserId(CID)), (room, UserId(BOB))];
    assert_eq!(tell(told(&some)).await.status, 200);
    assert_eq!(ended(&mut news).await, (BOB, ComboEnd::Left));
    let many = vec![(room, UserId(ANN)); 1_001];
    for wrong in [told(&many), Vec::new(), vec![2, 0], vec![1, 200], told(&some)[..4].to_vec()] {
        tell(wrong).await.expect_problem("bad_request");
    }
    assert_eq!(tell(told(&vec![(room, UserId(ANN))])).await.status, 200);
    assert_eq!(ended(&mut news).await, (ANN, ComboEnd::Left));
    doors.world.stop().await;
}
