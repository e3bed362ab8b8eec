//! What an outbox that fails may not lead to, with a server that answers from a list.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::outbox::{Entry, Intent, MemoryOutbox, NEVER_SENT, Outbox, OutboxError, Soon};
use crate::{Client, Failure, FileOutbox, Gift, Options};

/// Keeps entries, but for what it is told to fail at. Clones share what is kept.
#[derive(Clone, Default)]
struct Failing {
    kept: Arc<MemoryOutbox>,
    /// Puts that succeed before all others fail; 0: all succeed.
    puts_before_failure: Arc<AtomicUsize>,
    puts: Arc<AtomicUsize>,
    removes_fail: bool,
}

impl Outbox for Failing {
    fn put<'a>(&'a self, entry: &'a Entry) -> Soon<'a, ()> {
        let done = self.puts.fetch_add(1, Ordering::Relaxed);
        let limit = self.puts_before_failure.load(Ordering::Relaxed);
        if limit != 0 && done >= limit {
            return Box::pin(std::future::ready(Err(OutboxError::Failed)));
        }
        self.kept.put(entry)
    }

    fn remove<'a>(&'a self, id: &'a str) -> Soon<'a, ()> {
        if self.removes_fail {
            return Box::pin(std::future::ready(Err(OutboxError::Failed)));
        }
        self.kept.remove(id)
    }

    fn remove_soon(&self, id: &str) {
        self.kept.remove_soon(id);
    }

    fn entries(&self) -> Soon<'_, Vec<Entry>> {
        self.kept.entries()
    }
}

/// Stands for the receipt of something that nobody asked for.
const OTHER: &str = "the receipt of a recharge";

/// Answers posts with these problems in turn, the last one for ever, and says of every key that it is not there for good.
/// The keys of the posts are noted.
async fn server(codes: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    server_that_looks(codes, &[]).await
}

/// As `server`, with problems for the first questions.
async fn server_that_looks(
    codes: &'static [&'static str],
    looks: &'static [&'static str],
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let keys = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&keys);
    let mut looks = looks.iter();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            let body = loop {
                stream.read_buf(&mut request).await.unwrap();
                if let Some(body) = whole(&request) {
                    break body;
                }
            };
            let code = if request.starts_with(b"POST") {
                let mut noted = noted.lock().unwrap();
                let code = codes[noted.len().min(codes.len() - 1)];
                noted.push(body["event_id"].as_str().unwrap().to_owned());
                code
            } else {
                let asks = request.starts_with(b"GET /v1/gifts/");
                (if asks { looks.next().copied() } else { None }).unwrap_or("event_unknown")
            };
            let (status, text) = match code {
                OTHER => (200, receipt_of_recharge()),
                "event_unknown" => (422, problem(code, json!({"final": true}))),
                "overloaded" => (422, problem(code, json!({"retryable": true}))),
                _ => (422, problem(code, json!({}))),
            };
            let text = text.to_string();
            let date = httpdate::fmt_http_date((Options::new("", "").clock)());
            let wait = if code == "rate_limited" { "Retry-After: 1\r\n" } else { "" };
            let head = format!("HTTP/1.1 {status} So\r\nDate: {date}\r\nConnection: close\r\n{wait}");
            let kind = "Content-Type: application/problem+json\r\n";
            let answer = format!("{head}{kind}Content-Length: {}\r\n\r\n{text}", text.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, keys)
}

fn receipt_of_recharge() -> Value {
    json!({"event_id": "e", "outcome": "applied", "user_id": "7", "asset": "coin", "amount": 5, "balance_after": 5,
        "position": {"shard": 1, "seq": 1}, "at": "now", "replayed": false})
}

fn problem(code: &str, more: Value) -> Value {
    let mut all = json!({"type": "about:blank", "title": "so", "status": 422, "code": code, "detail": "so",
        "retryable": false});
    all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    all
}

/// The body of a request, once all of it is there.
fn whole(request: &[u8]) -> Option<Value> {
    let text = std::str::from_utf8(request).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    if head.starts_with("GET") {
        return Some(Value::Null);
    }
    serde_json::from_str(body).ok()
}

fn gift() -> Gift {
    Gift::new(1001, 9, 1, [2001])
}

#[tokio::test]
async fn a_refusal_that_the_outbox_does_not_forget_is_not_told() {
    let (url, _) = server(&["insufficient_funds"]).await;
    let outbox = Failing { removes_fail: true, ..Failing::default() };
    let client = Client::open(Options::new(&url, "a token"), outbox).await.unwrap();
    let failure = client.send_gift(gift()).await.unwrap_err();
    assert!(matches!(failure, Failure::Pending { .. }), "{failure:?}");
    assert_eq!(client.left_open(), 1);
    let fine = Client::open(Options::new(&url, "a token"), Failing::default()).await.unwrap();
    assert!(matches!(fine.send_gift(gift()).await, Err(Failure::Refused(_))));
}

#[tokio::test]
async fn a_refusal_that_was_told_is_gone_from_the_file_and_is_of_no_other_account() {
    let (url, _) = server(&["insufficient_funds"]).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox");
    let client = Client::open(Options::new(&url, "a token"), FileOutbox::open(&path, "ann").unwrap()).await.unwrap();
    assert!(matches!(client.send_gift(gift()).await, Err(Failure::Refused(_))));
    // What a crash at this moment leaves.
    let crashed = folder.path().join("crashed");
    std::fs::copy(&path, &crashed).unwrap();
    let after = Client::open(Options::new(&url, "a token"), FileOutbox::open(&crashed, "ann").unwrap()).await.unwrap();
    assert_eq!(after.left_open(), 0);
    drop(after);
    let other = FileOutbox::open(&crashed, "bob").err().unwrap();
    assert!(matches!(&other, OutboxError::OtherAccount(whose) if whose == "ann"), "{other}");
}

#[tokio::test]
async fn a_key_that_could_not_be_kept_is_never_used() {
    let (url, keys) = server(&["id_time_ahead", "insufficient_funds"]).await;
    let outbox = Failing::default();
    // It is kept when it is asked for, and again with the server's times.
    outbox.puts_before_failure.store(2, Ordering::Relaxed);
    let client = Client::open(Options::new(&url, "a token"), outbox.clone()).await.unwrap();
    let failure = client.send_gift(gift()).await.unwrap_err();
    assert!(matches!(failure, Failure::Pending { .. }), "{failure:?}");
    let [settled] = &client.resume().await[..] else { panic!("one was left") };
    assert!(matches!(settled.outcome, Err(Failure::Pending { .. })), "{settled:?}");
    assert_eq!(keys.lock().unwrap().len(), 1, "nothing is sent while it cannot be kept");
    outbox.puts_before_failure.store(0, Ordering::Relaxed);
    let [settled] = &client.resume().await[..] else { panic!("one was left") };
    assert!(matches!(settled.outcome, Err(Failure::Refused(_))), "{settled:?}");
    let keys = keys.lock().unwrap().clone();
    assert_eq!(keys, [settled.id.clone(), settled.id.clone()]);
}

fn now() -> u64 {
    millis_of((Options::new("", "").clock)())
}

fn millis_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

/// The time within a key.
fn time_of(key: &str) -> u64 {
    let (seconds, nanos) = uuid::Uuid::parse_str(key).unwrap().get_timestamp().unwrap().to_unix();
    seconds * 1_000 + u64::from(nanos) / 1_000_000
}

#[tokio::test]
async fn the_very_first_gift_has_the_servers_times() {
    let clocks: [fn() -> SystemTime; 3] = [
        || UNIX_EPOCH + Duration::from_secs(1_000),
        || UNIX_EPOCH + Duration::from_secs(4_102_444_800),
        Options::new("", "").clock,
    ];
    for clock in clocks {
        let (url, keys) = server(&["insufficient_funds"]).await;
        let outbox = Failing { removes_fail: true, ..Failing::default() };
        let give_up = Some(Duration::from_secs(60));
        let options = Options { clock, give_up, ..Options::new(&url, "a token") };
        let client = Client::open(options, outbox.clone()).await.unwrap();
        // Refused, and not given up; but that cannot be kept, so that the entry can be looked at.
        let told = client.send_gift(gift()).await.unwrap_err().to_string();
        assert!(told.contains("insufficient_funds"), "{told}");
        let [kept] = &outbox.entries().await.unwrap()[..] else { panic!("one was left") };
        let about_now = now() - 30_000..now() + 30_000;
        assert_eq!(*keys.lock().unwrap(), [kept.key.as_str()]);
        assert!(about_now.contains(&kept.made_at) && about_now.contains(&time_of(&kept.key)), "{kept:?}");
        assert!(about_now.contains(&(kept.give_up_at.unwrap() - 60_000)), "{kept:?}");
        assert!(about_now.contains(&(kept.horizon - 72_000)), "{kept:?}");
        let is_off = !about_now.contains(&millis_of(clock()));
        assert_eq!(kept.id != kept.key, is_off, "a key that is right is left as it is");
    }
}

#[tokio::test]
async fn nothing_is_sent_before_the_servers_time_is_known() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let outbox = Failing::default();
    let patience = Duration::from_millis(50);
    let options = Options { patience, ..Options::new(format!("http://{nobody}"), "a token") };
    let client = Client::open(options, outbox.clone()).await.unwrap();
    assert!(matches!(client.send_gift(gift()).await, Err(Failure::Pending { .. })));
    let [kept] = &outbox.entries().await.unwrap()[..] else { panic!("one was left") };
    assert_eq!(kept.horizon, NEVER_SENT);
    let (url, keys) = server(&["insufficient_funds"]).await;
    let client = Client::open(Options::new(url, "a token"), outbox.clone()).await.unwrap();
    // Nothing was ever sent, so that nothing is in doubt and nobody has to wait.
    assert!(matches!(client.resume().await[0].outcome, Err(Failure::Refused(_))));
    assert_eq!(keys.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_receipt_of_something_else_settles_nothing() {
    let (url, _) = server(&[OTHER]).await;
    let patience = Duration::from_millis(300);
    let outbox = Failing::default();
    let options = Options { patience, ..Options::new(&url, "a token") };
    let client = Client::open(options, outbox.clone()).await.unwrap();
    let failure = client.send_gift(gift()).await.unwrap_err();
    assert!(matches!(failure, Failure::Pending { .. }), "{failure:?}");
    assert_eq!((client.left_open(), outbox.entries().await.unwrap().len()), (1, 1));
}

/// Two entries that an earlier process left open, sent by nobody knows whom.
async fn left_open(outbox: &Failing) {
    for id in ["a", "b"] {
        let intent = Intent::Gift { room: 1, body: json!({"gift_id": 1, "count": 1, "to": ["2"]}), sender: None };
        let (id, key) = (id.to_owned(), id.to_owned());
        let horizon = now() + 60_000;
        let entry = Entry { id, key, minted: false, intent, made_at: now(), give_up_at: None, horizon };
        outbox.put(&entry).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_that_wants_to_be_left_in_peace_is() {
    let (url, keys) = server_that_looks(&["insufficient_funds"], &["rate_limited"]).await;
    let outbox = Failing::default();
    left_open(&outbox).await;
    outbox.remove("b").await.unwrap();
    let client = Client::open(Options::new(&url, "a token"), outbox).await.unwrap();
    let began = Instant::now();
    assert!(matches!(client.resume().await[0].outcome, Err(Failure::Refused(_))));
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(keys.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn whoever_waits_for_his_turn_keeps_his_patience() {
    let (url, keys) = server(&["overloaded"]).await;
    let outbox = Failing::default();
    left_open(&outbox).await;
    let (patience, backoff) = (Duration::from_millis(500), (Duration::from_millis(10), Duration::from_millis(20)));
    let options = Options { patience, backoff, resumed_at_once: 1, ..Options::new(&url, "a token") };
    let client = Client::open(options, outbox).await.unwrap();
    assert_eq!(client.resume().await.len(), 2);
    for key in ["a", "b"] {
        assert!(keys.lock().unwrap().iter().filter(|sent| *sent == key).count() >= 2, "{keys:?}");
    }
}
