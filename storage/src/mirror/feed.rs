//! What was flushed and is not in Redis yet. Putting something in never waits; what does not fit is forgotten, and read
//! from the store again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use largesse_engine::store::{BalanceRow, FlushBatch};
use largesse_engine::units::{Amount, AssetId, Seq, ShardId, ShardKind, UserId};
use tokio::sync::Notify;

use super::entry::AsOf;

pub(super) struct Feed {
    rows_max: usize,
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

/// By shard, the newest of each account.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub shards: BTreeMap<ShardId, News>,
    /// Something was forgotten.
    pub is_lost: bool,
    /// Since when the oldest of it waits.
    pub since: Option<Instant>,
    rows: usize,
}

/// What one shard's flushes changed.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Of the last flush.
    pub as_of: AsOf,
    pub balances: BTreeMap<(UserId, AssetId), (Amount, Seq)>,
    /// Of the control shard: its whole state.
    pub state: Option<Vec<u8>>,
}

impl News {
    /// What of a batch is to be mirrored; of rooms nothing is.
    pub fn of(batch: &FlushBatch) -> Option<News> {
        if batch.shard.kind == ShardKind::Room {
            return None;
        }
        let checkpoint = &batch.checkpoint;
        let as_of = AsOf { at: checkpoint.time, seq: Seq(checkpoint.fold.next.get() - 1) };
        let row = |row: &BalanceRow| ((row.user, row.asset), (row.amount, row.seq));
        let state = (batch.shard == ShardId::CONTROL).then(|| checkpoint.state.clone());
        Some(News { as_of, balances: batch.balances.iter().map(row).collect(), state })
    }

    /// Lays what is newer over this.
    fn update(&mut self, newer: News) {
        self.as_of = self.as_of.max(newer.as_of);
        for (account, (amount, seq)) in newer.balances {
            let row = self.balances.entry(account).or_insert((amount, seq));
            if seq >= row.1 {
                *row = (amount, seq);
            }
        }
        if newer.state.is_some() {
            self.state = newer.state;
        }
    }
}

impl Feed {
    pub fn new(rows_max: usize) -> Feed {
        Feed { rows_max, waiting: Mutex::default(), arrived: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here can be left half done in a way that a refresh would not mend.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, shard: ShardId, news: News) {
        let mut waiting = self.lock();
        waiting.add(shard, news, self.rows_max);
        waiting.tell();
        drop(waiting);
        self.arrived.notify_one();
    }

    /// Everything that waits; empty afterwards.
    pub fn take(&self) -> Waiting {
        let mut waiting = self.lock();
        let taken = std::mem::take(&mut *waiting);
        waiting.tell();
        taken
    }

    /// What was taken, waits since then, and could not be written. What has come meanwhile is newer.
    pub fn give_back(&self, since: Option<Instant>, taken: impl Iterator<Item = (ShardId, News)>) {
        let mut waiting = self.lock();
        let newer = std::mem::take(&mut *waiting);
        waiting.is_lost = newer.is_lost;
        waiting.since = since.or(newer.since);
        for (shard, news) in taken.chain(newer.shards) {
            waiting.add(shard, news, self.rows_max);
        }
        waiting.tell();
    }

    /// Says in the metrics how much waits, and for how long.
    pub fn tell(&self) {
        self.lock().tell();
    }

    /// Resolves when something waits, at once if it does already.
    pub async fn arrived(&self) {
        loop {
            let told = self.arrived.notified();
            if !self.lock().is_empty() {
                return;
            }
            told.await;
        }
    }
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty() && !self.is_lost
    }

    fn add(&mut self, shard: ShardId, news: News, rows_max: usize) {
        let merged = self.shards.entry(shard).or_default();
        self.rows -= merged.balances.len();
        merged.update(news);
        self.rows += merged.balances.len();
        self.since.get_or_insert_with(Instant::now);
        if self.rows > rows_max {
            // States are few and small; of balances the store has all, and newer ones.
            self.is_lost = true;
            self.rows = 0;
            self.shards.retain(|_, news| news.state.is_some());
            metrics::counter!("largesse_mirror_overflows_total").increment(1);
        }
    }

    fn tell(&self) {
        metrics::gauge!("largesse_mirror_waiting_rows").set(self.rows as f64);
        let age = self.since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        metrics::gauge!("largesse_mirror_lag_seconds").set(age);
    }
}

#[cfg(test)]
mod tests {
    use largesse_engine::units::Time;

    use super::*;
    use crate::conformance::store::Batch;

    #[test]
    fn rooms_are_no_news() {
        let of = |shard| {
            let mut batch = Batch::upto(9).0;
            (batch.shard, batch.checkpoint.shard) = (shard, shard);
            News::of(&batch)
        };
        assert!(of(ShardId::wallet(3)).is_some());
        assert!(of(ShardId::CONTROL).is_some_and(|news| news.state.is_some()));
        assert!(of(ShardId::room(3)).is_none());
    }

    fn news(at: u64, rows: &[(u64, u64, u64)]) -> News {
        let row = |&(user, amount, seq): &(u64, u64, u64)| {
            ((UserId(user), AssetId(1)), (Amount::new(amount).unwrap(), Seq(seq)))
        };
        let as_of = AsOf { at: Time(at), seq: Seq(rows.iter().map(|row| row.2).max().unwrap_or(0)) };
        News { as_of, balances: rows.iter().map(row).collect(), state: None }
    }

    fn amounts(waiting: &Waiting) -> Vec<(u64, u64)> {
        let rows = waiting.shards.values().flat_map(|news| &news.balances);
        rows.map(|((user, _), (amount, _))| (user.get(), amount.get())).collect()
    }

    #[test]
    fn only_the_newest_of_an_account_waits() {
        let feed = Feed::new(10);
        feed.push(ShardId::wallet(0), news(1, &[(1, 10, 1), (2, 20, 2)]));
        feed.push(ShardId::wallet(0), news(2, &[(1, 5, 3)]));
        let taken = feed.take();
        assert_eq!(amounts(&taken), [(1, 5), (2, 20)]);
        assert_eq!(taken.shards[&ShardId::wallet(0)].as_of, AsOf { at: Time(2), seq: Seq(3) });
        assert!(feed.take().is_empty());
    }

    #[test]
    fn what_could_not_be_written_waits_again_behind_what_is_newer() {
        let feed = Feed::new(10);
        feed.push(ShardId::wallet(0), news(1, &[(1, 10, 1), (2, 20, 2)]));
        let taken = feed.take();
        feed.push(ShardId::wallet(0), news(2, &[(1, 5, 3)]));
        feed.give_back(taken.since, taken.shards.into_iter());
        assert_eq!(amounts(&feed.take()), [(1, 5), (2, 20)]);
    }

    #[test]
    fn what_does_not_fit_is_forgotten_and_said_to_be() {
        let feed = Feed::new(2);
        feed.push(ShardId::wallet(0), news(1, &[(1, 10, 1), (2, 20, 2)]));
        feed.push(ShardId::wallet(1), news(1, &[(3, 30, 1)]));
        let taken = feed.take();
        assert!(taken.is_lost && taken.shards.is_empty());
        feed.push(ShardId::wallet(1), news(2, &[(3, 31, 2)]));
        assert_eq!(amounts(&feed.take()), [(3, 31)], "and it goes on afterwards");
    }
}
