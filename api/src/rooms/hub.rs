//! Takes the news of all rooms apart, so that whoever follows one room is woken by its news only.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use largesse_engine::handle::Rooms;
use largesse_engine::room::command::RoomNews;
use largesse_engine::units::RoomId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{Receiver, Sender};

/// News of one room that may wait for a slow reader; beyond, it is told that it missed some and reads the feed.
const NEWS_MAX: usize = 64;

#[derive(Clone, Debug)]
pub enum Heard {
    News(Arc<RoomNews>),
    /// There was news that nobody can tell any more.
    Missed,
}

#[derive(Default)]
pub struct Hub {
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    rooms: HashMap<RoomId, Sender<Heard>>,
    /// Whether somebody takes news apart. It is done from the first reader on.
    is_running: bool,
}

impl Hub {
    /// The news of a room from now on. It ends with the node.
    pub fn listen(self: &Arc<Self>, room: RoomId, rooms: &dyn Rooms) -> Receiver<Heard> {
        let mut told = self.lock();
        if !told.is_running {
            told.is_running = true;
            tokio::spawn(run(Arc::downgrade(self), rooms.news()));
        }
        // Whoever left makes room for whoever comes.
        told.rooms.retain(|_, readers| readers.receiver_count() > 0);
        told.rooms.entry(room).or_insert_with(|| Sender::new(NEWS_MAX)).subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn run(hub: Weak<Hub>, mut news: Receiver<Arc<RoomNews>>) {
    loop {
        let heard = news.recv().await;
        let Some(hub) = hub.upgrade() else { return };
        let mut told = hub.lock();
        match heard {
            Ok(news) => {
                if let Some(readers) = told.rooms.get(&news.room) {
                    // Nobody may be left, which is nobody's loss.
                    let _readers = readers.send(Heard::News(news));
                }
            }
            Err(RecvError::Lagged(_)) => told.rooms.retain(|_, readers| readers.send(Heard::Missed).is_ok()),
            Err(RecvError::Closed) => {
                *told = Told::default();
                return;
            }
        }
    }
}
