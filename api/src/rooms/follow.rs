//! Follows a room's feed without an end: every entry once and in order, whatever was missed on the way.
//!
//! News comes by a queue that may drop some. So an entry is told only if it is the next one; when it is not, or when it is
//! said that something was dropped, the feed itself is read from where the reader stands.

use std::sync::Arc;
use std::time::Duration;

use largesse_engine::room::command::RoomNews;
use largesse_engine::room::event::{FeedItem, RoomHead};
use largesse_engine::service::{Service, ServiceError};
use largesse_engine::units::{RoomId, RoomSeq, Time};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::hub::Heard;

/// Entries that are read at once while catching up.
const PAGE: usize = 500;
/// How long to wait where the feed has more than can be read yet.
const AGAIN: Duration = Duration::from_millis(100);

/// Where a reader stands: behind this entry of that feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// When the feed began.
    pub epoch: Time,
    pub after: RoomSeq,
}

#[derive(Debug)]
pub enum Followed {
    Items(Vec<(RoomSeq, FeedItem)>),
    /// The place that the reader had is not one of this feed; it goes on from this one.
    Gap(Place),
    /// The node ends.
    End,
}

pub struct Follower {
    service: Service,
    room: RoomId,
    heard: Receiver<Heard>,
    place: Place,
    /// The last entry that is known to be there.
    last: RoomSeq,
    /// Something may have happened that was not told.
    is_unsure: bool,
}

impl Follower {
    /// `heard` has to be listened to from before `place` was looked up, or what comes in between is late by one read.
    pub fn new(service: Service, room: RoomId, heard: Receiver<Heard>, place: Place) -> Follower {
        Follower { service, room, heard, place, last: place.after, is_unsure: true }
    }

    pub fn place(&self) -> Place {
        self.place
    }

    /// Reads the feed before it waits again: a shard that ends can take news with it that is durable and was not told.
    pub fn look_again(&mut self) {
        self.is_unsure = true;
    }

    /// What comes next, once there is something. May be given up at any moment and asked again; after an error as well.
    pub async fn next(&mut self) -> Result<Followed, ServiceError> {
        loop {
            if self.is_unsure || self.last > self.place.after {
                if let Some(followed) = self.catch_up().await? {
                    return Ok(followed);
                }
                continue;
            }
            match self.heard.recv().await {
                Ok(Heard::News(news)) => {
                    if let Some(followed) = self.take_news(&news) {
                        return Ok(followed);
                    }
                }
                Ok(Heard::Missed) | Err(RecvError::Lagged(_)) => self.is_unsure = true,
                Err(RecvError::Closed) => return Ok(Followed::End),
            }
        }
    }

    async fn catch_up(&mut self) -> Result<Option<Followed>, ServiceError> {
        let page = self.service.feed(self.room, self.place.after, PAGE).await?;
        self.is_unsure = false;
        if let Some(gap) = self.take_head(&page.head) {
            return Ok(Some(gap));
        }
        if page.head.last() < self.place.after {
            // It stands behind entries that this feed does not have.
            self.place.after = page.head.last();
            return Ok(Some(Followed::Gap(self.place)));
        }
        match page.items.last() {
            Some((number, _)) => {
                self.place.after = *number;
                Ok(Some(Followed::Items(page.items)))
            }
            None => {
                if self.last > self.place.after {
                    // They are on their way from memory to the store.
                    tokio::time::sleep(AGAIN).await;
                }
                Ok(None)
            }
        }
    }

    fn take_news(&mut self, news: &Arc<RoomNews>) -> Option<Followed> {
        if let Some(gap) = self.take_head(&news.head) {
            return Some(gap);
        }
        let wanted = self.place.after.next();
        if news.chunk.first > wanted || news.chunk.next() <= wanted {
            return None; // Known already, or one in between is missing, which `last` tells.
        }
        let numbered = (news.chunk.first.get()..).map(RoomSeq).zip(news.chunk.items.iter());
        let items = numbered.filter(|(number, _)| *number >= wanted).map(|(number, item)| (number, item.clone()));
        let items: Vec<_> = items.collect();
        self.place.after = RoomSeq(news.chunk.next().get() - 1);
        Some(Followed::Items(items))
    }

    /// Takes notice of how far the feed is, and whether it is still the same.
    fn take_head(&mut self, head: &RoomHead) -> Option<Followed> {
        if head.began == self.place.epoch {
            self.last = self.last.max(head.last());
            return None;
        }
        // Before the first entry there is no beginning: whoever has seen nothing has missed nothing.
        let has_seen = self.place != Place { epoch: Time::ZERO, after: RoomSeq::NONE };
        self.place = Place { epoch: head.began, after: RoomSeq::NONE };
        self.last = head.last();
        has_seen.then_some(Followed::Gap(self.place))
    }
}
