//! The store against the log: balances, sums and positions of a checkpoint, and the receipts before it.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};

use super::fold::WalletFold;
use super::pairs::{Pairs, Sums, add, show};
use super::report::{Place, Problems};
use crate::codec::{self, Few, Undecodable};
use crate::event_id::EventId;
use crate::fold::Fold;
use crate::store::{BalanceRow, Checkpoint, Store, StoreError, StoredEvent};
use crate::units::{Amount, AssetId, Seq, ShardId, Time, UserId};

/// The sums in a checkpoint, read by a description of their bytes that is the audit's own.
#[derive(Debug, Encode, Decode)]
pub(super) struct StoredBooks {
    totals: Few<(AssetId, StoredTotals)>,
    received: Vec<StoredNeighbour>,
    sent: Vec<StoredNeighbour>,
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
struct StoredTotals {
    issued: u128,
    burned: u128,
    sent: u128,
    received: u128,
    balances: u128,
}

#[derive(Debug, Encode, Decode)]
struct StoredNeighbour {
    up_to: Seq,
    total: Few<(AssetId, u128)>,
}

impl StoredBooks {
    pub fn decode(state: &[u8]) -> Result<StoredBooks, Undecodable> {
        // What follows is about rooms, which hold no money.
        codec::decode_front(state).map(|(books, _)| books)
    }

    pub fn sent_to(&self, destination: u16) -> (Option<Sums>, Seq) {
        sums_of(&self.sent, destination)
    }

    pub fn received_from(&self, source: u16) -> (Option<Sums>, Seq) {
        sums_of(&self.received, source)
    }

    pub fn totals(&self) -> BTreeMap<AssetId, super::fold::Totals> {
        self.totals
            .iter()
            .map(|(asset, stored)| {
                let StoredTotals { issued, burned, sent, received, balances } = *stored;
                (*asset, super::fold::Totals { issued, burned, sent, received, balances })
            })
            .collect()
    }
}

fn sums_of(neighbours: &[StoredNeighbour], index: u16) -> (Option<Sums>, Seq) {
    let Some(neighbour) = neighbours.get(usize::from(index)) else { return (None, Seq::NONE) };
    let mut sums = Sums::new();
    neighbour.total.iter().for_each(|(asset, sum)| add(&mut sums, *asset, *sum));
    (Some(sums), neighbour.up_to)
}

/// Rows of balances that are read at once.
const ROWS_AT_ONCE: usize = 4_096;

/// Balances as they are at a checkpoint, for a shard whose log begins there. Returns how many rows there are.
pub(super) async fn load_balances(
    store: &dyn Store,
    shard: ShardId,
    fold: &mut WalletFold,
    checkpoint: &Checkpoint,
    problems: &mut Problems,
) -> Result<u64, StoreError> {
    let mut after = None;
    let mut loaded = 0;
    loop {
        let rows = store.scan_balances(shard, after, ROWS_AT_ONCE).await?;
        let Some(last) = rows.last() else { return Ok(loaded) };
        loaded += rows.len() as u64;
        after = Some((last.user, last.asset));
        for row in rows {
            if row.amount > Amount::MAX {
                let what = format_args!("stored balance of user {}, asset {}", row.user, row.asset);
                problems.add(Place::of(shard), what, format_args!("at most {}", Amount::MAX), row.amount);
            }
            // A row that is ahead of its checkpoint says nothing about the balance there.
            fold.adopt(&row, row.seq < checkpoint.fold.next);
        }
    }
}

/// Compares the state of the store at a checkpoint with what the log says there. Returns how many rows were compared.
#[allow(clippy::too_many_arguments, reason = "called from one place, and each is another thing")]
pub(super) async fn compare(
    store: &dyn Store,
    checkpoint: &Checkpoint,
    at: Place,
    chain: (Fold, Time),
    fold: &mut WalletFold,
    pairs: &Pairs,
    shards: u16,
    problems: &mut Problems,
) -> Result<u64, StoreError> {
    if (checkpoint.fold, checkpoint.time) != chain {
        let show = |fold: Fold, time: Time| {
            let epoch = fold.epoch.map_or("none".into(), |epoch| epoch.to_string());
            format!("next event {}, epoch {epoch}, time {time}", fold.next)
        };
        let (expected, found) = (show(chain.0, chain.1), show(checkpoint.fold, checkpoint.time));
        problems.add(at, "stand of the checkpoint", expected, found);
    }
    match StoredBooks::decode(&checkpoint.state) {
        Ok(books) => compare_books(&books, at, fold, pairs, shards, problems),
        Err(error) => problems.add(at, "state of the checkpoint", "sums that can be read", error),
    }
    let mut after = None;
    let mut compared = 0;
    loop {
        let rows = store.scan_balances(at.shard, after, ROWS_AT_ONCE).await?;
        let Some(last) = rows.last() else { break };
        after = Some((last.user, last.asset));
        compared += rows.len() as u64;
        for row in &rows {
            compare_row(row, at, chain.0.next, fold, problems);
        }
    }
    fold.for_each_unseen(|user, asset, amount| {
        let what = format_args!("stored balance of user {user}, asset {asset}");
        problems.add(at, what, amount, "no row");
    });
    Ok(compared)
}

fn compare_row(row: &BalanceRow, at: Place, next: Seq, fold: &mut WalletFold, problems: &mut Problems) {
    let what = format!("stored balance of user {}, asset {}", row.user, row.asset);
    match fold.see(row.user, row.asset) {
        // Written ahead of its checkpoint by a flusher that did not get to write that: looked at when its event comes.
        _ if row.seq >= next => fold.ahead.push(*row),
        Some((_, _, true)) => {}
        Some((amount, seq, false)) if (amount, seq) != (row.amount.get(), row.seq) => {
            let (expected, found) =
                (format!("{amount} of event {seq}"), format!("{} of event {}", row.amount, row.seq));
            problems.add(at, what, expected, found);
        }
        Some(_) => {}
        None => problems.add(at, what, "no row", format_args!("{} of event {}", row.amount, row.seq)),
    }
}

fn compare_books(
    books: &StoredBooks,
    at: Place,
    fold: &WalletFold,
    pairs: &Pairs,
    shards: u16,
    problems: &mut Problems,
) {
    let mut stored = books.totals();
    for (asset, totals) in &fold.totals {
        let found = stored.remove(asset).unwrap_or_default();
        if found != *totals {
            let what = format_args!("sums of the checkpoint, asset {asset}");
            problems.add(at, what, format_args!("{totals:?}"), format_args!("{found:?}"));
        }
    }
    for (asset, found) in stored.into_iter().filter(|(_, totals)| *totals != Default::default()) {
        problems.add(at, format_args!("sums of the checkpoint, asset {asset}"), "none", format_args!("{found:?}"));
    }
    let index = at.shard.index;
    for other in 0..shards {
        let sides = [
            ("sent to", pairs.sent(index, other), books.sent_to(other)),
            ("received from", pairs.received(other, index), books.received_from(other)),
        ];
        for (what, own, (found, up_to)) in sides {
            let Some((sums, reached)) = own else { continue };
            let found = found.unwrap_or_default();
            if (&sums, reached) != (&found, up_to) {
                let what = format_args!("total of the checkpoint {what} wallet-{other}");
                let expected = format!("{} up to event {reached}", show(&sums));
                problems.add(at, what, expected, format_args!("{} up to event {up_to}", show(&found)));
            }
        }
    }
}

/// Receipts that the store must have, looked up many at a time.
#[derive(Debug, Default)]
pub(super) struct Receipts {
    wanted: Vec<(Place, (UserId, EventId), StoredEvent)>,
    pub compared: u64,
}

const RECEIPTS_AT_ONCE: usize = 256;

impl Receipts {
    pub fn want(&mut self, at: Place, key: (UserId, EventId), stored: StoredEvent) {
        self.wanted.push((at, key, stored));
    }

    pub fn is_full(&self) -> bool {
        self.wanted.len() >= RECEIPTS_AT_ONCE
    }

    pub async fn compare(
        &mut self,
        store: &dyn Store,
        shard: ShardId,
        problems: &mut Problems,
    ) -> Result<(), StoreError> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let keys = self.wanted.iter().map(|(_, key, _)| *key).collect();
        let rows = store.load_receipts(shard, keys).await?;
        for ((at, (user, id), expected), found) in self.wanted.drain(..).zip(rows) {
            self.compared += 1;
            let what = format!("stored receipt of user {user}, id {id}");
            match found {
                Some(found) if found == expected => {}
                Some(found) if (found.shard, found.seq) != (expected.shard, expected.seq) => {
                    let found = format!("event {} of {}", found.seq, found.shard);
                    problems.add(at, what, format_args!("event {} of {}", expected.seq, expected.shard), found);
                }
                Some(_) => problems.add(at, what, "the event as it is in the log", "other bytes or another time"),
                None => problems.add(at, what, "a row", "none"),
            }
        }
        Ok(())
    }
}
