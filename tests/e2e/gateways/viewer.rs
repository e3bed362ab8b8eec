//! A viewer on a thread of its own, who adds up what he is shown.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Server, until};
use crate::room_socket::{Over, ROOM, RoomSocket, Sums};

const PATIENCE: Duration = Duration::from_secs(60);
/// How long a thread listens before it looks whether there is something to say.
const TURN: Duration = Duration::from_millis(10);

/// What a viewer was told.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub sums: Sums,
    is_in: bool,
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
        let told = Told { is_in: false, is_over: false, ..before.unwrap_or_default() };
        let (sums, told) = (told.sums.clone(), Arc::new(Mutex::new(told)));
        let (words, said) = channel();
        let (shared, client) = (Arc::clone(&told), server.client.clone());
        std::thread::spawn(move || {
            let mut socket = RoomSocket::enter(&client, user, &sums, TURN).expect("somebody is there");
            while turn(&mut socket, &said, &shared).is_ok() {}
            shared.lock().unwrap().is_over = true;
        });
        let viewer = Viewer { words, told };
        viewer.until("it is in the room", |told| told.is_in).await;
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
        let room = ROOM.to_string();
        self.say(json!({"type": "send", "id": id, "room": room, "gift_id": 1, "count": 1, "to": ["2001"]}));
        self.until(&format!("the result of {id}"), |told| told.results.contains_key(id) || told.is_over).await;
        self.told().results.remove(id).expect("the socket stays")
    }

    pub fn say(&self, frame: Value) {
        self.words.send(frame).unwrap();
    }
}

fn turn(socket: &mut RoomSocket, said: &Receiver<Value>, told: &Mutex<Told>) -> Result<(), Over> {
    loop {
        match said.try_recv() {
            Ok(frame) => socket.say(&frame)?,
            Err(TryRecvError::Empty) => break,
            Err(TryRecvError::Disconnected) => return Err(Over),
        }
    }
    if let Some(frame) = socket.hear()? {
        told.lock().unwrap().take(&frame);
    }
    Ok(())
}

impl Told {
    fn take(&mut self, frame: &Value) {
        let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{frame}"));
        match frame["type"].as_str().unwrap() {
            "joined" => {
                if let Some(gap) = frame["gap"].as_object() {
                    self.missed += number(&gap["to"]) - number(&gap["from"]) + 1;
                }
                self.recovered = frame["recovered"] == true;
                self.viewers = number(&frame["viewers"]);
                self.sums.room_seq = number(&frame["room_seq"]);
                self.sums.epoch = Some(frame["epoch"].as_str().unwrap().into());
                self.is_in = true;
            }
            "tick" => {
                self.viewers = number(&frame["viewers"]);
                self.sums.tick(frame);
            }
            "result" => drop(self.results.insert(frame["id"].as_str().unwrap().into(), frame.clone())),
            "error" | "bye" => panic!("{frame}"),
            _ => {}
        }
    }
}
