//! Clients who watch a room over sockets while its server is killed, and only add up what they are shown.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::player::World;
use crate::harness::{As, Call, Client, Dice};
use crate::room_socket::{Over, ROOM, RoomSocket, Sums};

/// How long a read waits before the watcher looks around.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// What one watcher has in the end.
#[derive(Debug, Default)]
pub struct Seen {
    pub sums: Sums,
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

impl Watcher {
    pub fn new(user: u64, is_slow: bool, dice: Dice, world: Arc<World>, last: watch::Receiver<Option<u64>>) -> Watcher {
        Watcher { user, is_slow, dice, world, last, runtime: Handle::current(), seen: Seen::default() }
    }

    /// Until it has the last entry. To be run where waiting is allowed.
    pub fn watch(mut self) -> Seen {
        while !self.has_all() {
            let client = self.world.seen.borrow().clone().map(|(_, client)| client);
            let enter = |client: Client| {
                let socket = RoomSocket::enter(&client, self.user, &self.seen.sums, LOOK_AROUND).ok()?;
                Some((client, socket))
            };
            match client.and_then(enter) {
                Some((client, socket)) => {
                    self.seen.sockets += 1;
                    let _over = self.listen(socket, &client);
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
        self.last.borrow().is_some_and(|last| self.seen.sums.room_seq >= last)
    }

    fn listen(&mut self, mut socket: RoomSocket, client: &Client) -> Result<(), Over> {
        while !self.has_all() {
            if self.is_slow && self.dice.percent(3) {
                let long = self.dice.below(400);
                self.rest(long);
            }
            // Networks fail without a server's help too.
            if self.dice.percent(1) {
                return Err(Over);
            }
            if let Some(frame) = socket.hear()? {
                self.take(&frame, client)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, frame: &Value, client: &Client) -> Result<(), Over> {
        let sums = &mut self.seen.sums;
        match frame["type"].as_str().unwrap() {
            "joined" => {
                let epoch = frame["epoch"].as_str().unwrap().to_owned();
                let before = sums.epoch.get_or_insert_with(|| epoch.clone());
                assert_eq!(*before, epoch, "the feed of a room goes on, whatever happens to its server");
                if let Some(to) = frame["gap"]["to"].as_u64() {
                    assert_eq!(frame["gap"]["from"].as_u64(), Some(sums.room_seq + 1), "{frame}");
                    return self.fill(to, client);
                }
                let from = frame["room_seq"].as_u64().unwrap();
                if sums.room_seq == 0 {
                    return self.fill(from, client);
                }
                assert_eq!(from, sums.room_seq, "it goes on where the client stood: {frame}");
            }
            "tick" => sums.tick(frame),
            _ => {}
        }
        Ok(())
    }

    /// Reads over HTTP what the socket does not bring.
    fn fill(&mut self, to: u64, client: &Client) -> Result<(), Over> {
        while self.seen.sums.room_seq < to {
            let after = self.seen.sums.room_seq;
            let limit = (to - after).min(1_000);
            let call = Call::get(As::Viewer(self.user), format!("/v1/rooms/{ROOM}/feed?after={after}&limit={limit}"));
            let answer = self.runtime.block_on(client.try_call(&call)).map_err(|_killed| Over)?;
            if !answer.status.is_success() {
                return Err(Over);
            }
            for item in answer.body["items"].as_array().unwrap() {
                let sums = &mut self.seen.sums;
                sums.item(item);
                sums.room_seq += 1;
                assert_eq!(item["room_seq"].as_u64(), Some(sums.room_seq), "{item}");
                self.seen.filled += 1;
            }
        }
        Ok(())
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
    let mut sums = Sums::default();
    for (number, item) in (1..).zip(&one) {
        assert_eq!(item["room_seq"].as_u64(), Some(number), "{item}");
        sums.item(item);
    }
    sums.check(paid);
}
