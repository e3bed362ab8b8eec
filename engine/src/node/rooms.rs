//! What goes on around room shards: their settings are brought to them, and what is due by time is done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::handle::Rooms;
use crate::resolve::ControlView;
use crate::room::command::{RoomCommand, RoomOutcome};
use crate::room::settings::Room;
use crate::units::{RoomId, Seq, Time};

/// Rooms that are asked at once.
const AT_ONCE: usize = 64;
/// After a failure, or when a shard says that nothing was due yet.
const AGAIN: Duration = Duration::from_millis(50);

/// When which room has something to do by time. One entry per room.
#[derive(Debug, Default)]
pub struct RoomTimes {
    due: Mutex<HashMap<RoomId, Time>>,
    changed: Notify,
}

impl RoomTimes {
    pub fn set(&self, room: RoomId, due: Option<Time>) {
        let mut all = self.due.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match due {
            Some(time) => drop(all.insert(room, time)),
            None => drop(all.remove(&room)),
        }
        self.changed.notify_one();
    }

    /// The rooms that are due, and how long the next one has.
    fn take_due(&self, now: Time) -> (Vec<RoomId>, Option<Duration>) {
        let mut all = self.due.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let due: Vec<RoomId> = all.extract_if(|_, time| *time <= now).map(|(room, _)| room).collect();
        let next = all.values().min().map(|time| Duration::from_millis(time.get() - now.get()));
        (due, next)
    }

    /// Asks each room when its time has come, for as long as the node lives.
    pub async fn run(self: Arc<Self>, rooms: Arc<dyn Rooms>, clock: Arc<dyn Clock>) {
        loop {
            let (due, next) = self.take_due(clock.now());
            let asked = stream::iter(due).for_each_concurrent(AT_ONCE, |room| self.ask(room, &*rooms, &*clock));
            asked.await;
            match next {
                Some(wait) => drop(tokio::time::timeout(wait, self.changed.notified()).await),
                None => self.changed.notified().await,
            }
        }
    }

    async fn ask(&self, room: RoomId, rooms: &dyn Rooms, clock: &dyn Clock) {
        let again = u64::try_from(AGAIN.as_millis()).expect("it is short");
        match rooms.execute(rooms.room_of(room), RoomCommand::Time { room }).await {
            Ok(RoomOutcome::Due(None)) => {}
            // The news of what it did may have said when the next time is, and that is no later.
            Ok(RoomOutcome::Due(Some(due))) => self.set(room, Some(due.max(clock.now().plus_millis(again)))),
            Ok(_) | Err(_) => self.set(room, Some(clock.now().plus_millis(again))),
        }
    }
}

/// Brings the settings of rooms to their shards: all of them at first, and then whatever changes.
pub struct Follower {
    pub rooms: Arc<dyn Rooms>,
    pub view: watch::Receiver<Arc<ControlView>>,
}

impl Follower {
    /// `is_first_done` is told once every room has been asked for the first time.
    pub async fn run(mut self, is_first_done: watch::Sender<bool>) {
        let mut followed: HashMap<RoomId, (Seq, u64)> = HashMap::new();
        loop {
            let view = Arc::clone(&self.view.borrow_and_update());
            let is_new = |room: &&Room| followed.get(&room.id) != Some(&(room.version, room.fingerprint()));
            let changed: Vec<Room> = view.rooms.values().filter(is_new).cloned().collect();
            let count = changed.len();
            let follow = |room| follow(Arc::clone(&self.rooms), room);
            let done: Vec<Option<Room>> = stream::iter(changed).map(follow).buffer_unordered(AT_ONCE).collect().await;
            let done: Vec<Room> = done.into_iter().flatten().collect();
            let is_complete = done.len() == count;
            followed.extend(done.iter().map(|room| (room.id, (room.version, room.fingerprint()))));
            is_first_done.send_replace(true);
            if is_complete {
                if self.view.changed().await.is_err() {
                    return;
                }
            } else {
                let _changed = tokio::time::timeout(10 * AGAIN, self.view.changed()).await;
            }
        }
    }
}

async fn follow(rooms: Arc<dyn Rooms>, room: Room) -> Option<Room> {
    match rooms.execute(rooms.room_of(room.id), RoomCommand::Follow(Box::new(room.clone()))).await {
        Ok(RoomOutcome::Followed) => Some(room),
        Ok(_) | Err(_) => None,
    }
}
