//! WebSocket through a real port.

pub mod client;
mod leaving;

use std::time::Duration;

use http::Method;
use largesse_api::ApiOptions;
use largesse_api::ws::WsOptions;
use serde_json::{Value, json};
use tungstenite::Error;

use self::client::{Client, Doors, Sums};
use crate::gateway;
use crate::world::{ANN, BOB, SECRET, call, key, read_only, token, token_with};

fn ws(set: impl FnOnce(&mut WsOptions)) -> ApiOptions {
    let mut options = ApiOptions::default();
    set(&mut options.ws);
    options
}

fn gift(key: &str, count: u64) -> Value {
    json!({ "type": "send", "id": key, "room": "1001", "gift_id": 1, "count": count, "to": ["2001"] })
}

/// Hears until the sums have seen so many gifts.
#[track_caller]
fn hear_gifts(client: &mut Client, sums: &mut Sums, events: u64) {
    while sums.events < events {
        let frame = client.hear().expect("more was to come");
        assert!(frame["type"] != "bye", "{frame}");
        sums.take(&frame);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gift_over_a_socket_is_answered_as_over_http_and_everybody_sees_it() {
    let doors = Doors::plain().await;
    doors.world.recharge(ANN, 1_000, "t1").await;
    let key = key();
    tokio::task::block_in_place(|| {
        let ((mut ann, joined), (mut bob, _)) = (doors.viewer(ANN), doors.viewer(BOB));
        assert_eq!((joined["live"]["state"].as_str(), joined["recovered"].as_bool()), (Some("open"), Some(false)));
        ann.say(&gift(&key, 3));
        let result = ann.expect("result");
        assert_eq!((&result["status"], &result["id"]), (&json!(200), &json!(key)));
        assert_eq!((&result["receipt"]["total"], &result["receipt"]["balance_after"]), (&json!(30), &json!(970)));
        for client in [&mut ann, &mut bob] {
            let tick = client.expect("tick");
            let item = &tick["items"][0];
            assert_eq!(item["delta"], json!({ "count": 3, "value": 30, "asset": "coin" }), "{tick}");
            assert_eq!((&item["sender"], &tick["totals"][0]["value"]), (&json!(ANN.to_string()), &json!(30)));
        }
    });
    let receipt = doors.world.send(ANN, &key, json!({ "count": 3 })).await;
    assert_eq!(receipt.json()["replayed"], true, "a retry may go the other way");
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_said_and_the_socket_goes_on() {
    let doors = Doors::plain().await;
    tokio::task::block_in_place(|| {
        let (mut ann, _) = doors.viewer(ANN);
        ann.say(&gift(&key(), 3));
        let result = ann.expect("result");
        assert_eq!((&result["status"], &result["problem"]["code"]), (&json!(402), &json!("insufficient_funds")));
        for (frame, code) in [
            (json!({ "type": "dance" }), "bad_request"),
            (json!({ "type": "join", "room": "77" }), "room_unknown"),
            (json!({ "type": "auth", "token": "nonsense" }), "unauthenticated"),
        ] {
            ann.say(&frame);
            assert_eq!(ann.expect("error")["problem"]["code"], code, "{frame}");
        }
        ann.say(&json!({ "type": "leave", "room": "1001" }));
        ann.expect("left");
        ann.say(&json!({ "type": "ping" }));
        ann.expect("pong");
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_gets_what_was_missed_once_and_in_order() {
    let doors = Doors::plain().await;
    doors.world.recharge(ANN, 1_000_000, "t1").await;
    let mut sums = Sums::default();
    let joined = tokio::task::block_in_place(|| {
        let (mut bob, joined) = doors.viewer(BOB);
        sums.take(&joined);
        bob.ws.close(None).unwrap();
        joined
    });
    for number in 0..250 {
        let to = json!([(2001 + number % 16).to_string()]);
        assert_eq!(doors.world.send(ANN, &key(), json!({ "to": to })).await.status, 200);
    }
    tokio::task::block_in_place(|| {
        let mut bob = doors.connect();
        bob.auth(BOB);
        let since = json!({ "epoch": joined["epoch"], "seq": sums.room_seq });
        bob.say(&json!({ "type": "join", "room": "1001", "since": since }));
        let joined = bob.expect("joined");
        assert_eq!((joined["recovered"].as_bool(), &joined["gap"]), (Some(true), &Value::Null));
        assert_eq!(joined["room_seq"].as_u64(), Some(sums.room_seq), "from where the client stood");
        hear_gifts(&mut bob, &mut sums, 250);
        assert_eq!((sums.value, sums.missed), (2_500, 0));

        bob.say(&json!({ "type": "join", "room": "1001", "since": { "epoch": "1", "seq": 4 } }));
        let joined = bob.expect("joined");
        assert_eq!(joined["gap"]["from"], 1, "another feed altogether");
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_missed_too_much_is_told_what() {
    let doors = Doors::plain().await;
    doors.world.recharge(ANN, 1_000_000, "t1").await;
    let (_, joined) = tokio::task::block_in_place(|| doors.viewer(BOB));
    for number in 0..1_100 {
        // Each a streak of its own, so that no two of them are joined.
        let body = json!({ "to": [(2001 + number % 16).to_string()], "combo_id": number });
        assert_eq!(doors.world.send(ANN, &key(), body).await.status, 200);
    }
    tokio::task::block_in_place(|| {
        let mut sums = Sums { room_seq: joined["room_seq"].as_u64().unwrap(), ..Sums::default() };
        let mut bob = doors.connect();
        bob.auth(BOB);
        let since = json!({ "epoch": joined["epoch"], "seq": sums.room_seq });
        bob.say(&json!({ "type": "join", "room": "1001", "since": since }));
        let again = bob.expect("joined");
        assert_eq!(again["recovered"], false);
        sums.take(&again);
        assert!(sums.missed > 1_000, "{again}");
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_tick_is_bounded_and_its_sums_are_exact() {
    let doors = Doors::open(|_| (), ws(|ws| ws.tick = Duration::from_secs(2))).await;
    doors.world.recharge(ANN, 1_000_000, "t1").await;
    let (mut bob, joined) = tokio::task::block_in_place(|| doors.viewer(BOB));
    let mut sums = Sums::default();
    sums.take(&joined);
    for number in 0..300 {
        let body = json!({ "to": [(2001 + number % 16).to_string()], "count": 1 + number % 7, "combo_id": number });
        assert_eq!(doors.world.send(ANN, &key(), body).await.status, 200);
    }
    let spent = 1_000_000 - doors.world.coins(ANN).await;
    tokio::task::block_in_place(|| {
        let mut largest = 0;
        while sums.events < 300 {
            let frame = bob.hear().unwrap();
            largest = largest.max(frame["items"].as_array().map_or(0, Vec::len));
            sums.take(&frame);
        }
        assert!(largest <= 100, "{largest} items in one tick");
        assert_eq!(sums.value, spent);
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_taken_forward_and_told_what_it_missed() {
    let doors = Doors::open(|_| (), ws(|ws| ws.tick = Duration::from_millis(2))).await;
    doors.world.recharge(ANN, 10_000_000, "t1").await;
    let (mut bob, joined) = tokio::task::block_in_place(|| doors.viewer(BOB));
    let mut sums = Sums::default();
    sums.take(&joined);
    // Nobody reads until the kernel's buffers are full of ticks and more has come.
    let feed = |after: u64| format!("/v1/rooms/1001/feed?limit=1&after={after}");
    for round in 0..40 {
        let sends = (0..16).flat_map(|host| (0..8).map(move |nth| (host, nth)));
        let sends = sends.map(|(host, nth)| {
            let body = json!({ "to": [(2001 + host).to_string()], "combo_id": round * 100 + nth });
            let world = &doors.world;
            async move { world.send(ANN, &key(), body).await }
        });
        let answers = futures::future::join_all(sends).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    }
    let last = doors.world.get(&feed(0)).bearer(&crate::world::token(BOB)).send().await.json()["room_seq"].clone();
    let last = last.as_u64().unwrap();
    tokio::task::block_in_place(|| {
        while sums.room_seq < last {
            sums.take(&bob.hear().expect("it stays"));
        }
    });
    assert!(sums.missed > 0, "it was fast enough to miss nothing: {sums:?}");
    assert!(sums.events < 40 * 128);
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_stays_without_saying_who_they_are() {
    let doors = Doors::open(|_| (), ws(|ws| ws.auth_timeout = Duration::from_millis(200))).await;
    tokio::task::block_in_place(|| {
        doors.connect().expect_bye("auth_timeout");
        for first in [
            json!({ "type": "auth", "token": "nonsense" }),
            json!({ "type": "join", "room": "1001" }),
            json!({ "type": "auth", "token": token_with(SECRET, ANN, -600) }),
            json!([]),
        ] {
            let mut client = doors.connect();
            client.say(&first);
            client.expect_bye("unauthenticated");
        }
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ends_ends_the_socket_unless_another_came() {
    let doors = Doors::plain().await;
    tokio::task::block_in_place(|| {
        let (mut first, mut second) = (doors.connect(), doors.connect());
        for client in [&mut first, &mut second] {
            client.say(&json!({ "type": "auth", "token": token_with(SECRET, ANN, 2) }));
            client.expect("hello");
        }
        second.auth(ANN);
        second.say(&json!({ "type": "auth", "token": token_with(SECRET, BOB, 600) }));
        assert_eq!(second.expect("error")["problem"]["code"], "forbidden", "another user needs another socket");
        first.expect_bye("token_expired");
        second.say(&json!({ "type": "ping" }));
        second.expect("pong");
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_token_watches_and_sends_nothing_until_another_comes() {
    let doors = Doors::plain().await;
    doors.world.recharge(ANN, 1_000, "t1").await;
    tokio::task::block_in_place(|| {
        let mut ann = doors.connect();
        let show = |ann: &mut Client, token: String| {
            ann.say(&json!({ "type": "auth", "token": token }));
            assert_eq!(ann.expect("hello")["user_id"], ANN.to_string());
        };
        let send = |ann: &mut Client| {
            ann.say(&gift(&key(), 3));
            let result = ann.expect("result");
            let detail = result["problem"]["detail"].as_str().unwrap_or_default().to_owned();
            (result["status"].as_u64().unwrap(), detail.contains("read-only"))
        };
        show(&mut ann, read_only(ANN));
        ann.say(&json!({ "type": "join", "room": "1001" }));
        ann.expect("joined");
        assert_eq!(send(&mut ann), (403, true));
        show(&mut ann, token(ANN));
        assert_eq!(send(&mut ann), (200, false));
        assert_eq!(ann.expect("tick")["items"][0]["delta"]["value"], 30, "it watched all the time");
        show(&mut ann, read_only(ANN));
        assert_eq!(send(&mut ann), (403, true), "the newest token counts");
    });
    assert_eq!(doors.world.coins(ANN).await, 970);
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_takes_a_read_only_token_for_the_same() {
    let doors = Doors::plain().await;
    doors.world.recharge(ANN, 1_000, "t1").await;
    let gateway = gateway::in_front_of(&doors.address.to_string()).await;
    let ask = async |method, path, body: Value| {
        call(&gateway, method, path).bearer(&read_only(ANN)).header("idempotency-key", &key()).json(body).send().await
    };
    let one = json!({ "gift_id": 1, "count": 1, "to": ["2001"] });
    let told = ask(Method::POST, "/v1/rooms/1001/gifts", one).await.expect_problem("forbidden");
    assert!(told["detail"].as_str().unwrap().contains("read-only"), "{told}");
    ask(Method::GET, "/v1/me/balances", json!(null)).await.expect_problem("forbidden");
    assert_eq!(ask(Method::GET, "/v1/rooms/1001/snapshot", json!(null)).await.status, 200);

    let address = doors.serve(gateway.clone()).await;
    tokio::task::block_in_place(|| {
        let mut ann = Client::connect(address, &[]).unwrap();
        for (shown, status) in [(read_only(ANN), 403), (token(ANN), 200), (read_only(ANN), 403)] {
            ann.say(&json!({ "type": "auth", "token": shown }));
            ann.expect("hello");
            ann.say(&json!({ "type": "join", "room": "1001" }));
            ann.expect("joined");
            ann.say(&gift(&key(), 1));
            assert_eq!(ann.expect("result")["status"], status);
        }
    });
    assert_eq!(doors.world.coins(ANN).await, 990);
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_the_protocol_ends_the_socket_and_nothing_else() {
    let doors = Doors::plain().await;
    // A masked text frame with the mask 0: `length` and payload as they are.
    let text = |payload: &[u8], first: u8| {
        let mut frame = vec![first, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
        frame.extend_from_slice(payload);
        frame
    };
    let large = {
        let mut frame = vec![0x81, 0xff];
        frame.extend_from_slice(&(1u64 << 40).to_be_bytes());
        frame.extend_from_slice(&[0; 4]);
        frame
    };
    let pieces = {
        // A message that never ends: each piece is small, and all of them together are too large.
        let mut all = text(b"a", 0x01);
        (0..200).for_each(|_| all.extend(text(&[b'a'; 100], 0x00)));
        all
    };
    tokio::task::block_in_place(|| {
        for (what, bytes) in [
            ("bad UTF-8", text(&[0xff, 0xfe], 0x81)),
            ("a frame without a mask", vec![0x81, 0x02, b'h', b'i']),
            ("a frame of a terabyte", large),
            ("a binary frame", text(b"abc", 0x82)),
            ("a piece of nothing", text(b"abc", 0x80)),
            ("reserved bits", text(b"abc", 0xf1)),
            ("a ping that is too long", {
                let mut ping = vec![0x89, 0xfe, 0x00, 0x80, 0, 0, 0, 0];
                ping.extend_from_slice(&[0; 128]);
                ping
            }),
            ("endless pieces", pieces),
        ] {
            let (mut client, _) = doors.viewer(ANN);
            client.raw(&bytes);
            client.expect_bye("protocol");
            println!("{what} ended its socket");
        }
        // Half a frame, and then nothing more: it costs its own socket only.
        let (mut half, _) = doors.viewer(ANN);
        half.raw(&[0x81]);
        let (mut other, _) = doors.viewer(BOB);
        other.say(&json!({ "type": "ping" }));
        other.expect("pong");
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_end_the_socket_that_makes_them() {
    let doors = Doors::plain().await;
    tokio::task::block_in_place(|| {
        let (mut pings, _) = doors.viewer(ANN);
        (0..1_000).for_each(|_| pings.raw(&[0x89, 0x80, 0, 0, 0, 0]));
        pings.expect_bye("too_fast");
        let (mut texts, _) = doors.viewer(ANN);
        for _ in 0..200 {
            texts.raw(&[0x81, 0x82, 0, 0, 0, 0, b'{', b'}']);
        }
        texts.expect_bye("too_fast");
        // Empty pieces of one message are no frames to anybody, and count by their bytes.
        let (mut pieces, _) = doors.viewer(ANN);
        let empty = [0x00, 0x80, 0, 0, 0, 0].repeat(100_000);
        pieces.raw(&[0x01, 0x80, 0, 0, 0, 0]);
        pieces.raw(&empty);
        pieces.expect_bye("too_fast");
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_gone_is_noticed() {
    let doors = Doors::open(|_| (), ws(|ws| ws.ping_every = Duration::from_millis(100))).await;
    tokio::task::block_in_place(|| {
        let (mut silent, _) = doors.viewer(ANN);
        // It neither reads nor answers, as a machine that lost its network.
        let (mut alive, _) = doors.viewer(BOB);
        let until = std::time::Instant::now() + Duration::from_millis(600);
        alive.ws.get_mut().set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while std::time::Instant::now() < until {
            let read = alive.ws.read();
            assert!(!matches!(read, Err(Error::ConnectionClosed)), "whoever answers pings stays");
        }
        silent.expect_bye("idle");
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_who_come_and_go_leave_nothing_behind() {
    const PLACES: usize = 64;
    let doors = Doors::open(|_| (), ws(|ws| ws.sockets_max = PLACES)).await;
    tokio::task::block_in_place(|| {
        // Those who went may not have been noticed yet, and the places be taken.
        let enter = |user| {
            let mut client = loop {
                match Client::connect(doors.address, &[]) {
                    Ok(client) => break client,
                    Err(full) => assert!(matches!(&*full, Error::Http(answer) if answer.status() == 503), "{full}"),
                }
            };
            client.auth(user);
            client.say(&json!({ "type": "join", "room": "1001" }));
            let joined = client.expect("joined");
            (client, joined)
        };
        let come_and_go = || (0..1_250).for_each(|_| drop(enter(ANN)));
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(come_and_go))));
        let (mut last, mut joined) = enter(BOB);
        while joined["viewers"] != 1 {
            // Nothing is shown here; and a socket may not speak faster.
            last.ws.get_mut().set_read_timeout(Some(Duration::from_millis(60))).unwrap();
            let _nothing = last.ws.read();
            last.ws.get_mut().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            last.say(&json!({ "type": "join", "room": "1001" }));
            joined = last.expect("joined");
        }
        let all: Vec<Client> = (1..PLACES).map(|_| enter(ANN).0).collect();
        assert_eq!(all.len() + 1, PLACES, "every place is free again");
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_served_when_the_process_ends_is_told_when_to_come_back() {
    let doors = Doors::plain().await;
    let mut clients: Vec<Client> = tokio::task::block_in_place(|| (0..8).map(|_| doors.viewer(ANN).0).collect());
    doors.world.state.live.close();
    tokio::task::block_in_place(|| {
        let waits: Vec<u64> = clients
            .iter_mut()
            .map(|client| client.expect_bye("going_away")["reconnect_after_ms"].as_u64().unwrap())
            .collect();
        assert!(waits.iter().all(|wait| *wait <= 5_000), "{waits:?}");
        assert!(waits.iter().any(|wait| *wait != waits[0]), "each at a moment of its own: {waits:?}");
    });
    doors.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_connect_is_settled_before_there_is_a_socket() {
    let mut options = ws(|ws| ws.sockets_max = 2);
    options.cors.origins = vec!["https://app.example.com".parse().unwrap()];
    let doors = Doors::open(|_| (), options).await;
    let status = |error: Box<Error>| {
        let Error::Http(response) = *error else { panic!("{error}") };
        response.status().as_u16()
    };
    tokio::task::block_in_place(|| {
        let refused = |protocol, headers: &[(&'static str, &str)]| {
            Client::connect_as(doors.address, protocol, headers).map(drop).map_err(status)
        };
        let ours = Some("largesse.v1.json");
        assert_eq!(refused(None, &[]), Err(400), "no subprotocol");
        assert_eq!(refused(Some("chat"), &[]), Err(400), "another subprotocol");
        assert_eq!(refused(ours, &[("origin", "https://evil.example.com")]), Err(403));
        assert_eq!(refused(ours, &[("origin", "https://app.example.com")]), Ok(()));
        assert_eq!(refused(ours, &[("origin", &format!("http://{}", doors.address))]), Ok(()), "its own page");
        let (_one, _two) = (doors.connect(), doors.connect());
        assert_eq!(refused(ours, &[]), Err(503), "no place is left");
    });
    let plain = doors.world.get("/v1/ws").send().await;
    plain.expect_problem("bad_request");
    doors.world.stop().await;
}
