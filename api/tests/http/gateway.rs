//! What a gateway passes on, and what it says when the process behind it goes away at the worst moment.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Method;
use largesse_api::gateway::{Frames, GatewayOptions, GatewayState, admin_router, public_router};
use largesse_api::state::Phase;
use largesse_engine::clock::SystemClock;
use largesse_engine::room::command::RoomNews;
use largesse_engine::units::RoomId;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

use crate::world::{ANN, Answer, SERVICE, auth, call, key, metrics, token};

/// What a process behind does with one request, after it has read all of it.
#[derive(Clone, Copy)]
enum Does {
    Answer(u16, &'static str),
    /// The connection ends without a word.
    Dies,
    /// It ends within the body of an answer.
    DiesWithin,
}

/// A process behind a gateway, that does one thing after the other.
struct Behind {
    address: String,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Behind {
    async fn that(does: &[Does]) -> Behind {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (noted, mut does) = (Arc::clone(&heard), VecDeque::from(does.to_vec()));
        tokio::spawn(async move {
            while let (Ok((mut stream, _)), Some(one)) = (listener.accept().await, does.pop_front()) {
                let request = read(&mut stream).await;
                noted.lock().unwrap().push(request);
                let text = match one {
                    Does::Answer(status, body) => format!(
                        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close, x-mine\r\nx-mine: 1\r\n\
                         x-other: 2\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    ),
                    Does::Dies => String::new(),
                    Does::DiesWithin => "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{".into(),
                };
                stream.write_all(text.as_bytes()).await.unwrap();
            }
        });
        Behind { address, heard }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// A request with its body.
async fn read(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4_096];
        let count = stream.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
            return text;
        }
    }
}

struct NoFrames(broadcast::Sender<Arc<RoomNews>>);

impl Frames for NoFrames {
    fn news(&self) -> broadcast::Receiver<Arc<RoomNews>> {
        self.0.subscribe()
    }

    fn follow(&self, _room: RoomId) {}

    fn unfollow(&self, _room: RoomId) {}

    fn followed(&self, _room: RoomId) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

fn gateway(behind: &[&str]) -> Router {
    public_router(state(behind, "lgk_gateway"))
}

fn state(behind: &[&str], key: &str) -> GatewayState {
    let upstreams = behind.iter().map(|address| address.parse().unwrap()).collect();
    let options = GatewayOptions { upstreams, key: key.into(), auth: auth(), ..GatewayOptions::default() };
    let frames = Arc::new(NoFrames(broadcast::Sender::new(1)));
    GatewayState::new(options, frames, Arc::new(SystemClock), metrics()).unwrap()
}

/// One in front of a process that serves, to which nothing comes but what it asks for.
pub async fn in_front_of(behind: &str) -> Router {
    let state = state(&[behind], SERVICE);
    let (public, admin) = (public_router(state.clone()), admin_router(state.clone()));
    state.readiness.set(Phase::Ready);
    tokio::spawn(async move { state.keep_catalog().await });
    // Until it has the catalog.
    while call(&admin, Method::GET, "/readyz").send().await.status != 200 {
        tokio::task::yield_now().await;
    }
    public
}

/// An address where nobody is.
async fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}

async fn gift(router: &Router, key: Option<&str>) -> Answer {
    let body = json!({ "gift_id": 1, "count": 1, "to": ["2001"] });
    let asked = call(router, Method::POST, "/v1/rooms/1001/gifts").bearer(&token(ANN)).json(body);
    let asked = key.into_iter().fold(asked, |asked, key| asked.header("idempotency-key", key));
    asked.send().await
}

#[tokio::test]
async fn requests_and_answers_are_passed_on_without_what_concerns_one_connection() {
    let behind = Behind::that(&[Does::Answer(418, r#"{"a":1.50}"#)]).await;
    let router = gateway(&[&nowhere().await, &behind.address]);
    let asked = call(&router, Method::GET, "/v1/me/history?kind=gift")
        .bearer("t")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("x-end", "2")
        .header("x-forwarded-for", "198.51.100.7")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let answer = asked.send().await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body[..]),
        (418, &br#"{"a":1.50}"#[..]),
        "an error's body stays as well"
    );
    assert_eq!((answer.header("x-mine"), answer.header("x-other")), (None, Some("2")));
    assert_eq!(behind.heard().len(), 1);
    let heard = behind.heard()[0].to_lowercase();
    assert!(heard.starts_with("get /v1/me/history?kind=gift http/1.1\r\n"), "{heard}");
    for there in ["x-end: 2", "authorization: bearer t", "198.51.100.7", "00-4bf92f3577b34da6a3ce929d0e0e4736-"] {
        assert!(heard.contains(there), "{there}: {heard}");
    }
    assert!(!heard.contains("x-hop"), "{heard}");
}

#[tokio::test]
async fn what_nobody_got_is_not_done_and_says_when_to_come_back() {
    let router = gateway(&[&nowhere().await, &nowhere().await]);
    let answer = gift(&router, Some(&key())).await;
    answer.expect_problem("shard_unavailable");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn what_somebody_may_have_got_is_sent_again_only_with_a_key() {
    for does in [Does::Dies, Does::DiesWithin] {
        let (one, other) = (Behind::that(&[does]).await, Behind::that(&[Does::Answer(200, "{}")]).await);
        let router = gateway(&[&one.address, &other.address]);
        let answer = gift(&router, None).await;
        answer.expect_problem("outcome_unknown");
        assert_eq!((one.heard().len(), other.heard().len()), (1, 0), "nobody else is asked");
    }
    let (one, other) = (Behind::that(&[Does::Dies]).await, Behind::that(&[Does::Answer(200, "{}")]).await);
    let answer = gift(&gateway(&[&one.address, &other.address]), Some(&key())).await;
    assert_eq!(answer.status.as_u16(), 200);
    let deadline = |heard: Vec<String>| {
        let line = heard[0].lines().find(|line| line.starts_with("largesse-deadline: ")).map(str::to_owned);
        line.expect("it says until when a copy of it may be decided")
    };
    assert_eq!(deadline(one.heard()), deadline(other.heard()));
}

#[tokio::test]
async fn a_refusal_of_a_second_attempt_proves_nothing() {
    let refused = Does::Answer(402, r#"{"code":"insufficient_funds"}"#);
    for second in [refused, Does::Answer(503, r#"{"code":"shard_unavailable"}"#), Does::Dies] {
        let (one, other) = (Behind::that(&[Does::Dies, Does::Dies]).await, Behind::that(&[second]).await);
        let id = key();
        let problem =
            gift(&gateway(&[&one.address, &other.address]), Some(&id)).await.expect_problem("outcome_unknown");
        assert!(problem["poll"].as_str().unwrap().starts_with(&format!("/v1/gifts/{id}?final_after=")), "{problem}");
    }
    // The first attempt of all is another matter.
    let one = Behind::that(&[refused]).await;
    assert_eq!(gift(&gateway(&[&one.address]), Some(&key())).await.status.as_u16(), 402);
}
