//! A viewer on a thread of its own, who adds up what he is shown.

use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::Message;
use tungstenite::{Error, WebSocket};

use crate::harness::{Server, until};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long a thread listens before it looks whether there is something to say.
const TURN: Duration = Duration::from_millis(10);

/// What a viewer was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub epoch: String,
    pub room_seq: u64,
    pub value: u64,
    pub events: u64,
    /// Entries that the socket said it would not get.
    pub missed: u64,
    /// How many watch.
    pub viewers: u64,
    pub recovered: bool,
    pub results: HashMap<String, Value>,
    pub is_over: bool,
}

pub struct Viewer {
    words: Sender<Value>,
    told: Arc<Mutex<Told>>,
}

impl Viewer {
    /// In the room when this returns.
    pub async fn enter(server: &Server, user: u64) -> Viewer {
        Viewer::enter_since(server, user, None).await
    }

    /// From where another one stood.
    pub async fn enter_since(server: &Server, user: u64, before: Option<Told>) -> Viewer {
        let address = server.client.public.strip_prefix("http://").unwrap().to_owned();
        let since = before.as_ref().map(|told| json!({"epoch": told.epoch, "seq": told.room_seq}));
        let told = Arc::new(Mutex::new(before.unwrap_or_default()));
        told.lock().unwrap().epoch.clear();
        let (words, said) = channel();
        words.send(json!({"type": "auth", "token": server.client.token(user)})).unwrap();
        words.send(json!({"type": "join", "room": "1001", "since": since})).unwrap();
        let shared = Arc::clone(&told);
        std::thread::spawn(move || live(&address, &said, &shared));
        let viewer = Viewer { words, told };
        viewer.until("it is in the room", |told| !told.epoch.is_empty()).await;
        viewer
    }

    pub fn told(&self) -> Told {
        self.told.lock().unwrap().clone()
    }

    pub async fn until(&self, what: &str, is_so: impl Fn(&Told) -> bool) {
        until(what, PATIENCE, async || is_so(&self.told()).then_some(())).await;
    }

    /// Sends a rose and waits for what became of it.
    pub async fn send(&self, id: &str) -> Value {
        self.told.lock().unwrap().results.remove(id);
        self.say(json!({"type": "send", "id": id, "room": "1001", "gift_id": 1, "count": 1, "to": ["2001"]}));
        self.until(&format!("the result of {id}"), |told| told.results.contains_key(id) || told.is_over).await;
        self.told().results.remove(id).expect("the socket stays")
    }

    pub fn say(&self, frame: Value) {
        self.words.send(frame).unwrap();
    }
}

fn live(address: &str, said: &Receiver<Value>, told: &Mutex<Told>) {
    let tcp = TcpStream::connect(address).unwrap();
    let mut request = format!("ws://{address}/v1/ws").into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "largesse.v1.json".parse().unwrap());
    let (mut ws, _) = tungstenite::client(request, tcp).unwrap_or_else(|error| panic!("{error}"));
    ws.get_ref().set_read_timeout(Some(TURN)).unwrap();
    while turn(&mut ws, said, told) {}
    told.lock().unwrap().is_over = true;
}

fn turn(ws: &mut WebSocket<TcpStream>, said: &Receiver<Value>, told: &Mutex<Told>) -> bool {
    loop {
        match said.try_recv() {
            Ok(frame) if ws.send(Message::text(frame.to_string())).is_err() => return false,
            Ok(_) => {}
            Err(std::sync::mpsc::TryRecvError::Empty) => break,
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return false,
        }
    }
    match ws.read() {
        Ok(Message::Text(text)) => take(&serde_json::from_str(&text).unwrap(), &mut told.lock().unwrap()),
        Ok(_) => {}
        Err(Error::Io(error)) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
        Err(_) => return false,
    }
    true
}

fn take(frame: &Value, told: &mut Told) {
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{frame}"));
    match frame["type"].as_str().unwrap() {
        "joined" => {
            if let Some(gap) = frame["gap"].as_object() {
                told.missed += number(&gap["to"]) - number(&gap["from"]) + 1;
            }
            told.recovered = frame["recovered"] == true;
            told.room_seq = number(&frame["room_seq"]);
            told.viewers = number(&frame["viewers"]);
            told.epoch = frame["epoch"].as_str().unwrap().into();
        }
        "tick" => {
            assert_eq!(number(&frame["from"]), told.room_seq + 1, "a gap or a repetition that was not told: {frame}");
            told.room_seq = number(&frame["to"]);
            told.viewers = number(&frame["viewers"]);
            let items = frame["items"].as_array().unwrap().iter();
            for item in items.chain(frame["rest"].as_array().into_iter().flatten()) {
                told.value += item["delta"]["value"].as_u64().unwrap_or(0);
                told.events += item["events"].as_u64().unwrap_or(0);
            }
        }
        "result" => drop(told.results.insert(frame["id"].as_str().unwrap().into(), frame.clone())),
        "error" | "bye" => panic!("{frame}"),
        _ => {}
    }
}
