//! Rooms in terms of the trade: settings, standing, boards, and the feed out of memory and store as one list.

use super::{Service, ServiceError, call_error, lookup_error};
use crate::codec;
use crate::handle::ControlError;
use crate::room::command::{BoardPage, BoardQuery, Chunk, RoomCommand, RoomOutcome};
use crate::room::event::{FeedItem, RoomHead};
use crate::room::settings::Room;
use crate::store::{FEED_ROW_ITEMS_MAX, FeedQuery};
use crate::units::{RoomId, RoomSeq, Time, UserId};

use std::sync::Arc;

/// A page of a room's feed.
#[derive(Clone, Debug)]
pub struct FeedPage {
    /// In order and without gaps, beginning right after the entry asked for.
    pub items: Vec<(RoomSeq, FeedItem)>,
    pub head: Arc<RoomHead>,
}

impl Service {
    /// Sets a room, and waits a while for its shard to follow. It does so in the end even if this did not see it.
    pub async fn set_room(&self, room: Room, by: String, reason: String) -> Result<Room, ControlError> {
        let room = self.control.set_room(room, by, reason).await?;
        let follow = self.rooms.execute(self.rooms.room_of(room.id), RoomCommand::Follow(Box::new(room.clone())));
        let _late = tokio::time::timeout(self.patience.deadline + self.patience.answer, follow).await;
        Ok(room)
    }

    /// The room as its owner has it. One that nothing happened in yet has no number.
    pub async fn room(&self, room: RoomId) -> Result<Arc<RoomHead>, ServiceError> {
        let answer = self.ask_room(room, RoomCommand::Read { room }).await?;
        let RoomOutcome::Room(head) = answer else { return Err(unexpected("Room")) };
        Ok(head)
    }

    pub async fn board(&self, room: RoomId, query: BoardQuery) -> Result<BoardPage, ServiceError> {
        let answer = self.ask_room(room, RoomCommand::ReadBoard { room, query }).await?;
        let RoomOutcome::Board(page) = answer else { return Err(unexpected("Board")) };
        Ok(page)
    }

    /// What follows an entry: from the owner's memory, or from the store what is older than that. A page may be short, or
    /// even empty, while the store is catching up; what it lacks comes on a later one.
    pub async fn feed(&self, room: RoomId, after: RoomSeq, limit: usize) -> Result<FeedPage, ServiceError> {
        let answer = self.ask_room(room, RoomCommand::ReadTail { room, after, limit }).await?;
        let RoomOutcome::Tail(tail) = answer else { return Err(unexpected("Tail")) };
        let chunks = match tail.chunks {
            Some(chunks) => chunks,
            None => self.stored_feed(room, after, limit).await?,
        };
        let mut items = Vec::new();
        let mut next = after.next();
        for chunk in chunks {
            for (number, item) in (chunk.first.get()..).map(RoomSeq).zip(chunk.items.iter()) {
                if number == next && items.len() < limit {
                    items.push((number, item.clone()));
                    next = next.next();
                }
            }
        }
        Ok(FeedPage { items, head: tail.head })
    }

    /// Ends the streaks of somebody who left.
    pub async fn leave(&self, room: RoomId, user: UserId) -> Result<(), ServiceError> {
        let answer = self.ask_room(room, RoomCommand::Leave { room, user }).await?;
        let RoomOutcome::Due(_) = answer else { return Err(unexpected("Due")) };
        Ok(())
    }

    async fn stored_feed(&self, room: RoomId, after: RoomSeq, limit: usize) -> Result<Vec<Chunk>, ServiceError> {
        // A row more than is needed if all are full: the first may hold only one entry that is wanted.
        let limit = limit.div_ceil(FEED_ROW_ITEMS_MAX) + 1;
        let query = FeedQuery { shard: self.rooms.room_of(room), room, after, limit };
        let rows = self.store.page_feed(query).await?;
        let chunk = |row: crate::store::FeedRow| {
            let items = codec::decode::<Vec<FeedItem>>(&row.items);
            let items = items.map_err(|error| ServiceError::Internal(error.to_string()))?;
            Ok(Chunk { first: row.first, items: items.into() })
        };
        rows.into_iter().map(chunk).collect()
    }

    async fn ask_room(&self, room: RoomId, command: RoomCommand) -> Result<RoomOutcome, ServiceError> {
        let answer = self.rooms.execute(self.rooms.room_of(room), command);
        let outcome = match tokio::time::timeout(self.patience.deadline + self.patience.answer, answer).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => return Err(ServiceError::ShardUnavailable),
        };
        match outcome.map_err(|error| lookup_error(call_error(error, Time::ZERO)))? {
            RoomOutcome::StoreUnavailable => Err(ServiceError::StoreUnavailable),
            RoomOutcome::Overloaded => Err(ServiceError::Overloaded { retry_after: std::time::Duration::from_secs(1) }),
            answer @ (RoomOutcome::Gifts(_)
            | RoomOutcome::Followed
            | RoomOutcome::Due(_)
            | RoomOutcome::Room(_)
            | RoomOutcome::Board(_)
            | RoomOutcome::Tail(_)) => Ok(answer),
        }
    }
}

fn unexpected(wanted: &str) -> ServiceError {
    ServiceError::Internal(format!("a room shard answered something else than `{wanted}`"))
}
