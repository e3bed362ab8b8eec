//! What an outbox that fails may not lead to, with a server that answers from a list.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::outbox::{Entry, MemoryOutbox, Outbox, OutboxError, Soon};
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

/// Answers posts with these problems in turn, the last one for ever, and says of every key that it is not there for good.
/// The keys of the posts are noted.
async fn server(codes: &'static [&'static str]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let keys = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&keys);
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
            let problem = if request.starts_with(b"POST") {
                let mut noted = noted.lock().unwrap();
                let code = codes[noted.len().min(codes.len() - 1)];
                noted.push(body["event_id"].as_str().unwrap().to_owned());
                problem(code, json!({}))
            } else {
                problem("event_unknown", json!({"final": true}))
            };
            let text = problem.to_string();
            let head = "HTTP/1.1 422 So\r\nConnection: close\r\nContent-Type: application/problem+json\r\n";
            let answer = format!("{head}Content-Length: {}\r\n\r\n{text}", text.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (url, keys)
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
    outbox.puts_before_failure.store(1, Ordering::Relaxed);
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
