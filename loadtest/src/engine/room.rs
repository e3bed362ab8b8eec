//! What the room showed of a run: how often news of it came while gifts did, and whether its feed has every gift once.

use std::time::{Duration, Instant};

use largesse_engine::room::command::RoomNews;
use largesse_engine::room::event::FeedWhat;
use largesse_engine::service::Service;
use largesse_engine::units::RoomSeq;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::BenchError;
use super::crowd::ROOM;

/// Entries that are read at once.
const PAGE: usize = 1_000;
/// How long a room may take to show what the ledger has.
const PATIENCE: Duration = Duration::from_secs(120);

/// News of the room while gifts were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct News {
    pub count: u64,
    /// News that came faster than they were looked at.
    pub missed: u64,
    pub longest_wait_ms: u64,
    #[serde(skip)]
    last: Option<Instant>,
}

impl News {
    pub fn take(&mut self, news: Result<std::sync::Arc<RoomNews>, RecvError>) {
        match news {
            Ok(news) if news.room == ROOM => {
                let now = Instant::now();
                let waited = self.last.map_or(Duration::ZERO, |last| now.duration_since(last));
                self.longest_wait_ms = self.longest_wait_ms.max(u64::try_from(waited.as_millis()).unwrap_or(u64::MAX));
                (self.count, self.last) = (self.count + 1, Some(now));
            }
            Ok(_) | Err(RecvError::Closed) => {}
            Err(RecvError::Lagged(missed)) => self.missed += missed,
        }
    }
}

/// The feed, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Feed {
    pub entries: u64,
    /// Gifts in them.
    pub gifts: u64,
    pub value: u64,
    /// From the end of sending until the feed had everything; reading it is in this.
    pub behind_ms: u64,
}

/// Where the feed ends now.
pub async fn last(service: &Service) -> Result<RoomSeq, BenchError> {
    service.room(ROOM).await.map(|head| head.last()).map_err(|error| failed(&error))
}

/// Adds up what follows an entry, until it is worth `value` or that does not come. Pages have no gaps, and are read in order.
pub async fn read(service: &Service, after: RoomSeq, value: u64, ended: Instant) -> Result<Feed, BenchError> {
    let (mut feed, mut after, mut news) = (Feed::default(), after, service.rooms.news());
    let until = Instant::now() + PATIENCE;
    while feed.value < value && Instant::now() < until {
        let page = service.feed(ROOM, after, PAGE).await.map_err(|error| failed(&error))?;
        if page.items.is_empty() {
            // The relay or the store is behind.
            let _news = tokio::time::timeout(Duration::from_millis(100), news.recv()).await;
            continue;
        }
        for (number, item) in page.items {
            if number != after.next() {
                return Err(BenchError::Lost(format!("entry {number} of {ROOM} follows {after}")));
            }
            after = number;
            feed.entries += 1;
            if let FeedWhat::Gift(gift) = &item.what {
                feed.gifts += u64::from(gift.events);
                feed.value += gift.value().get();
            }
        }
    }
    feed.behind_ms = u64::try_from(ended.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(feed)
}

fn failed(error: &dyn std::fmt::Display) -> BenchError {
    BenchError::Lost(format!("{}: {error}", ROOM))
}
