//! Frames: what rooms show, from the process that owns them to gateways that only hold sockets, by sharded pub/sub.
//!
//! A [`Publisher`] takes the news of all rooms, which are durable already, and sends each once, on a channel of its room; a
//! [`Subscriber`] follows the rooms that somebody watches. Nothing is kept on the way and nobody waits for it, so frames can
//! be lost: entries are numbered, and whoever lacks some reads the feed.

mod frame;
mod publisher;
mod subscriber;

use std::time::Duration;

use largesse_engine::ledger::LedgerName;

pub use self::frame::{BadFrame, channel, decode, encode};
pub use self::publisher::Publisher;
pub use self::subscriber::Subscriber;
use crate::redis_link::Way;
pub use crate::redis_link::{Credentials, Topology};

/// Where Redis is, and what channels are called there.
#[derive(Clone, Debug)]
pub struct FramesOptions {
    pub topology: Topology,
    pub credentials: Option<Credentials>,
    /// Stands before the name of every channel. Channels know nothing of the number of a database.
    pub prefix: String,
    pub connect_timeout: Duration,
    pub response_timeout: Duration,
}

impl FramesOptions {
    /// Each ledger has channels of its own.
    pub fn prefix_of(ledger: &LedgerName) -> String {
        format!("{ledger}:")
    }

    fn way(&self) -> Way<'_> {
        Way {
            topology: &self.topology,
            credentials: self.credentials.as_ref(),
            connect_timeout: self.connect_timeout,
            response_timeout: self.response_timeout,
        }
    }
}
