//! A WebSocket client that keeps to the rules, and can be made to break them.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use axum::Router;
use largesse_api::{ApiOptions, ConnectionLimits, serve_with};
use largesse_engine::node::NodeOptions;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Response;
use tungstenite::protocol::Message;
use tungstenite::{Error, WebSocket};

use crate::world::{World, token};

/// A world behind a real port.
pub struct Doors {
    pub world: World,
    pub address: SocketAddr,
}

pub struct Client {
    pub ws: WebSocket<TcpStream>,
}

impl Doors {
    pub async fn open(set: impl FnOnce(&mut NodeOptions), options: ApiOptions) -> Doors {
        let world = World::start_node(set, options).await;
        let router = world.public.clone();
        let mut doors = Doors { world, address: ([0; 4], 0).into() };
        doors.address = doors.serve(router).await;
        doors
    }

    /// Another port, with this behind it.
    pub async fn serve(&self, router: Router) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, runtimes) = (listener.local_addr().unwrap(), self.world.node.runtimes());
        tokio::spawn(serve_with(listener, router, ConnectionLimits::default(), runtimes, std::future::pending()));
        address
    }

    pub async fn plain() -> Doors {
        Doors::open(|_| (), ApiOptions::default()).await
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address, &[]).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Connected, known, and in the room.
    pub fn viewer(&self, user: u64) -> (Client, Value) {
        let mut client = self.connect();
        client.auth(user);
        client.say(&json!({ "type": "join", "room": "1001" }));
        let joined = client.expect("joined");
        (client, joined)
    }
}

impl Client {
    pub fn connect(address: SocketAddr, headers: &[(&'static str, &str)]) -> Result<Client, Box<Error>> {
        Client::connect_as(address, Some("largesse.v1.json"), headers).map(|(client, _)| client)
    }

    pub fn connect_as(
        address: SocketAddr,
        protocol: Option<&str>,
        headers: &[(&'static str, &str)],
    ) -> Result<(Client, Response), Box<Error>> {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
        let protocol = protocol.map(|protocol| ("sec-websocket-protocol", protocol));
        for (name, value) in headers.iter().copied().chain(protocol) {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match tungstenite::client(request, tcp) {
            Ok((ws, response)) => Ok((Client { ws }, response)),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(Box::new(error)),
            Err(interrupted) => panic!("{interrupted}"),
        }
    }

    pub fn auth(&mut self, user: u64) {
        self.say(&json!({ "type": "auth", "token": token(user) }));
        let hello = self.expect("hello");
        assert_eq!(hello["user_id"], user.to_string());
    }

    pub fn say(&mut self, frame: &Value) {
        self.ws.send(Message::text(frame.to_string())).unwrap();
    }

    /// Bytes as they are, whatever the protocol says to them.
    pub fn raw(&mut self, bytes: &[u8]) {
        let _broken = self.ws.get_mut().write_all(bytes);
    }

    /// The next text, or `None` at the end.
    pub fn hear(&mut self) -> Option<Value> {
        loop {
            match self.ws.read() {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => return None,
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("nothing came"),
                Err(Error::Io(_) | Error::Protocol(_)) => return None,
                Ok(other) => panic!("{other:?}"),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next frame of this type; others are passed over.
    #[track_caller]
    pub fn expect(&mut self, kind: &str) -> Value {
        loop {
            match self.hear() {
                Some(frame) if frame["type"] == kind => return frame,
                Some(frame) => assert!(frame["type"] != "bye", "{frame} instead of {kind}"),
                None => panic!("it ended before a {kind} came"),
            }
        }
    }

    /// The last frame before the end.
    #[track_caller]
    pub fn expect_bye(&mut self, code: &str) -> Value {
        loop {
            match self.hear() {
                Some(frame) if frame["type"] == "bye" => {
                    assert_eq!(frame["code"], code, "{frame}");
                    assert_eq!(self.hear(), None, "nothing comes after it");
                    return frame;
                }
                Some(_) => {}
                None => panic!("it ended without a word"),
            }
        }
    }
}

/// What a client that only sums deltas has of one room.
#[derive(Debug, Default)]
pub struct Sums {
    pub room_seq: u64,
    pub value: u64,
    pub events: u64,
    pub combos_ended: Vec<u64>,
    /// Entries that were announced as missed.
    pub missed: u64,
}

impl Sums {
    #[track_caller]
    pub fn take(&mut self, frame: &Value) {
        match frame["type"].as_str().unwrap() {
            "joined" => {
                if let Some(gap) = frame["gap"].as_object() {
                    let (from, to) = (gap["from"].as_u64().unwrap(), gap["to"].as_u64().unwrap());
                    assert_eq!(from, self.room_seq + 1, "a gap begins where the client stood: {frame}");
                    self.missed += to - from + 1;
                }
                self.room_seq = frame["room_seq"].as_u64().unwrap();
            }
            "tick" => {
                assert_eq!(frame["from"].as_u64().unwrap(), self.room_seq + 1, "a gap that was not told: {frame}");
                self.room_seq = frame["to"].as_u64().unwrap();
                for item in frame["items"].as_array().unwrap() {
                    self.value += item["delta"]["value"].as_u64().unwrap_or(0);
                    self.events += item["events"].as_u64().unwrap_or(0);
                    if item["kind"] == "combo_end" {
                        self.combos_ended.push(item["combo"]["id"].as_u64().unwrap());
                    }
                }
                for rest in frame["rest"].as_array().into_iter().flatten() {
                    self.value += rest["delta"]["value"].as_u64().unwrap();
                    self.events += rest["events"].as_u64().unwrap();
                }
                let ended = frame["combos_ended"].as_array().into_iter().flatten();
                self.combos_ended.extend(ended.map(|id| id.as_u64().unwrap()));
            }
            _ => {}
        }
    }
}
