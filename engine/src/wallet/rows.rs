//! A wallet shard's events as the rows of its store: balances, own history, and what others received.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::codec;
use crate::flush::{Rows, front};
use crate::ledger::LedgerShape;
use crate::machine::Impossible;
use crate::store::{
    BalanceRow, Checkpoint, FlushBatch, HistorySlot, ReceivedEntry, ReceivedKind, ReceivedRow, SentRow, StoredEvent,
};
use crate::units::{Amount, AssetId, Seq, ShardId, Time, UserId};
use crate::wallet::books::Books;
use crate::wallet::event::WalletEvent;

/// Most entries in one packed row.
const ROW_ENTRIES_MAX: usize = 512;

pub struct WalletRows {
    shard: ShardId,
    shape: LedgerShape,
    books: Books,
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
            balances: HashMap::default(),
            sent: Vec::new(),
            received: BTreeMap::new(),
        }
    }

    fn receive(&mut self, user: UserId, spread: u8, entry: ReceivedEntry) {
        let key = (self.shape.wallet_of(user), user, HistorySlot::of(entry.at), spread);
        self.received.entry(key).or_default().push(entry);
    }

    /// History of those who got something; credits that came over a relay were entered by their source.
    fn receive_all(&mut self, seq: Seq, at: Time, event: &WalletEvent) {
        let source = self.shard;
        match event {
            WalletEvent::GiftSent(gift) => {
                let said = &gift.said;
                let kind = ReceivedKind::Gift { room: said.room, gift: said.gift, count: said.count.get() };
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
            self.books = codec::decode(&checkpoint.state).map_err(|error| Impossible(error.to_string()))?;
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
            for entries in entries.chunks(ROW_ENTRIES_MAX) {
                let (first, last) = (entries[0].seq, entries[entries.len() - 1].seq);
                let (source, entries) = (self.shard, entries.to_vec());
                batch.received.push(ReceivedRow { user, shard, slot, spread, source, first, last, entries });
            }
        }
        batch.checkpoint.state = codec::encode(&self.books);
    }
}
