//! A wallet shard's events as the rows of its store: balances, own history, and what others received.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::flush::{Rows, front};
use crate::ledger::LedgerShape;
use crate::machine::Impossible;
use crate::sabotage::{self, Rule};
use crate::store::{
    BalanceRow, Checkpoint, FlushBatch, HistorySlot, ReceivedEntry, ReceivedKind, ReceivedRow, SentRow, StoredEvent,
};
use crate::units::{Amount, AssetId, Seq, ShardId, Time, UserId};
use crate::wallet::books::{self, Books, RoomsSent};
use crate::wallet::event::WalletEvent;

/// Most entries in one packed row, unless a single event has more.
const ROW_ENTRIES_MAX: usize = 512;

pub struct WalletRows {
    shard: ShardId,
    shape: LedgerShape,
    books: Books,
    to_rooms: RoomsSent,
    balances: HashMap<(UserId, AssetId), (Amount, Seq), foldhash::fast::RandomState>,
    sent: Vec<SentRow>,
    received: BTreeMap<(ShardId, UserId, HistorySlot, u8), Vec<ReceivedEntry>>,
}

impl WalletRows {
    pub fn new(shard: ShardId, shape: LedgerShape) -> WalletRows {
        WalletRows {
            shard,
            shape,
            books: Books::new(shape),
            to_rooms: RoomsSent::new(shape),
            balances: HashMap::default(),
            sent: Vec::new(),
            received: BTreeMap::new(),
        }
    }

    fn receive(&mut self, user: UserId, spread: u8, entry: ReceivedEntry) {
        let key = (self.shape.wallet_of(user), user, HistorySlot::of(entry.at), spread);
        let entries = self.received.entry(key).or_default();
        if entries.len() == 1 && sabotage::is(Rule::ReceiverHistory) {
            return;
        }
        entries.push(entry);
    }

    /// History of those who got something; credits that came over a relay were entered by their source.
    fn receive_all(&mut self, seq: Seq, at: Time, event: &WalletEvent) {
        let source = self.shard;
        match event {
            WalletEvent::GiftSent(gift) => {
                let said = &gift.said;
                let (room, gift_id, count) = (said.room, said.gift, said.count.get());
                let kind = if said.anonymous {
                    ReceivedKind::AnonymousGift { room, gift: gift_id, count }
                } else {
                    ReceivedKind::Gift { room, gift: gift_id, count }
                };
                for credit in &gift.credits {
                    let (id, sender, asset, amount) = (said.id, said.sender, gift.asset, credit.amount);
                    let entry = ReceivedEntry { source, seq, at, id, kind, sender, asset, amount };
                    self.receive(gift.payee(credit), credit.spread, entry);
                }
            }
            WalletEvent::Transferred(transfer) => {
                let said = &transfer.said;
                for credit in &said.credits {
                    let (id, sender, asset, amount) = (said.id, said.user, credit.asset, credit.amount);
                    let kind = ReceivedKind::Transfer;
                    self.receive(credit.user, 0, ReceivedEntry { source, seq, at, id, kind, sender, asset, amount });
                }
            }
            WalletEvent::Recharged(_) | WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => {}
        }
    }
}

impl Rows for WalletRows {
    fn restore(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Impossible> {
        if let Some(checkpoint) = checkpoint {
            (self.books, self.to_rooms) = books::restored(&checkpoint.state, self.shape)?;
        }
        Ok(())
    }

    fn take(&mut self, seq: Seq, at: Time, events: &[u8]) -> Result<usize, Impossible> {
        let (event, used) = front::<WalletEvent>(self.shard, seq, events)?;
        let balances = &mut self.balances;
        event.for_each_change(|change| {
            balances.insert((change.user, change.asset), (change.balance, seq));
        });
        if let Some((user, id)) = event.key() {
            let stored = StoredEvent { shard: self.shard, seq, at, event: events[..used].to_vec() };
            self.sent.push(SentRow { user, id, stored });
        }
        self.receive_all(seq, at, &event);
        self.books.apply(seq, &event, self.shape);
        self.to_rooms.apply(seq, &event, self.shape);
        Ok(used)
    }

    fn finish(&mut self, batch: &mut FlushBatch) {
        batch.balances = self
            .balances
            .drain()
            .map(|((user, asset), (amount, seq))| BalanceRow { user, asset, amount, seq })
            .collect();
        batch.balances.sort_unstable();
        batch.sent = std::mem::take(&mut self.sent);
        batch.sent.sort_unstable_by_key(|row| (row.user, row.id.stored_as(row.stored.at)));
        for ((shard, user, slot, spread), entries) in std::mem::take(&mut self.received) {
            for entries in packed(&entries) {
                let (first, last) = (entries[0].seq, entries[entries.len() - 1].seq);
                let source = self.shard;
                batch.received.push(ReceivedRow { user, shard, slot, spread, source, first, last, entries });
            }
        }
        batch.checkpoint.state = books::encode_state(&self.books, &self.to_rooms);
    }
}

/// Cut into rows at borders of events: a reader takes an event from one row only, since two flushers may have written it.
fn packed(entries: &[ReceivedEntry]) -> Vec<Vec<ReceivedEntry>> {
    let mut rows: Vec<Vec<ReceivedEntry>> = Vec::new();
    for event in entries.chunk_by(|one, next| one.seq == next.seq) {
        match rows.last_mut().filter(|row| row.len() + event.len() <= ROW_ENTRIES_MAX) {
            Some(row) => row.extend_from_slice(event),
            None => rows.push(event.to_vec()),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::event_id::EventId;
    use crate::fold::Fold;
    use crate::units::Position;
    use crate::wallet::command::{TransferCredit, TransferSaid};
    use crate::wallet::event::Transferred;

    /// Issues so many assets to user 7, one unit of each for every event so far.
    fn transfer(number: u64, assets: u16) -> WalletEvent {
        let one = Amount::new(1).unwrap();
        let credits = (1..=assets).map(|asset| TransferCredit { user: UserId(7), asset: AssetId(asset), amount: one });
        let id = EventId::hashed("test", &[&number.to_string()]);
        let (debits, reference) = Default::default();
        let said = TransferSaid { id, key: None, user: UserId(1), debits, credits: credits.collect(), reference };
        let credited = (0..assets).map(|_| Amount::new(number)).collect();
        WalletEvent::Transferred(Transferred { said, debited: Default::default(), credited, trace: None })
    }

    #[test]
    fn an_event_lies_in_one_row_however_many_rows_a_flush_fills() {
        let mut rows = WalletRows::new(ShardId::wallet(0), LedgerShape::new(1));
        for number in 1..=1_000 {
            // An odd number of entries, so that a border by count alone would fall into an event.
            let event = codec::encode(&transfer(number, 3));
            rows.take(Seq(number), Time(5), &event).unwrap();
        }
        let checkpoint = Checkpoint {
            shard: ShardId::wallet(0),
            position: Position(1),
            relay_position: Position(1),
            relay_fold: Fold::default(),
            fold: Fold::default(),
            time: Time(5),
            state: Vec::new(),
        };
        let mut batch = FlushBatch::new(checkpoint);
        rows.finish(&mut batch);
        assert!(batch.received.len() > 3 && batch.received.iter().all(|row| row.entries.len() <= ROW_ENTRIES_MAX));
        assert_eq!(batch.received.iter().map(|row| row.entries.len()).sum::<usize>(), 3_000);
        let borders: Vec<_> = batch.received.iter().map(|row| (row.first, row.last)).collect();
        assert!(borders.is_sorted_by(|one, next| one.1 < next.0), "rows that share an event: {borders:?}");
    }
}
