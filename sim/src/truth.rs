//! What is true: a fold of the logs with rules of its own, against which everything that nodes say is checked.
//!
//! It sees every record at the moment it lands and never forgets one, whatever is truncated. Amounts are summed from
//! what was asked for; balances in events are only compared.

pub mod control;
pub mod history;

use std::collections::BTreeMap;

use largesse_engine::codec;
use largesse_engine::event_id::EventId;
use largesse_engine::fold::Fold;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::record::{LogEntry, RecordHeader};
use largesse_engine::relay::RunningTotal;
use largesse_engine::store::{BalanceRow, Checkpoint, FlushBatch, ReceivedEntry};
use largesse_engine::units::{Amount, AssetId, Epoch, Position, Seq, ShardId, Time, UserId};
use largesse_engine::wallet::books::Books;
use largesse_engine::wallet::event::{Direction, WalletEvent};

pub type Held = BTreeMap<AssetId, u64>;
type Sums = BTreeMap<AssetId, u128>;

pub struct Truth {
    shape: LedgerShape,
    pub shards: Vec<ShardTruth>,
    /// Deadline of each attempt, by the trace that it carries into its event.
    pub deadlines: Vec<Time>,
    /// Ids that were said to be in no event: no attempt among those made so far may succeed if its deadline lies before
    /// this time.
    pub finals: BTreeMap<(UserId, EventId), (Time, usize)>,
    pub control: control::ControlTruth,
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
    books: Books,
    /// Encoded, after each event; the first before any.
    books_after: Vec<Vec<u8>>,
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
    pub fn new(shape: LedgerShape) -> Truth {
        let shards = shape.wallet_shards().map(|shard| ShardTruth::new(shard, shape)).collect();
        let (control, received) = Default::default();
        Truth { shape, shards, deadlines: Vec::new(), finals: BTreeMap::new(), control, received }
    }

    pub fn shard(&self, shard: ShardId) -> &ShardTruth {
        &self.shards[usize::from(shard.index)]
    }

    /// A record landed. Returns what became of it, for the trace.
    pub fn land(&mut self, shard: ShardId, entry: &LogEntry) -> String {
        if shard == ShardId::CONTROL {
            return self.control.land(entry);
        }
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
            told += &format!(" {seq}={}", short(&event));
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
        truth.apply_money(seq, position, &event, shape);
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
        if shard == ShardId::CONTROL {
            return self.control.check_truncation(position, stored);
        }
        let stored = stored.map_or(Position::START, |stored| stored.position);
        assert!(position <= stored, "{shard} was cut to {position}, and its checkpoint stands at {stored}");
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
    }

    /// Every row that is written is what the log says.
    pub fn check_batch(&self, batch: &FlushBatch) {
        if batch.shard == ShardId::CONTROL {
            return self.control.check_checkpoint(&batch.checkpoint);
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
        let place = usize::try_from(at.fold.next.get() - 1).expect("events are few");
        assert_eq!(truth.books_after[place], at.state, "I6 replay: books of {} before {}", at.shard, at.fold.next);
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

    /// Whether everything that was sent has arrived.
    pub fn has_arrived(&self) -> bool {
        self.shards.iter().all(|source| {
            source.sent.iter().enumerate().all(|(destination, sent)| {
                let watermark = self.shards[destination].received[usize::from(source.shard.index)].0;
                sent.last().is_none_or(|(seq, _, _)| *seq <= watermark)
            })
        })
    }
}

impl ShardTruth {
    fn new(shard: ShardId, shape: LedgerShape) -> ShardTruth {
        let shards = usize::from(shape.wallet_shards);
        let books = Books::new(shape);
        ShardTruth {
            shard,
            epoch: None,
            next: Seq::FIRST,
            time: Time::ZERO,
            balances: BTreeMap::new(),
            history: BTreeMap::new(),
            receipts: BTreeMap::new(),
            sent: vec![Vec::new(); shards],
            received: vec![(Seq::NONE, Sums::new()); shards],
            issued: Sums::new(),
            burned: Sums::new(),
            books_after: vec![codec::encode(&books)],
            books,
            epochs: Vec::new(),
            folds: Vec::new(),
        }
    }

    pub fn last(&self) -> Seq {
        Seq(self.next.get() - 1)
    }

    pub fn epoch(&self) -> Option<Epoch> {
        self.epoch
    }

    pub fn books_now(&self) -> &Books {
        &self.books
    }

    fn fold_before(&self, position: Position) -> Fold {
        let place = usize::try_from(position.get()).expect("positions are few");
        self.folds.get(place).copied().unwrap_or(Fold { epoch: self.epoch, next: self.next })
    }

    pub fn held_at(&self, user: UserId, seq: Seq) -> Held {
        let history = self.history.get(&user).map(Vec::as_slice).unwrap_or_default();
        let upto = history.partition_point(|(changed, _)| *changed <= seq);
        upto.checked_sub(1).map(|last| history[last].1.clone()).unwrap_or_default()
    }

    pub fn users(&self) -> impl Iterator<Item = UserId> + '_ {
        self.history.keys().copied()
    }

    fn sent_up_to(&self, destination: usize, seq: Seq) -> Sums {
        let sent = &self.sent[destination];
        let upto = sent.partition_point(|(at, _, _)| *at <= seq);
        upto.checked_sub(1).map(|last| sent[last].2.clone()).unwrap_or_default()
    }

    fn credit(&mut self, user: UserId, asset: AssetId, amount: Amount) {
        *self.balances.entry((user, asset)).or_default() += amount.get();
    }

    fn debit(&mut self, user: UserId, asset: AssetId, amount: Amount, seq: Seq) {
        let balance = self.balances.entry((user, asset)).or_default();
        assert!(
            *balance >= amount.get(),
            "I2 no overdraft: user {user} had {balance} of {asset}, {seq} takes {amount}"
        );
        *balance -= amount.get();
    }

    fn send(&mut self, to: ShardId, seq: Seq, position: Position, asset: AssetId, amount: Amount) {
        let sent = &mut self.sent[usize::from(to.index)];
        let mut sums = sent.last().map(|(_, _, sums)| sums.clone()).unwrap_or_default();
        *sums.entry(asset).or_default() += u128::from(amount.get());
        match sent.last_mut() {
            Some(last) if last.0 == seq => last.2 = sums,
            Some(_) | None => sent.push((seq, position, sums)),
        }
    }

    fn give(&mut self, user: UserId, asset: AssetId, amount: Amount, at: (Seq, Position), shape: LedgerShape) {
        let home = shape.wallet_of(user);
        if home == self.shard {
            self.credit(user, asset, amount);
        } else {
            self.send(home, at.0, at.1, asset, amount);
        }
    }

    fn apply_money(&mut self, seq: Seq, position: Position, event: &WalletEvent, shape: LedgerShape) {
        match event {
            WalletEvent::GiftSent(gift) => {
                let pieces = u64::from(gift.said.count.get()) * gift.said.receivers.len() as u64;
                let total = gift.unit_price.times(pieces).expect("totals fit");
                self.debit(gift.said.sender, gift.asset, total, seq);
                let mut given = 0;
                for credit in &gift.credits {
                    given += credit.amount.get();
                    self.give(gift.payee(credit), gift.asset, credit.amount, (seq, position), shape);
                }
                assert_eq!(given, total.get(), "I1 conserved: a gift gives what it takes");
                if let Some(points) = gift.points {
                    self.credit(gift.said.sender, points.asset, points.amount);
                    *self.issued.entry(points.asset).or_default() += u128::from(points.amount.get());
                }
            }
            WalletEvent::Recharged(recharge) => {
                let said = &recharge.said;
                self.credit(said.user, said.asset, said.amount);
                *self.issued.entry(said.asset).or_default() += u128::from(said.amount.get());
            }
            WalletEvent::Transferred(transfer) => {
                let mut net: BTreeMap<AssetId, i128> = BTreeMap::new();
                for (asset, amount) in &transfer.said.debits {
                    self.debit(transfer.said.user, *asset, *amount, seq);
                    *net.entry(*asset).or_default() -= i128::from(amount.get());
                }
                for credit in &transfer.said.credits {
                    self.give(credit.user, credit.asset, credit.amount, (seq, position), shape);
                    *net.entry(credit.asset).or_default() += i128::from(credit.amount.get());
                }
                for (asset, net) in net {
                    let into = if net > 0 { &mut self.issued } else { &mut self.burned };
                    *into.entry(asset).or_default() += net.unsigned_abs();
                }
            }
            WalletEvent::CreditsApplied(applied) => {
                applied.credits.iter().for_each(|credit| self.credit(credit.user, credit.asset, credit.amount));
            }
            WalletEvent::TransactionBound(_) => {}
        }
        self.note_history(seq, event);
    }

    /// Compares the balances in the event with those summed up here, and keeps them.
    fn note_history(&mut self, seq: Seq, event: &WalletEvent) {
        let mut stated: BTreeMap<(UserId, AssetId), Amount> = BTreeMap::new();
        event.for_each_change(|change| {
            assert!(matches!(change.direction, Direction::Debit | Direction::Credit));
            stated.insert((change.user, change.asset), change.balance);
        });
        for ((user, asset), balance) in stated {
            let summed = self.balances.get(&(user, asset)).copied().unwrap_or_default();
            assert_eq!(
                balance.get(),
                summed,
                "I6 replay: event {seq} of {} says another balance of user {user}, asset {asset}",
                self.shard
            );
            let all = self.balances.range((user, AssetId(0))..=(user, AssetId(u16::MAX)));
            let held: Held = all.map(|((_, asset), amount)| (*asset, *amount)).collect();
            let history = self.history.entry(user).or_default();
            if history.last().is_some_and(|(last, _)| *last == seq) {
                history.pop();
            }
            history.push((seq, held));
        }
    }

    fn check_conserved(&self, seq: Seq) {
        for (asset, totals) in self.books.totals() {
            assert!(totals.is_conserved(), "I1 conserved: {} asset {asset} at {seq}: {totals:?}", self.shard);
        }
    }
}

fn short(event: &WalletEvent) -> String {
    let id = |event: &WalletEvent| {
        event.key().map_or(String::new(), |(user, id)| format!("{user}:{}", &id.to_string()[24..]))
    };
    match event {
        WalletEvent::GiftSent(gift) => format!("gift({} -{})", id(event), gift.total()),
        WalletEvent::Recharged(recharge) => format!("recharge({} +{})", id(event), recharge.said.amount),
        WalletEvent::Transferred(_) => format!("transfer({})", id(event)),
        WalletEvent::CreditsApplied(applied) => {
            let sources: Vec<String> =
                applied.sources.iter().map(|source| format!("wallet-{}≤{}", source.source, source.up_to)).collect();
            format!("credits({})", sources.join(" "))
        }
        WalletEvent::TransactionBound(_) => format!("bound({})", id(event)),
    }
}
