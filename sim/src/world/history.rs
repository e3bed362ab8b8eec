//! Readers of history: page after page while everything goes on, and whether what they saw is complete and exact.

use largesse_engine::flush::Flushed;
use largesse_engine::store::{Page, ReceivedEntry, ReceivedQuery, SentQuery, StoredEvent};
use largesse_engine::units::UserId;
use largesse_engine::wallet::outcome::Balances;

use super::*;

/// How long a reader waits for the store to catch up with what it was told.
const WAIT_MICROS: u64 = 1_000_000;
const TRIES_MAX: u32 = 20;

#[derive(Debug)]
pub(crate) struct Reader {
    pub user: UserId,
    side: Side,
    since: Option<Time>,
    until: Option<Time>,
    limit: usize,
    cursor: Option<Bytes>,
    /// What the user was told is applied before it asked: none of it may be missing.
    applied: Vec<usize>,
    waits_until: Option<u64>,
    tries: u32,
}

#[derive(Debug)]
enum Side {
    /// Complete up to this event, once the store has it.
    Sent(Option<Seq>, Vec<StoredEvent>),
    /// Complete up to this time.
    Received(Time, Vec<ReceivedEntry>),
}

impl World {
    /// Somebody begins to read the own events of a user. The first step is a read at the user's shard, whose answer says
    /// up to where the pages have to be complete.
    pub(crate) fn read_history(&mut self, user: UserId) -> usize {
        let is_of_user =
            |place: &usize| self.operations[*place].user == user && self.operations[*place].applied.is_some();
        let applied = (0..self.operations.len()).filter(is_of_user).collect();
        self.reader(user, Side::Sent(None, Vec::new()), applied)
    }

    /// Somebody begins to read what a user received.
    pub(crate) fn read_received(&mut self, user: UserId) {
        let until = self.complete_until();
        let reader = self.reader(user, Side::Received(until, Vec::new()), Vec::new());
        let wait = self.latency(self.swarm.store_micros);
        self.schedule(wait, Event::History(reader));
    }

    fn reader(&mut self, user: UserId, side: Side, applied: Vec<usize>) -> usize {
        let now = self.true_time();
        let mut bound = || self.rng.chance(150).then(|| now.minus_millis(self.rng.between(0, 5_000)));
        let (since, until) = (bound(), bound());
        let limit = *self.rng.pick(&[1, 2, 3, 10, 1_000]);
        self.readers.push(Reader {
            user,
            side,
            since,
            until,
            limit,
            cursor: None,
            applied,
            waits_until: None,
            tries: 0,
        });
        self.readers.len() - 1
    }

    /// Up to when received history is complete. Where the log vouches for its writer, all owners are in one process and
    /// know where they stand; elsewhere only the store can tell.
    fn complete_until(&self) -> Time {
        let of = |shard: ShardId| {
            if self.swarm.fencing == Fencing::ByLog {
                let seat = &self.nodes[0].seats[place_of(shard)];
                return seat.flushed.complete_until(seat.standing.0, seat.standing.1);
            }
            let stored = self.disk.checkpoint(shard);
            let stored = stored.map_or_else(Flushed::default, |at| Flushed { time: at.time, ..Flushed::default() });
            stored.complete_until(Seq(u64::MAX), Time::ZERO)
        };
        self.shape.wallet_shards().map(of).min().unwrap_or_default()
    }

    /// The read that comes before a sender's pages was answered.
    pub(crate) fn history_told(&mut self, reader: usize, balances: &Balances) {
        let now = self.now;
        let reading = &mut self.readers[reader];
        for place in &reading.applied {
            let applied = self.operations[*place].applied.expect("it was applied when the reader began");
            assert!(applied.seq <= balances.seq, "I4 durable answers: a read is older than an answer before it");
        }
        if let Side::Sent(must, _) = &mut reading.side
            && reading.waits_until.is_none()
        {
            *must = Some(balances.seq);
            reading.waits_until = Some(now + WAIT_MICROS);
            self.schedule(1, Event::History(reader));
        }
    }

    pub(super) fn history_step(&mut self, number: usize) {
        let reader = &mut self.readers[number];
        let shard = self.shape.wallet_of(reader.user);
        if let Side::Sent(Some(must), _) = reader.side
            && reader.cursor.is_none()
            && reader.tries == 0
        {
            let is_stored = self.disk.checkpoint(shard).is_some_and(|stored| stored.fold.next > must);
            let is_late = reader.waits_until.is_some_and(|until| until < self.now);
            if is_late && !is_stored {
                // The pages are shown as they are.
                (reader.side, reader.applied) = (Side::Sent(None, Vec::new()), Vec::new());
            } else if !is_stored {
                return self.schedule(20_000, Event::History(number));
            }
        }
        let is_down = self.store_down_until > self.now;
        let fails = is_down || self.rng.chance(self.faults().store_failed);
        self.readers[number].tries += u32::from(fails);
        if self.readers[number].tries > TRIES_MAX {
            return;
        }
        if !fails && !self.next_page(number, shard) {
            return self.check_pages(number);
        }
        let wait = self.latency(self.swarm.store_micros);
        self.schedule(wait, Event::History(number));
    }

    /// Reads one page. False when it was the last.
    fn next_page(&mut self, number: usize, shard: ShardId) -> bool {
        let reader = &mut self.readers[number];
        let (user, since, until, limit) = (reader.user, reader.since, reader.until, reader.limit);
        let cursor = reader.cursor.take();
        let next = match &mut reader.side {
            Side::Sent(_, seen) => {
                let query = SentQuery { shard, user, since, until, cursor, limit };
                take(self.disk.page_sent(query), seen, limit)
            }
            Side::Received(_, seen) => {
                let query = ReceivedQuery { shard, user, since, until, cursor, limit };
                take(self.disk.page_received(query), seen, limit)
            }
        };
        reader.cursor = next;
        reader.cursor.is_some()
    }

    fn check_pages(&mut self, number: usize) {
        let reader = &self.readers[number];
        let (user, bounds) = (reader.user, (reader.since, reader.until));
        self.trace.note(self.now, || format!("somebody has read history of {user}: {reader:?}"));
        match &reader.side {
            Side::Sent(must, seen) => {
                let events = self.truth.check_sent(user, seen, *must, bounds);
                for place in &reader.applied {
                    let id = self.operations[*place].id;
                    let is_within = bounds == (None, None);
                    assert!(!is_within || events.contains(&id), "history of user {user} lacks {id}, which was applied");
                }
            }
            Side::Received(complete_until, seen) => {
                let is_steady = self.swarm.fencing == Fencing::ByPosition || self.swarm.has_steady_clocks;
                let must = is_steady.then_some(*complete_until);
                self.truth.check_received(user, seen, must, bounds);
            }
        }
    }

    /// Everything has settled and is stored: the pages of everybody are what the logs say.
    pub(crate) fn check_all_history(&mut self) {
        let users: Vec<UserId> = (1..=self.swarm.users).map(UserId).chain([crate::clients::PLATFORM]).collect();
        for user in users {
            let shard = self.shape.wallet_of(user);
            let last = self.truth.shard(shard).last();
            for side in [Side::Sent(Some(last), Vec::new()), Side::Received(Time(u64::MAX), Vec::new())] {
                let number = self.reader(user, side, Vec::new());
                (self.readers[number].since, self.readers[number].until) = (None, None);
                while self.next_page(number, shard) {}
                let reader = &self.readers[number];
                match &reader.side {
                    Side::Sent(must, seen) => drop(self.truth.check_sent(user, seen, *must, (None, None))),
                    Side::Received(until, seen) => self.truth.check_received(user, seen, Some(*until), (None, None)),
                }
            }
        }
    }
}

fn take<T>(page: Page<T>, seen: &mut Vec<T>, limit: usize) -> Option<Bytes> {
    assert!(page.items.len() <= limit, "I8 bounded: a page of {} where {limit} were asked for", page.items.len());
    assert!(page.next.is_none() || !page.items.is_empty(), "a page without items leads to another");
    seen.extend(page.items);
    page.next
}
