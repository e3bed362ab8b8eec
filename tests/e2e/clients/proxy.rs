//! A proxy on real sockets that does what `clients/scenarios.json` says to the requests that pass.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use largesse_api::time_text::Rfc3339;
use largesse_engine::clock::{Clock, SystemClock};
use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};

/// How long an `outcome_unknown` of the proxy leaves it open.
const UNKNOWN_MILLIS: u64 = 700;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    Pass,
    DropRequest,
    DropAnswer,
    HalfAnswer,
    LateAnswer,
    Hold,
    Overloaded,
    RateLimited,
    BadGateway,
    BadGatewayAfter,
    InternalAfter,
    Unknown,
    UnknownAfter,
    TimeAhead,
    Kill,
    KillAfter,
}

/// What passed so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub sends: usize,
    pub looks: usize,
    pub keys: BTreeSet<String>,
}

pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// Where the server listens, while there is one.
    target: watch::Sender<Option<SocketAddr>>,
    faults: Mutex<Faults>,
    seen: watch::Sender<Seen>,
    held: Mutex<Vec<Vec<u8>>>,
    /// Whoever owns the server kills it and starts another, and then lets the answer here go.
    kill: mpsc::Sender<oneshot::Sender<()>>,
}

#[derive(Debug, Default)]
struct Faults {
    sends: VecDeque<Fault>,
    looks: VecDeque<Fault>,
}

impl Proxy {
    pub async fn start(kill: mpsc::Sender<oneshot::Sender<()>>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (target, seen) = (watch::Sender::new(None), watch::Sender::new(Seen::default()));
        let shared = Arc::new(Shared { target, faults: Mutex::default(), seen, held: Mutex::default(), kill });
        let accepting = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                // A client that is gone is what this is about.
                tokio::spawn(async move { drop(shared.serve(client).await) });
            }
        });
        Proxy { url, shared }
    }

    pub fn aim(&self, public: Option<&str>) {
        let address = public.map(|url| url.strip_prefix("http://").unwrap().parse().unwrap());
        self.shared.target.send_replace(address);
    }

    pub fn faults(&self, sends: &[Fault], looks: &[Fault]) {
        let (sends, looks) = (sends.iter().copied().collect(), looks.iter().copied().collect());
        *self.shared.faults.lock().unwrap() = Faults { sends, looks };
    }

    /// Begins to count anew.
    pub fn reset(&self) {
        self.faults(&[], &[]);
        self.shared.held.lock().unwrap().clear();
        self.shared.seen.send_replace(Seen::default());
    }

    pub fn seen(&self) -> Seen {
        self.shared.seen.borrow().clone()
    }

    /// Waits until so many gifts have been dealt with.
    pub async fn until_sends(&self, count: usize) {
        self.shared.seen.subscribe().wait_for(|seen| seen.sends >= count).await.unwrap();
    }

    /// Lets go what is held: each arrives at the server, and is answered there.
    pub async fn release(&self) {
        let held = std::mem::take(&mut *self.shared.held.lock().unwrap());
        for request in held {
            self.shared.forward(&request).await.unwrap();
        }
    }
}

impl Shared {
    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        let Some((head, request)) = read_request(&mut client).await? else { return Ok(()) };
        let is_send = head.starts_with("POST ") && head.contains("/gifts HTTP");
        let is_look = head.starts_with("GET /v1/gifts/");
        let fault = {
            let mut faults = self.faults.lock().unwrap();
            let queue = if is_send { Some(&mut faults.sends) } else { Some(&mut faults.looks).filter(|_| is_look) };
            queue.and_then(VecDeque::pop_front).unwrap_or(Fault::Pass)
        };
        let key = key_of(&request);
        let dealt = || {
            self.seen.send_modify(|seen| {
                seen.sends += usize::from(is_send);
                seen.looks += usize::from(is_look);
                seen.keys.extend(key.clone().filter(|_| is_send));
            });
        };
        let answer = match fault {
            Fault::Pass | Fault::DropAnswer | Fault::HalfAnswer | Fault::LateAnswer => self.forward(&request).await?,
            Fault::DropRequest | Fault::Hold => Vec::new(),
            Fault::Overloaded => problem(503, "overloaded", Some(1), &json!({})),
            Fault::RateLimited => problem(429, "rate_limited", Some(1), &json!({})),
            Fault::BadGateway => page(),
            Fault::BadGatewayAfter => self.forward(&request).await.map(|_| page())?,
            Fault::InternalAfter => {
                self.forward(&request).await?;
                problem(500, "internal", None, &json!({}))
            }
            Fault::Unknown => unknown(key.as_deref()),
            Fault::UnknownAfter => self.forward(&request).await.map(|_| unknown(key.as_deref()))?,
            Fault::TimeAhead => {
                let more = json!({"retryable": false, "server_time": Rfc3339(SystemClock.now()).to_string()});
                problem(422, "id_time_ahead", None, &more)
            }
            Fault::Kill => self.kill().await,
            Fault::KillAfter => {
                self.forward(&request).await?;
                self.kill().await
            }
        };
        if fault == Fault::Hold {
            self.held.lock().unwrap().push(request);
        }
        dealt();
        match fault {
            Fault::DropRequest | Fault::DropAnswer | Fault::Hold | Fault::Kill | Fault::KillAfter => Ok(()),
            Fault::HalfAnswer => client.write_all(&answer[..answer.len() - 20]).await,
            Fault::LateAnswer => {
                // Until the client has hung up.
                let heard = client.read(&mut [0]).await?;
                assert_eq!(heard, 0, "it said more than its request");
                client.write_all(&answer).await
            }
            Fault::Pass
            | Fault::Overloaded
            | Fault::RateLimited
            | Fault::BadGateway
            | Fault::BadGatewayAfter
            | Fault::InternalAfter
            | Fault::Unknown
            | Fault::UnknownAfter
            | Fault::TimeAhead => client.write_all(&answer).await,
        }
    }

    /// What the server answers, whole.
    async fn forward(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let target = self.target.borrow().ok_or(io::ErrorKind::ConnectionRefused)?;
        let mut server = TcpStream::connect(target).await?;
        server.write_all(request).await?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer).await?;
        if answer.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(answer) }
    }

    async fn kill(&self) -> Vec<u8> {
        let (done, started) = oneshot::channel();
        self.kill.send(done).await.unwrap();
        started.await.unwrap();
        Vec::new()
    }
}

/// The head, and the whole request as it is passed on: one request per connection.
async fn read_request(client: &mut TcpStream) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut request = Vec::new();
    let (head, body_at) = loop {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break (String::from_utf8_lossy(&request[..end]).into_owned(), end + 4);
        }
    };
    let header = |line: &str, name: &str| line.to_ascii_lowercase().starts_with(name);
    let length = head.lines().find(|line| header(line, "content-length:"));
    let length: usize = length.map_or(0, |line| line[15..].trim().parse().unwrap());
    while request.len() < body_at + length {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
    }
    let kept = head.lines().filter(|line| !header(line, "connection:")).chain(["connection: close", "", ""]);
    let passed_on = [kept.collect::<Vec<_>>().join("\r\n").as_bytes(), &request[body_at..]].concat();
    Ok(Some((head, passed_on)))
}

fn key_of(request: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(request);
    let (_, body) = text.split_once("\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(body["event_id"].as_str()?.to_owned())
}

fn unknown(key: Option<&str>) -> Vec<u8> {
    let final_after = SystemClock.now().plus_millis(UNKNOWN_MILLIS);
    let poll = format!("/v1/gifts/{}?final_after={final_after}", key.unwrap_or_default());
    problem(504, "outcome_unknown", None, &json!({"poll": poll, "final_after": Rfc3339(final_after).to_string()}))
}

fn problem(status: u16, code: &str, retry_after: Option<u64>, more: &serde_json::Value) -> Vec<u8> {
    let mut body = json!({"type": format!("/docs/errors#{code}"), "title": code, "status": status, "detail": "from the proxy",
                          "code": code, "err_code": 20_000, "retryable": true, "trace_id": "0".repeat(32)});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let retry_after = retry_after.map(|seconds| format!("retry-after: {seconds}\r\n")).unwrap_or_default();
    answer(status, "application/problem+json", &retry_after, &body.to_string())
}

fn page() -> Vec<u8> {
    answer(502, "text/html", "", "<h1>502 Bad Gateway</h1>")
}

fn answer(status: u16, kind: &str, more: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} -\r\ncontent-type: {kind}\r\n{more}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}
