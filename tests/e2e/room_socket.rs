//! A socket in a room, and what a client has of it that only adds up what it is shown.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::Message;
use tungstenite::{Error, WebSocket};

use crate::harness::Client;

pub const ROOM: u64 = 1001;
/// How long the answer to a request for a socket may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

pub struct RoomSocket(WebSocket<TcpStream>);

/// The socket has ended.
#[derive(Debug)]
pub struct Over;

impl RoomSocket {
    /// Asks to be let in from where `sums` stand. A read waits for `turn`, so that its caller can look around.
    pub fn enter(client: &Client, user: u64, sums: &Sums, turn: Duration) -> Result<RoomSocket, Over> {
        let socket = RoomSocket::connect(client.public.strip_prefix("http://").unwrap(), turn);
        let mut socket = socket.ok_or(Over)?;
        let since = sums.epoch.as_ref().map(|epoch| json!({ "epoch": epoch, "seq": sums.room_seq }));
        socket.say(&json!({ "type": "auth", "token": client.token(user) }))?;
        socket.say(&json!({ "type": "join", "room": ROOM.to_string(), "since": since }))?;
        Ok(socket)
    }

    fn connect(address: &str, turn: Duration) -> Option<RoomSocket> {
        let tcp = TcpStream::connect(address).ok()?;
        tcp.set_read_timeout(Some(CONNECT_PATIENCE)).ok()?;
        let mut request = format!("ws://{address}/v1/ws").into_client_request().ok()?;
        request.headers_mut().insert("sec-websocket-protocol", "largesse.v1.json".parse().ok()?);
        let (socket, _) = tungstenite::client(request, tcp).ok()?;
        socket.get_ref().set_read_timeout(Some(turn)).ok()?;
        Some(RoomSocket(socket))
    }

    pub fn say(&mut self, frame: &Value) -> Result<(), Over> {
        self.0.send(Message::text(frame.to_string())).map_err(|_| Over)
    }

    /// The next frame; none if nothing came for as long as a read waits.
    pub fn hear(&mut self) -> Result<Option<Value>, Over> {
        match self.0.read() {
            Ok(Message::Text(text)) => Ok(Some(serde_json::from_str(&text).unwrap())),
            Ok(_) => Ok(None),
            Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(Over),
        }
    }
}

/// What a client has by what it was shown, and nothing else.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    pub epoch: Option<String>,
    pub room_seq: u64,
    pub value: u64,
    pub events: u64,
    opened: BTreeSet<u64>,
    ended: BTreeSet<u64>,
}

impl Sums {
    /// Everything from one entry to another.
    #[track_caller]
    pub fn tick(&mut self, tick: &Value) {
        assert_eq!(
            tick["from"].as_u64().unwrap(),
            self.room_seq + 1,
            "a gap or a repetition that was not told: {tick}"
        );
        tick["items"].as_array().unwrap().iter().for_each(|item| self.item(item));
        for rest in tick["rest"].as_array().into_iter().flatten() {
            self.value += rest["delta"]["value"].as_u64().unwrap();
            self.events += rest["events"].as_u64().unwrap();
        }
        let ended = tick["combos_ended"].as_array().into_iter().flatten();
        ended.for_each(|id| self.end(id.as_u64().unwrap()));
        self.room_seq = tick["to"].as_u64().unwrap();
    }

    /// One entry, wherever it was read.
    #[track_caller]
    pub fn item(&mut self, item: &Value) {
        self.value += item["delta"]["value"].as_u64().unwrap_or(0);
        self.events += item["events"].as_u64().unwrap_or(0);
        match item["kind"].as_str().unwrap() {
            "gift" => {
                if let Some(id) = item["combo"]["id"].as_u64() {
                    assert!(!self.ended.contains(&id), "a streak goes on that has ended: {item}");
                    self.opened.insert(id);
                }
            }
            "combo_end" => self.end(item["combo"]["id"].as_u64().unwrap()),
            _ => {}
        }
    }

    fn end(&mut self, id: u64) {
        assert!(self.ended.insert(id), "streak {id} ends twice");
    }

    /// After the last entry of all.
    #[track_caller]
    pub fn check(&self, paid: u64) {
        assert_eq!(self.value, paid, "what was shown is what was paid: {self:?}");
        let open: Vec<_> = self.opened.difference(&self.ended).collect();
        assert!(open.is_empty(), "streaks without an end: {open:?}");
    }
}
