//! One viewer: connects, says who it is, enters the room, and counts what it is shown.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tungstenite::client::{IntoClientRequest, client_with_config};
use tungstenite::protocol::{Message, WebSocketConfig};
use tungstenite::{Error, HandshakeError, Utf8Bytes, WebSocket};

use super::Stand;
use crate::latency::Latencies;

#[derive(Debug, thiserror::Error)]
pub enum ViewerError {
    #[error("a viewer cannot connect: {0}")]
    Connect(String),
    #[error("a viewer was told something unexpected: {0}")]
    Unexpected(String),
    #[error("a gift was refused: {0}")]
    Refused(String),
}

/// What all viewers note together.
#[derive(Default)]
pub struct Shared {
    /// When the sender was told of each gift, by its pieces.
    pub durable: RefCell<HashMap<u64, Instant>>,
    pub deliveries: Cell<u64>,
    pub bytes: Cell<u64>,
    pub latencies: RefCell<Latencies>,
    /// The tick that came last to any of them, and what is in it: the next one gets the same bytes, mostly.
    last: RefCell<(Utf8Bytes, Rc<Tick>)>,
}

pub struct Viewer {
    tcp: Rc<TcpStream>,
    ws: RefCell<WebSocket<Io>>,
    shared: Rc<Shared>,
    room_seq: Cell<u64>,
    events: Cell<u64>,
    /// What went wrong first.
    wrong: RefCell<Option<String>>,
    results: mpsc::Sender<Value>,
    /// Taken by whoever sends.
    told: RefCell<mpsc::Receiver<Value>>,
}

/// The connection for the protocol's own code, which never waits.
struct Io(Rc<TcpStream>);

impl Read for Io {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Io {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a viewer looks at in a frame.
#[derive(Default, Deserialize)]
struct Tick {
    from: u64,
    to: u64,
    items: Vec<Item>,
    #[serde(default)]
    rest: Vec<Rest>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    delta: Option<Delta>,
    #[serde(default)]
    events: u64,
}

#[derive(Deserialize)]
struct Delta {
    count: u64,
}

#[derive(Deserialize)]
struct Rest {
    events: u64,
}

impl Shared {
    fn read(&self, text: &Utf8Bytes) -> serde_json::Result<Rc<Tick>> {
        let mut last = self.last.borrow_mut();
        if last.0 != *text {
            *last = (text.clone(), Rc::new(serde_json::from_str(text)?));
        }
        Ok(Rc::clone(&last.1))
    }
}

impl Viewer {
    /// Resolves when it is in the room; from then on a task of its own listens.
    pub async fn connect(
        address: SocketAddr,
        token: &str,
        room: u64,
        shared: Rc<Shared>,
    ) -> Result<Rc<Viewer>, ViewerError> {
        let failed = |error: String| ViewerError::Connect(error);
        let tcp = TcpStream::connect(address).await.map_err(|error| failed(error.to_string()))?;
        let tcp = Rc::new(tcp);
        let mut request =
            format!("ws://{address}/v1/ws").into_client_request().map_err(|error| failed(error.to_string()))?;
        request.headers_mut().insert(
            "sec-websocket-protocol",
            "largesse.v1.json".parse().map_err(|_| failed("a header does not fit".into()))?,
        );
        let config = WebSocketConfig::default().read_buffer_size(4 << 10).write_buffer_size(0);
        let mut shaking = client_with_config(request, Io(Rc::clone(&tcp)), Some(config));
        let ws = loop {
            match shaking {
                Ok((ws, _response)) => break ws,
                Err(HandshakeError::Interrupted(half)) => {
                    tcp.readable().await.map_err(|error| failed(error.to_string()))?;
                    shaking = half.handshake();
                }
                Err(HandshakeError::Failure(error)) => return Err(failed(error.to_string())),
            }
        };
        // One gift of a viewer is under way at a time.
        let (results, told) = mpsc::channel(1);
        let viewer = Rc::new(Viewer {
            tcp,
            ws: RefCell::new(ws),
            shared,
            room_seq: Cell::new(0),
            events: Cell::new(0),
            wrong: RefCell::default(),
            results,
            told: RefCell::new(told),
        });
        viewer.enter(token, room).await?;
        tokio::task::spawn_local(Rc::clone(&viewer).listen());
        Ok(viewer)
    }

    async fn enter(&self, token: &str, room: u64) -> Result<(), ViewerError> {
        self.say(&json!({ "type": "auth", "token": token }))?;
        self.say(&json!({ "type": "join", "room": room.to_string() }))?;
        loop {
            let text = self.next().await.map_err(|error| ViewerError::Connect(error.to_string()))?;
            let frame: Value = serde_json::from_str(&text).map_err(|_| ViewerError::Unexpected(text.to_string()))?;
            match frame["type"].as_str() {
                Some("joined") => {
                    self.room_seq.set(frame["room_seq"].as_u64().unwrap_or(0));
                    return Ok(());
                }
                Some("hello") => {}
                _ => return Err(ViewerError::Unexpected(text.to_string())),
            }
        }
    }

    fn say(&self, frame: &Value) -> Result<(), ViewerError> {
        let sent = self.ws.borrow_mut().send(Message::text(frame.to_string()));
        sent.map_err(|error| ViewerError::Connect(error.to_string()))
    }

    async fn next(&self) -> Result<Utf8Bytes, Error> {
        loop {
            let read = self.ws.borrow_mut().read();
            match read {
                Ok(Message::Text(text)) => return Ok(text),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tcp.readable().await.map_err(Error::Io)?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn listen(self: Rc<Self>) {
        loop {
            match self.next().await {
                Ok(text) => self.take(text, Instant::now()),
                Err(error) => return self.note_wrong(format!("it was let go: {error}")),
            }
        }
    }

    fn take(&self, text: Utf8Bytes, at: Instant) {
        if !text.starts_with(r#"{"type":"tick""#) {
            return match serde_json::from_str::<Value>(&text) {
                Ok(frame) if frame["type"] == "result" => drop(self.results.try_send(frame)),
                Ok(frame) if frame["type"] == "level" => {}
                Ok(_) | Err(_) => self.note_wrong(format!("it was told {text}")),
            };
        }
        let Ok(tick) = self.shared.read(&text) else {
            return self.note_wrong(format!("a tick cannot be read: {text}"));
        };
        if tick.from != self.room_seq.get() + 1 {
            self.note_wrong(format!("a tick begins at {} behind {}", tick.from, self.room_seq.get()));
        }
        self.room_seq.set(tick.to);
        self.shared.deliveries.set(self.shared.deliveries.get() + 1);
        self.shared.bytes.set(self.shared.bytes.get() + text.len() as u64);
        let (mut events, mut latencies) = (tick.rest.iter().map(|rest| rest.events).sum::<u64>(), Vec::new());
        for item in &tick.items {
            events += item.events;
            if let Some(delta) = item.delta.as_ref().filter(|_| item.events == 1) {
                // The frame can be here before the sender's own answer.
                let durable = self.shared.durable.borrow().get(&delta.count).copied();
                latencies.push(durable.map_or_else(Default::default, |durable| at.duration_since(durable)));
            }
        }
        self.events.set(self.events.get() + events);
        let mut noted = self.shared.latencies.borrow_mut();
        latencies.into_iter().for_each(|took| noted.note(took, 1));
    }

    fn note_wrong(&self, what: String) {
        self.wrong.borrow_mut().get_or_insert(what);
    }

    /// Sends so many pieces, and says when it was told that they are durable.
    pub async fn send(&self, stand: &Stand, pieces: u64) -> Result<Instant, ViewerError> {
        self.say(&json!({
            "type": "send", "id": uuid::Uuid::now_v7().to_string(), "room": stand.room.to_string(),
            "gift_id": stand.gift, "count": pieces, "to": [stand.host.to_string()],
        }))?;
        let result = std::future::poll_fn(|context| self.told.borrow_mut().poll_recv(context)).await;
        let result = result.ok_or_else(|| ViewerError::Unexpected("it was let go".into()))?;
        if result["status"] == 200 { Ok(Instant::now()) } else { Err(ViewerError::Refused(result.to_string())) }
    }

    /// Gifts that it was shown.
    pub fn events(&self) -> u64 {
        self.events.get()
    }

    /// What is wrong with what it was shown, where there should be so many gifts.
    pub fn complaint(&self, gifts: u64) -> Option<String> {
        let wrong = self.wrong.borrow().clone();
        wrong.or_else(|| (self.events.get() != gifts).then(|| format!("it saw {} of {gifts} gifts", self.events.get())))
    }
}
