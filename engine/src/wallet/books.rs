//! The sums of one wallet shard, which prove that nothing was lost or doubled.
//!
//! They are folded from events alone, by the shard and by its flusher, and travel in the checkpoint.

use bincode::{Decode, Encode};

use crate::codec;
use crate::ledger::LedgerShape;
use crate::machine::Impossible;
use crate::per_asset::PerAsset;
use crate::relay::RunningTotal;
use crate::units::{Amount, AssetId, Seq};
use crate::wallet::event::{Direction, WalletEvent};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Books {
    totals: PerAsset<Totals>,
    /// By index of the source shard: what came from it.
    received: Vec<Neighbour>,
    /// By index of the destination shard: what was sent to it.
    sent: Vec<Neighbour>,
}

/// What one wallet shard told the room shards, by their index: gifts, and what those debited. It moves no money, so it is
/// no part of the sums that prove that none was lost.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RoomsSent(Vec<Neighbour>);

/// What went over one relay so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Neighbour {
    /// The source's last event with a credit in it.
    pub up_to: Seq,
    pub total: RunningTotal,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Totals {
    pub issued: u128,
    pub burned: u128,
    pub sent: u128,
    pub received: u128,
    /// Σ balances of this shard.
    pub balances: u128,
}

impl Totals {
    /// I1 conserved, for one shard: Σ balances = issued − burned − sent + received.
    pub fn is_conserved(&self) -> bool {
        self.balances + self.burned + self.sent == self.issued + self.received
    }

    /// The difference between the two sides: 0, always.
    pub fn imbalance(&self) -> u128 {
        (self.balances + self.burned + self.sent).abs_diff(self.issued + self.received)
    }

    /// What is outstanding of everything that this shard issued and burned; burning may be ahead of issuing.
    pub fn outstanding(&self) -> u128 {
        self.issued.saturating_sub(self.burned)
    }
}

impl Books {
    pub fn new(shape: LedgerShape) -> Books {
        let neighbours = vec![Neighbour::default(); usize::from(shape.wallet_shards)];
        Books { totals: PerAsset::default(), received: neighbours.clone(), sent: neighbours }
    }

    pub fn totals(&self) -> impl Iterator<Item = (AssetId, &Totals)> {
        self.totals.iter()
    }

    pub fn totals_of(&self, asset: AssetId) -> Totals {
        self.totals.get(asset).copied().unwrap_or_default()
    }

    pub fn received_from(&self, source: u16) -> &Neighbour {
        &self.received[usize::from(source)]
    }

    pub fn sent_to(&self, destination: u16) -> &Neighbour {
        &self.sent[usize::from(destination)]
    }

    /// What was sent to each wallet shard.
    pub fn sent(&self) -> impl Iterator<Item = &Neighbour> {
        self.sent.iter()
    }

    pub fn shards(&self) -> usize {
        self.sent.len()
    }

    /// Whether `amount` more may be issued here: all shards together stay below the largest amount there is.
    pub fn can_issue(&self, asset: AssetId, amount: Amount) -> bool {
        let limit = u128::from(Amount::MAX.get()) / self.sent.len() as u128;
        self.totals_of(asset).outstanding() + u128::from(amount.get()) <= limit
    }

    pub fn apply(&mut self, seq: Seq, event: &WalletEvent, shape: LedgerShape) {
        event.for_each_change(|change| {
            let amount = u128::from(change.amount.get());
            let totals = self.totals.entry(change.asset);
            match change.direction {
                Direction::Credit => totals.balances += amount,
                Direction::Debit => totals.balances -= amount,
            }
        });
        let (all, sent) = (&mut self.totals, &mut self.sent);
        event.for_each_remote(|credit| {
            let amount = u128::from(credit.amount.get());
            all.entry(credit.asset).sent += amount;
            let neighbour = &mut sent[usize::from(shape.wallet_of(credit.user).index)];
            neighbour.up_to = seq;
            *neighbour.total.entry(credit.asset) += amount;
        });
        self.apply_issue(event);
        self.check(seq);
    }

    /// What an event makes out of nothing, takes away for good, or brings in from a neighbour.
    fn apply_issue(&mut self, event: &WalletEvent) {
        match event {
            WalletEvent::GiftSent(gift) => {
                if let Some(points) = gift.points {
                    self.totals.entry(points.asset).issued += u128::from(points.amount.get());
                }
            }
            WalletEvent::Recharged(recharge) => {
                self.totals.entry(recharge.said.asset).issued += u128::from(recharge.said.amount.get());
            }
            WalletEvent::Transferred(transfer) => {
                for (asset, (debits, credits)) in transfer.said.sums().iter() {
                    let totals = self.totals.entry(asset);
                    totals.issued += credits.saturating_sub(*debits);
                    totals.burned += debits.saturating_sub(*credits);
                }
            }
            WalletEvent::CreditsApplied(applied) => {
                for source in &applied.sources {
                    let neighbour = &mut self.received[usize::from(source.source)];
                    neighbour.up_to = source.up_to;
                    for &(asset, sum) in &source.sums {
                        let sum = u128::from(sum.get());
                        *neighbour.total.entry(asset) += sum;
                        self.totals.entry(asset).received += sum;
                    }
                }
            }
            WalletEvent::TransactionBound(_) => {}
        }
    }

    fn check(&self, seq: Seq) {
        for (asset, totals) in self.totals.iter() {
            assert!(totals.is_conserved(), "I1 conserved: asset {asset} does not add up at event {seq}: {totals:?}");
        }
    }
}

impl RoomsSent {
    pub fn new(shape: LedgerShape) -> RoomsSent {
        RoomsSent(vec![Neighbour::default(); usize::from(shape.room_shards())])
    }

    pub fn apply(&mut self, seq: Seq, event: &WalletEvent, shape: LedgerShape) {
        if let WalletEvent::GiftSent(gift) = event {
            let neighbour = &mut self.0[usize::from(shape.room_of(gift.said.room).index)];
            neighbour.up_to = seq;
            *neighbour.total.entry(gift.asset) += u128::from(gift.total().get());
        }
    }

    /// What was sent to each room shard.
    pub fn sent(&self) -> impl Iterator<Item = &Neighbour> {
        self.0.iter()
    }
}

/// The state of a checkpoint: the books, and behind them what rooms were told.
pub fn encode_state(books: &Books, to_rooms: &RoomsSent) -> Vec<u8> {
    let mut state = codec::encode(books);
    codec::encode_into(to_rooms, &mut state);
    state
}

/// Versions before there were rooms wrote the books alone: then rooms were told nothing yet.
pub fn restored(state: &[u8], shape: LedgerShape) -> Result<(Books, RoomsSent), Impossible> {
    let impossible = |error: codec::Undecodable| Impossible(error.to_string());
    let (books, used) = codec::decode_front::<Books>(state).map_err(impossible)?;
    let to_rooms = match &state[used..] {
        [] => RoomsSent::new(shape),
        rest => codec::decode(rest).map_err(impossible)?,
    };
    Ok((books, to_rooms))
}
