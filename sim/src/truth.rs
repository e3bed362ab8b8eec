//! What is true: a fold of the logs with rules of its own, against which everything that nodes say is checked.
//!
//! It sees every record at the moment it lands and never forgets one, whatever is truncated. Amounts are summed from
//! what was asked for; balances in events are only compared.

pub mod control;
pub mod history;
pub mod room;
pub mod rooms;
mod wallet;

use std::collections::BTreeMap;

use largesse_engine::codec;
use largesse_engine::event_id::EventId;
use largesse_engine::fold::Fold;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::record::{LogEntry, RecordHeader};
use largesse_engine::relay::RunningTotal;
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::store::{BalanceRow, Checkpoint, FlushBatch, ReceivedEntry};
use largesse_engine::units::{Amount, AssetId, Epoch, Position, RoomId, Seq, ShardId, ShardKind, Time, UserId};
use largesse_engine::wallet::books::{Books, RoomsSent};
use largesse_engine::wallet::event::{Direction, WalletEvent};

pub type Held = BTreeMap<AssetId, u64>;
pub type Sums = BTreeMap<AssetId, u128>;

pub struct Truth {
    shape: LedgerShape,
    pub shards: Vec<ShardTruth>,
    /// Deadline of each attempt, by the trace that it carries into its event.
    pub deadlines: Vec<Time>,
    /// Ids that were said to be in no event: no attempt among those made so far may succeed if its deadline lies before
    /// this time.
    pub finals: BTreeMap<(UserId, EventId), (Time, usize)>,
    pub control: control::ControlTruth,
    pub rooms: rooms::RoomsTruth,
    /// All that anybody ever got, but for recharges.
    received: BTreeMap<UserId, Vec<ReceivedEntry>>,
}

pub struct ShardTruth {
    shard: ShardId,
    epoch: Option<Epoch>,
    pub next: Seq,
    pub time: Time,
    balances: BTreeMap<(UserId, AssetId), u64>,
    /// All that a user held after each event that changed it.
    history: BTreeMap<UserId, Vec<(Seq, Held)>>,
    pub receipts: BTreeMap<(UserId, EventId), Event>,
    /// By destination: each event that sent something there, its record, and all that was ever sent up to it.
    sent: Vec<Vec<(Seq, Position, Sums)>>,
    /// By source.
    received: Vec<(Seq, Sums)>,
    issued: Sums,
    burned: Sums,
    /// By room shard: each gift that it was told of, and the record with it.
    told: Vec<Vec<(Position, rooms::ToldGift)>>,
    books: Books,
    /// Encoded, after each event; the first before any.
    books_after: Vec<Vec<u8>>,
    to_rooms: RoomsSent,
    to_rooms_after: Vec<Vec<u8>>,
    /// Who wrote each event.
    epochs: Vec<Epoch>,
    /// Before each position.
    folds: Vec<Fold>,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub seq: Seq,
    pub at: Time,
    pub event: WalletEvent,
    pub encoded: Vec<u8>,
}

impl Truth {
    pub fn new(shape: LedgerShape, limits: RoomLimits) -> Truth {
        let shards = shape.wallet_shards().map(|shard| ShardTruth::new(shard, shape)).collect();
        let (control, received) = Default::default();
        let rooms = rooms::RoomsTruth::new(shape, limits);
        Truth { shape, shards, deadlines: Vec::new(), finals: BTreeMap::new(), control, rooms, received }
    }

    pub fn shard(&self, shard: ShardId) -> &ShardTruth {
        assert_eq!(shard.kind, ShardKind::Wallet, "the others have truths of their own");
        &self.shards[usize::from(shard.index)]
    }

    /// A record landed. Returns what became of it, for the trace.
    pub fn land(&mut self, shard: ShardId, entry: &LogEntry) -> String {
        match shard.kind {
            ShardKind::Control => self.control.land(entry),
            ShardKind::Wallet => self.land_wallets(shard, entry),
            ShardKind::Room => self.rooms.land(shard, entry, &self.shards),
        }
    }

    fn land_wallets(&mut self, shard: ShardId, entry: &LogEntry) -> String {
        let place = usize::from(shard.index);
        let truth = &mut self.shards[place];
        assert_eq!(truth.folds.len() as u64, entry.position.get(), "positions are contiguous");
        truth.folds.push(Fold { epoch: truth.epoch, next: truth.next });
        let header = match entry.header {
            RecordHeader::Claim(claim) => {
                truth.epoch = Some(Epoch(entry.position.get()));
                return format!("claim of node {}", claim.node);
            }
            RecordHeader::Events(header) => header,
        };
        if truth.epoch != Some(header.epoch) || header.first != truth.next {
            return format!("not believed: epoch {} first {} count {}", header.epoch, header.first, header.count);
        }
        // A record without events may come late: nothing happened in it.
        let is_in_time = header.count == 0 || header.time >= truth.time;
        assert!(is_in_time, "the time of {shard} went back from {} to {}", truth.time, header.time);
        truth.time = truth.time.max(header.time);
        let mut rest = &entry.events[..];
        let mut told = format!("believed, epoch {} at {}:", header.epoch, header.time);
        for place_in_record in 0..u64::from(header.count) {
            let (event, used): (WalletEvent, usize) =
                codec::decode_front(rest).unwrap_or_else(|error| panic!("{shard} {}: {error}", entry.position));
            let seq = header.first.plus(place_in_record);
            told += &format!(" {seq}={}", wallet::short(&event));
            self.shards[place].epochs.push(header.epoch);
            self.apply(place, seq, header.time, entry.position, event, rest[..used].to_vec());
            rest = &rest[used..];
        }
        assert!(rest.is_empty(), "a record holds the events it says");
        told
    }

    fn apply(&mut self, place: usize, seq: Seq, at: Time, position: Position, event: WalletEvent, encoded: Vec<u8>) {
        self.check_attempt(&event, at);
        if let WalletEvent::CreditsApplied(applied) = &event {
            self.check_credits(place, seq, applied);
        }
        if let WalletEvent::GiftSent(gift) = &event {
            self.control.check_gift(gift);
        }
        let shape = self.shape;
        let truth = &mut self.shards[place];
        for (user, entry) in history::entries_of(truth.shard, seq, at, &event) {
            self.received.entry(user).or_default().push(entry);
        }
        truth.apply_money((seq, at), position, &event, shape);
        if let Some(key) = event.key() {
            let first = truth.receipts.insert(key, Event { seq, at, event: event.clone(), encoded });
            assert!(
                first.is_none(),
                "I3 once: {} of user {} happened at {} and again at {seq} of {}",
                key.1,
                key.0,
                first.map_or(Seq::NONE, |first| first.seq),
                truth.shard
            );
        }
        truth.books.apply(seq, &event, shape);
        truth.books_after.push(codec::encode(&truth.books));
        truth.to_rooms.apply(seq, &event, shape);
        truth.to_rooms_after.push(codec::encode(&truth.to_rooms));
        truth.next = seq.next();
        truth.check_conserved(seq);
    }

    /// Nothing happens past its deadline, or after it was said to be final that it did not.
    fn check_attempt(&self, event: &WalletEvent, at: Time) {
        let trace = match event {
            WalletEvent::GiftSent(gift) => gift.trace,
            WalletEvent::Recharged(recharge) => recharge.trace,
            WalletEvent::Transferred(transfer) => transfer.trace,
            WalletEvent::CreditsApplied(_) | WalletEvent::TransactionBound(_) => None,
        };
        let Some((trace, key)) = trace.zip(event.key()) else { return };
        let attempt = usize::try_from(u128::from_le_bytes(trace)).expect("attempts are few");
        let deadline = self.deadlines[attempt];
        assert!(at <= deadline, "attempt {attempt} was decided at {at}, past its deadline {deadline}");
        if let Some((said, attempts)) = self.finals.get(&key) {
            assert!(
                attempt >= *attempts || deadline >= *said,
                "I4 durable answers: {} of user {} was finally in no event at {said}, and attempt {attempt} with the \
                 deadline {deadline} made one at {at}",
                key.1,
                key.0
            );
        }
    }

    /// What was received is exactly what was sent.
    fn check_credits(&mut self, place: usize, seq: Seq, applied: &largesse_engine::wallet::event::CreditsApplied) {
        let mut brought = Sums::new();
        for source in &applied.sources {
            let from = usize::from(source.source);
            let sent = self.shards[from].sent_up_to(place, source.up_to);
            let (watermark, received) = &mut self.shards[place].received[from];
            assert!(source.up_to > *watermark, "a watermark goes forward");
            *watermark = source.up_to;
            for (asset, sum) in &source.sums {
                *received.entry(*asset).or_default() += u128::from(sum.get());
                *brought.entry(*asset).or_default() += u128::from(sum.get());
            }
            assert_eq!(
                (&sent, seq),
                (&*received, seq),
                "I1 conserved: what wallet-{from} sent to wallet-{place} up to {} and what arrived differ",
                source.up_to
            );
        }
        let mut credited = Sums::new();
        for credit in &applied.credits {
            *credited.entry(credit.asset).or_default() += u128::from(credit.amount.get());
        }
        assert_eq!(brought, credited, "I1 conserved: wallet-{place} {seq} credits what it received");
    }

    /// An acknowledgement rests on what is believed.
    pub fn check_acknowledged(&self, destination: ShardId, source: u16, watermark: Seq, received: &RunningTotal) {
        if destination.kind == ShardKind::Room {
            return self.rooms.check_acknowledged(destination, source, watermark, received);
        }
        let (up_to, _) = &self.shard(destination).received[usize::from(source)];
        assert!(
            watermark <= *up_to,
            "I4 durable answers: {destination} acknowledged wallet-{source} up to {watermark}, believed is {up_to}"
        );
        let sent = self.shards[usize::from(source)].sent_up_to(usize::from(destination.index), watermark);
        let received: Sums = received.iter().map(|(asset, sum)| (asset, *sum)).collect();
        assert_eq!(received, sent, "I1 conserved: {destination} acknowledged something else than was sent");
    }

    /// The log may be cut only below what the store and every destination have.
    pub fn check_truncation(&self, shard: ShardId, position: Position, stored: Option<&Checkpoint>) {
        let stored = stored.map_or(Position::START, |stored| stored.position);
        assert!(position <= stored, "{shard} was cut to {position}, and its checkpoint stands at {stored}");
        if shard.kind != ShardKind::Wallet {
            return;
        }
        let source = self.shard(shard);
        for (destination, sent) in source.sent.iter().enumerate() {
            let (watermark, _) = self.shards[destination].received[usize::from(shard.index)];
            let lost = sent.iter().find(|(seq, at, _)| *at < position && *seq > watermark);
            assert!(
                lost.is_none(),
                "I1 conserved: {shard} was cut to {position}, and wallet-{destination} has its events only up to \
                 {watermark}: {lost:?} is lost if the owner dies"
            );
        }
        for rooms in 0..usize::from(self.shape.room_shards()) {
            let watermark = self.rooms.watermark(rooms, shard);
            let lost = source.untold_before(rooms, position, watermark);
            assert!(lost.is_none(), "I7 counted: {shard} was cut to {position}, room-{rooms} is not told of {lost:?}");
        }
    }

    /// Every row that is written is what the log says.
    pub fn check_batch(&self, batch: &FlushBatch) {
        match batch.shard.kind {
            ShardKind::Control => return self.control.check_checkpoint(&batch.checkpoint),
            ShardKind::Room => return self.rooms.check_batch(batch),
            ShardKind::Wallet => {}
        }
        let truth = self.shard(batch.shard);
        for BalanceRow { user, asset, amount, seq } in &batch.balances {
            let held = truth.held_at(*user, *seq);
            let true_amount = held.get(asset).copied().unwrap_or_default();
            assert_eq!(
                (amount.get(), user),
                (true_amount, user),
                "I6 replay: the flusher of {} writes another balance of asset {asset} at {seq}",
                batch.shard
            );
        }
        for row in &batch.sent {
            let event = truth.receipts.get(&(row.user, row.id));
            let event = event.unwrap_or_else(|| panic!("the flusher writes event {} that is not believed", row.id));
            assert_eq!((event.seq, &event.encoded), (row.stored.seq, &row.stored.event), "a receipt is its event");
        }
        self.check_checkpoint(&batch.checkpoint);
    }

    /// I5 single writer: what an owner believes of its own is in the log, written by it and by nobody else.
    pub fn check_believed(&self, shard: ShardId, epoch: Epoch, recovered: Seq, certain: Seq) {
        let truth = self.shard(shard);
        assert!(certain <= truth.last(), "I5 single writer: {shard} believes {certain}, the log has {}", truth.last());
        if certain > recovered {
            let place = usize::try_from(certain.get() - 1).expect("events are few");
            let writer = truth.epochs[place];
            assert_eq!(writer, epoch, "I5 single writer: two owners of {shard} believe event {certain} to be theirs");
        }
    }

    /// I6 replay: an owner has the books of whoever folds the whole log.
    pub fn check_books(&self, shard: ShardId, last: Seq, books: &[u8]) {
        let place = usize::try_from(last.get()).expect("events are few");
        assert_eq!(self.shard(shard).books_after[place], books, "I6 replay: books of {shard} behind {last}");
    }

    pub fn check_checkpoint(&self, at: &Checkpoint) {
        let truth = self.shard(at.shard);
        assert!(at.relay_position <= at.position, "handing on begins before the checkpoint or at it");
        assert_eq!(truth.fold_before(at.position), at.fold, "I6 replay: fold of {} at {}", at.shard, at.position);
        let relay = truth.fold_before(at.relay_position);
        assert_eq!(relay, at.relay_fold, "I6 replay: relay fold of {} at {}", at.shard, at.relay_position);
        assert_eq!(
            truth.state_before(at.fold.next),
            at.state,
            "I6 replay: books of {} before {}",
            at.shard,
            at.fold.next
        );
    }

    /// I1 conserved, over all shards.
    pub fn check_conserved(&self) {
        let mut difference: BTreeMap<AssetId, i128> = BTreeMap::new();
        let signed = |sum: u128| i128::try_from(sum).expect("all money fits");
        for shard in &self.shards {
            let add = |into: &mut BTreeMap<AssetId, i128>, sums: &Sums, sign: i128| {
                for (asset, sum) in sums {
                    *into.entry(*asset).or_default() += sign * signed(*sum);
                }
            };
            add(&mut difference, &shard.issued, 1);
            add(&mut difference, &shard.burned, -1);
            for ((_, asset), amount) in &shard.balances {
                *difference.entry(*asset).or_default() -= i128::from(*amount);
            }
            for (destination, sent) in shard.sent.iter().enumerate() {
                let received = &self.shards[destination].received[usize::from(shard.shard.index)].1;
                if let Some((_, _, sent)) = sent.last() {
                    add(&mut difference, sent, -1);
                }
                add(&mut difference, received, 1);
            }
        }
        assert!(difference.values().all(|sum| *sum == 0), "I1 conserved: off by {difference:?}");
    }

    /// What gifts debited in each room.
    pub fn given(&self) -> BTreeMap<RoomId, Sums> {
        let mut given: BTreeMap<RoomId, Sums> = BTreeMap::new();
        for shard in &self.shards {
            for rooms in 0..usize::from(self.shape.room_shards()) {
                for gift in shard.told(rooms, Seq::NONE, shard.last()) {
                    *given.entry(gift.like.room).or_default().entry(gift.like.asset).or_default() +=
                        u128::from(gift.value);
                }
            }
        }
        given
    }

    /// Whether everything that was sent has arrived.
    pub fn has_arrived(&self) -> bool {
        self.shards.iter().all(|source| {
            source.sent.iter().enumerate().all(|(destination, sent)| {
                let watermark = self.shards[destination].received[usize::from(source.shard.index)].0;
                sent.last().is_none_or(|(seq, _, _)| *seq <= watermark)
            }) && (0..usize::from(self.shape.room_shards()))
                .all(|rooms| source.last_told(rooms) <= self.rooms.watermark(rooms, source.shard))
        })
    }
}
