//! The mirror: copies of balances, gifts, rooms and users in Redis, for other services to read.
//!
//! It is a view that may be late, lost and thrown away. A [`Mirrored`] store hands every flushed batch on to a [`Feed`],
//! which never waits and holds a bounded number of rows; a worker on a thread of its own moves them into Redis. What does
//! not fit, and what Redis has lost, is made good by reading the store again. Nobody who sends a gift waits for any of it.
//!
//! Every key is a hash that says as of when it is: `at` (the shard's time) and `seq` (the event that last changed it). A
//! write that is not as new as what is there changes nothing, so two processes that mirror one shard for a moment do no
//! harm. Time comes first, since a ledger that was begun anew counts its events from 1 again.

mod account;
mod catalog;
mod connection;
mod entry;
mod feed;
mod guards;
mod mirrored;
mod names;
mod refresh;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::node::threads;
use largesse_engine::room::settings::Room;
use largesse_engine::store::{Store, StoreError};
use tokio::sync::{oneshot, watch};

pub use self::account::{MirroredAccount, MirroredBalance, read_account};
pub use self::entry::AsOf;
use self::feed::Feed;
pub use self::mirrored::Mirrored;
use self::worker::Worker;
pub use crate::redis_link::{Credentials, Topology};

/// Where Redis is, and what is kept there for how long.
#[derive(Clone, Debug)]
pub struct MirrorOptions {
    pub topology: Topology,
    /// Stands before every key.
    pub prefix: String,
    pub credentials: Option<Credentials>,
    pub ttls: Ttls,
    /// Balances that may wait; beyond, they are forgotten and read from the store again.
    pub rows_max: usize,
    /// How often Redis is asked whether it still has everything.
    pub check_every: Duration,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
}

/// How long keys live after they were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttls {
    pub asset: Duration,
    pub user: Duration,
    pub room: Duration,
    pub gift: Duration,
}

impl Default for Ttls {
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        Ttls { asset: day, user: day, room: day, gift: 7 * day }
    }
}

impl Default for MirrorOptions {
    fn default() -> Self {
        MirrorOptions {
            topology: Topology::Single { node: "127.0.0.1:6379".into(), database: 0 },
            prefix: String::new(),
            credentials: None,
            ttls: Ttls::default(),
            rows_max: 200_000,
            check_every: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(1),
            response_timeout: Duration::from_secs(1),
        }
    }
}

impl MirrorOptions {
    /// The main ledger writes the plain keys that other services know; all others keep away from them.
    pub fn prefix_of(ledger: &LedgerName) -> String {
        if *ledger == LedgerName::default() { String::new() } else { format!("{ledger}:") }
    }
}

/// Why the mirror cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    #[error("Redis at {at}: {why}")]
    Redis { at: String, why: redis::RedisError },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store's catalog cannot be read: {0}")]
    Catalog(String),
    #[error("the thread of the mirror could not be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// A mirror at work.
pub struct Mirror {
    feed: Arc<Feed>,
    store: Arc<dyn Store>,
    stop: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

/// How long a stop waits for what was flushed last.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

impl Mirror {
    /// Begins to mirror what `store` holds. Whether Redis can be reached makes no difference to this.
    pub fn start(
        options: MirrorOptions,
        store: Arc<dyn Store>,
        shape: LedgerShape,
        rooms: Vec<Room>,
    ) -> Result<Mirror, MirrorError> {
        let feed = Arc::new(Feed::new(options.rows_max));
        let (stop, stopping) = watch::channel(false);
        let (end, ended) = oneshot::channel();
        let worker = Worker::new(options, Arc::clone(&feed), Arc::clone(&store), shape, rooms, stopping);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("mirror".into()).spawn(move || {
            threads::give_way();
            runtime.block_on(worker.run());
            // Whoever waited may have given up.
            let _gone = end.send(());
        })?;
        Ok(Mirror { feed, store, stop, ended })
    }

    /// The store whose flushed rows are mirrored.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(Mirrored::new(Arc::clone(&self.store), Arc::clone(&self.feed)))
    }

    /// Writes what was flushed last, if Redis takes it soon.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if tokio::time::timeout(STOP_PATIENCE, self.ended).await.is_err() {
            tracing::warn!("the mirror was left behind; it is made good at the next start");
        }
    }
}
