//! Clients who watch a room over sockets while its server is killed, and only add up what they are shown.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tungstenite::client::IntoClientRequest;
use tungstenite::protocol::Message;
use tungstenite::{Error, WebSocket};

use super::player::World;
use crate::harness::{As, Call, Client, Dice};

const ROOM: u64 = 1001;
/// How long a read waits before the watcher looks around.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// What one watcher has by what it was shown, and nothing else.
#[derive(Debug, Default)]
pub struct Seen {
    epoch: Option<String>,
    pub room_seq: u64,
    pub value: u64,
    opened: BTreeSet<u64>,
    ended: BTreeSet<u64>,
    /// Entries that it had to read over HTTP.
    pub filled: u64,
    pub sockets: u64,
}

pub struct Watcher {
    user: u64,
    /// It does not read for a while now and then.
    is_slow: bool,
    dice: Dice,
    world: Arc<World>,
    /// The last entry there will be, once that is known.
    last: watch::Receiver<Option<u64>>,
    runtime: Handle,
    seen: Seen,
}

/// The socket is over; another one follows.
struct Over;

impl Watcher {
    pub fn new(user: u64, is_slow: bool, dice: Dice, world: Arc<World>, last: watch::Receiver<Option<u64>>) -> Watcher {
        Watcher { user, is_slow, dice, world, last, runtime: Handle::current(), seen: Seen::default() }
    }

    /// Until it has the last entry. To be run where waiting is allowed.
    pub fn watch(mut self) -> Seen {
        while !self.has_all() {
            let client = self.world.seen.borrow().clone().map(|(_, client)| client);
            match client.as_ref().and_then(|client| self.connect(client)) {
                Some(socket) => {
                    self.seen.sockets += 1;
                    let _over = self.listen(socket, client.as_ref().expect("it was just used"));
                }
                // Nobody is there: a killed server takes a moment to come back.
                None => self.rest(20),
            }
        }
        self.seen
    }

    fn rest(&self, millis: u64) {
        self.runtime.block_on(tokio::time::sleep(Duration::from_millis(millis)));
    }

    fn has_all(&self) -> bool {
        self.last.borrow().is_some_and(|last| self.seen.room_seq >= last)
    }

    fn connect(&self, client: &Client) -> Option<WebSocket<TcpStream>> {
        let address = client.public.strip_prefix("http://")?;
        let tcp = TcpStream::connect(address).ok()?;
        tcp.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut request = format!("ws://{address}/v1/ws").into_client_request().ok()?;
        request.headers_mut().insert("sec-websocket-protocol", "largesse.v1.json".parse().ok()?);
        let (mut socket, _) = tungstenite::client(request, tcp).ok()?;
        socket.get_mut().set_read_timeout(Some(LOOK_AROUND)).ok()?;
        let since = self.seen.epoch.as_ref().map(|epoch| json!({ "epoch": epoch, "seq": self.seen.room_seq }));
        for frame in [
            json!({ "type": "auth", "token": client.token(self.user) }),
            json!({ "type": "join", "room": ROOM.to_string(), "since": since }),
        ] {
            socket.send(Message::text(frame.to_string())).ok()?;
        }
        Some(socket)
    }

    fn listen(&mut self, mut socket: WebSocket<TcpStream>, client: &Client) -> Result<(), Over> {
        while !self.has_all() {
            if self.is_slow && self.dice.percent(3) {
                let long = self.dice.below(400);
                self.rest(long);
            }
            // Networks fail without a server's help too.
            if self.dice.percent(1) {
                return Err(Over);
            }
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    self.take(&frame, client)?;
                }
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Over),
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: &Value, client: &Client) -> Result<(), Over> {
        match frame["type"].as_str().unwrap() {
            "joined" => {
                let epoch = frame["epoch"].as_str().unwrap().to_owned();
                let before = self.seen.epoch.get_or_insert_with(|| epoch.clone());
                assert_eq!(*before, epoch, "the feed of a room goes on, whatever happens to its server");
                if let Some(to) = frame["gap"]["to"].as_u64() {
                    assert_eq!(frame["gap"]["from"].as_u64(), Some(self.seen.room_seq + 1), "{frame}");
                    return self.fill(to, client);
                }
                let from = frame["room_seq"].as_u64().unwrap();
                if self.seen.room_seq == 0 {
                    return self.fill(from, client);
                }
                assert_eq!(from, self.seen.room_seq, "it goes on where the client stood: {frame}");
            }
            "tick" => {
                assert_eq!(frame["from"].as_u64().unwrap(), self.seen.room_seq + 1, "a gap that was not told: {frame}");
                frame["items"].as_array().unwrap().iter().for_each(|item| self.seen.add(item));
                for rest in frame["rest"].as_array().into_iter().flatten() {
                    self.seen.value += rest["delta"]["value"].as_u64().unwrap();
                }
                let ended = frame["combos_ended"].as_array().into_iter().flatten();
                ended.for_each(|id| self.seen.end(id.as_u64().unwrap()));
                self.seen.room_seq = frame["to"].as_u64().unwrap();
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads over HTTP what the socket does not bring.
    fn fill(&mut self, to: u64, client: &Client) -> Result<(), Over> {
        while self.seen.room_seq < to {
            let (after, limit) = (self.seen.room_seq, (to - self.seen.room_seq).min(1_000));
            let call = Call::get(As::Viewer(self.user), format!("/v1/rooms/{ROOM}/feed?after={after}&limit={limit}"));
            let answer = self.runtime.block_on(client.try_call(&call)).map_err(|_killed| Over)?;
            if !answer.status.is_success() {
                return Err(Over);
            }
            for item in answer.body["items"].as_array().unwrap() {
                self.seen.add(item);
                self.seen.room_seq += 1;
                assert_eq!(item["room_seq"].as_u64(), Some(self.seen.room_seq), "{item}");
                self.seen.filled += 1;
            }
        }
        Ok(())
    }
}

impl Seen {
    fn add(&mut self, item: &Value) {
        self.value += item["delta"]["value"].as_u64().unwrap_or(0);
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

    pub fn check(&self, paid: u64) {
        assert_eq!(self.value, paid, "what was shown is what was paid: {self:?}");
        let open: Vec<_> = self.opened.difference(&self.ended).collect();
        assert!(open.is_empty(), "streaks without an end: {open:?}");
    }
}

/// Waits until nothing more will come of what was given, and tells the number of the last entry.
pub async fn last_entry(client: &Client, paid: u64) -> u64 {
    crate::harness::until("every gift is shown and every streak has ended", Duration::from_secs(30), || async {
        let room = client.call(Call::get(As::Service, format!("/v1/rooms/{ROOM}"))).await.ok();
        let shown = room["all_totals"].as_array().unwrap().iter().find(|total| total["asset"] == "coin");
        let shown = shown.map_or(0, |total| total["value"].as_u64().unwrap());
        assert!(shown <= paid, "{shown} were shown and {paid} paid");
        (shown == paid && room["open_combos"] == 0).then(|| room["room_seq"].as_u64().unwrap())
    })
    .await
}

/// The whole feed, read in pages of this size.
async fn feed(client: &Client, limit: u64) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    loop {
        let path = format!("/v1/rooms/{ROOM}/feed?after={}&limit={limit}", items.len());
        let page = client.call(Call::get(As::Service, path)).await.ok();
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        if items.len() as u64 >= page["room_seq"].as_u64().unwrap() {
            return items;
        }
    }
}

/// The feed as it is stored: numbered without gaps, the same every time it is read, and exactly what was paid.
pub async fn check_feed(client: &Client, paid: u64) {
    let (one, other) = (feed(client, 1_000).await, feed(client, 37).await);
    assert_eq!(one, other, "an entry is the same whenever it is read");
    let mut seen = Seen::default();
    for (number, item) in (1..).zip(&one) {
        assert_eq!(item["room_seq"].as_u64(), Some(number), "{item}");
        seen.add(item);
    }
    seen.check(paid);
}
