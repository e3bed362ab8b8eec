//! What is true of room shards: a fold of their logs, against what wallet shards say that gifts debited.
//!
//! I7 is checked record by record: what an event shows is exactly what its sources told between two watermarks, gift by
//! gift. Numbers, streaks and boards of each room are counted again in [`super::room`].

use std::collections::{BTreeMap, BTreeSet};

use largesse_engine::codec;
use largesse_engine::fold::Fold;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::record::{EventsHeader, LogEntry, RecordHeader};
use largesse_engine::relay::RunningTotal;
use largesse_engine::room::books::RoomBooks;
use largesse_engine::room::command::RoomNews;
use largesse_engine::room::event::{FeedWhat, RoomEvent, Shown};
use largesse_engine::room::person::Person;
use largesse_engine::room::rooms::{RoomLimits, Rooms};
use largesse_engine::store::{Checkpoint, FlushBatch};
use largesse_engine::units::{AssetId, Epoch, GiftId, Position, RoomId, Seq, ShardId, Time, UserId};
use largesse_engine::wallet::event::GiftSent;

use super::room::RoomTruth;
use super::{ShardTruth, Sums};

pub struct RoomsTruth {
    shape: LedgerShape,
    limits: RoomLimits,
    shards: Vec<RoomShardTruth>,
}

pub struct RoomShardTruth {
    shard: ShardId,
    pub epoch: Option<Epoch>,
    pub next: Seq,
    time: Time,
    /// Who wrote each event.
    epochs: Vec<Epoch>,
    /// Before each position.
    folds: Vec<Fold>,
    pub rooms: BTreeMap<RoomId, RoomTruth>,
    books: RoomSums,
    /// After each event; the first before any.
    books_after: Vec<RoomSums>,
}

/// What came in, and which rooms wait for a time.
#[derive(Clone, Default)]
struct RoomSums {
    /// By source.
    received: Vec<(Seq, Sums)>,
    waiting: BTreeSet<RoomId>,
}

/// A gift as the log of its sender has it, as far as rooms show it.
#[derive(Clone, Debug)]
pub struct ToldGift {
    pub seq: Seq,
    pub like: Like,
    pub count: u64,
    pub value: u64,
}

/// Gifts that differ in none of this may be shown as one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Like {
    pub room: RoomId,
    pub sender: UserId,
    pub is_anonymous: bool,
    pub gift: GiftId,
    pub receivers: Vec<UserId>,
    pub asset: AssetId,
    pub unit_price: u64,
    pub combo: Option<u64>,
    pub second: u64,
}

/// Pieces for each receiver, and gifts.
type Counts = BTreeMap<Like, (u64, u64)>;

impl ToldGift {
    pub fn new(seq: Seq, at: Time, gift: &GiftSent) -> ToldGift {
        let (said, count) = (&gift.said, u64::from(gift.said.count.get()));
        let like = Like {
            room: said.room,
            sender: said.sender,
            is_anonymous: said.anonymous,
            gift: said.gift,
            receivers: said.receivers.to_vec(),
            asset: gift.asset,
            unit_price: gift.unit_price.get(),
            combo: said.combo,
            second: at.get() / 1_000,
        };
        let value = like.unit_price * count * like.receivers.len() as u64;
        ToldGift { seq, like, count, value }
    }
}

impl RoomsTruth {
    pub fn new(shape: LedgerShape, limits: RoomLimits) -> RoomsTruth {
        RoomsTruth { shape, limits, shards: shape.all_rooms().map(|shard| RoomShardTruth::new(shard, shape)).collect() }
    }

    pub fn shard(&self, shard: ShardId) -> &RoomShardTruth {
        &self.shards[usize::from(shard.index)]
    }

    pub fn room(&self, room: RoomId) -> Option<&RoomTruth> {
        self.shard(self.shape.room_of(room)).rooms.get(&room)
    }

    pub fn all(&self) -> impl Iterator<Item = (RoomId, &RoomTruth)> {
        self.shards.iter().flat_map(|shard| shard.rooms.iter().map(|(room, truth)| (*room, truth)))
    }

    /// Where a wallet shard stands at these rooms.
    pub fn watermark(&self, rooms: usize, source: ShardId) -> Seq {
        self.shards[rooms].books.received[usize::from(source.index)].0
    }

    pub fn land(&mut self, shard: ShardId, entry: &LogEntry, wallets: &[ShardTruth]) -> String {
        let limits = self.limits;
        let truth = &mut self.shards[usize::from(shard.index)];
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
        assert!(header.count == 0 || header.time >= truth.time, "the time of {shard} went back");
        truth.time = truth.time.max(header.time);
        let mut rest = &entry.events[..];
        let mut told = format!("believed, epoch {} at {}:", header.epoch, header.time);
        for _ in 0..header.count {
            let (RoomEvent::Shown(shown), used) = codec::decode_front(rest).expect("the engine encoded it");
            rest = &rest[used..];
            told += &format!(" {}={}", truth.next, short(&shown));
            truth.apply(header, &shown, wallets, limits);
        }
        assert!(rest.is_empty(), "a record holds the events it says");
        told
    }

    /// An acknowledgement rests on what is believed.
    pub fn check_acknowledged(&self, destination: ShardId, source: u16, watermark: Seq, received: &RunningTotal) {
        let truth = self.shard(destination);
        let received: Sums = received.iter().map(|(asset, sum)| (asset, *sum)).collect();
        let is_it = |books: &RoomSums| books.received[usize::from(source)] == (watermark, received.clone());
        assert!(
            truth.books_after.iter().rev().any(is_it),
            "I4 durable answers: {destination} acknowledged wallet-{source} up to {watermark}, which is not believed"
        );
    }

    /// I5 single writer: what an owner believes of its own is in the log, written by it and by nobody else.
    pub fn check_believed(&self, shard: ShardId, epoch: Epoch, recovered: Seq, certain: Seq) {
        let truth = self.shard(shard);
        assert!(
            certain < truth.next,
            "I5 single writer: {shard} believes {certain}, next in the log is {}",
            truth.next
        );
        if certain > recovered {
            let writer = truth.epochs[usize::try_from(certain.get() - 1).expect("events are few")];
            assert_eq!(writer, epoch, "I5 single writer: two owners of {shard} believe event {certain} to be theirs");
        }
    }

    /// I6 replay: an owner, whatever it has forgotten and read again, is where the whole log leads to.
    pub fn check_machine(&self, shard: ShardId, machine: &Rooms) {
        let truth = self.shard(shard);
        truth.check_books(machine.last(), machine.books());
        if machine.last().next() != truth.next {
            return; // It has been replaced.
        }
        for (room, truth) in &truth.rooms {
            if let Some(state) = machine.whole(*room) {
                truth.check_state(*room, state);
            }
        }
    }

    /// What is told to viewers is in the log.
    pub fn check_news(&self, shard: ShardId, news: &RoomNews) {
        let room = news.room;
        let truth = self.shard(shard).rooms.get(&room);
        let truth = truth.unwrap_or_else(|| panic!("I4 durable answers: news of room {room}, which is not believed"));
        truth.check_items(room, news.chunk.first, &news.chunk.items);
        truth.check_head_was(room, &news.head, Seq::NONE);
    }

    /// Every row that is written is what the log says.
    pub fn check_batch(&self, batch: &FlushBatch) {
        let shard = self.shard(batch.shard);
        let of = |room: RoomId| shard.rooms.get(&room).unwrap_or_else(|| panic!("rows of room {room}, not believed"));
        for row in &batch.feed {
            let items: Vec<_> = codec::decode(&row.items).expect("rows hold entries");
            assert_eq!(row.first.plus(items.len() as u64), row.last.next(), "a row of room {} says its end", row.room);
            of(row.room).check_items(row.room, row.first, &items);
        }
        for row in &batch.rooms {
            of(row.room).check_row(row);
        }
        self.check_checkpoint(&batch.checkpoint);
    }

    fn check_checkpoint(&self, at: &Checkpoint) {
        let truth = self.shard(at.shard);
        assert_eq!(truth.fold_before(at.position), at.fold, "I6 replay: fold of {} at {}", at.shard, at.position);
        let books: RoomBooks = codec::decode(&at.state).expect("a checkpoint holds the books");
        truth.check_books(Seq(at.fold.next.get() - 1), &books);
    }
}

impl RoomShardTruth {
    fn new(shard: ShardId, shape: LedgerShape) -> RoomShardTruth {
        let received = vec![(Seq::NONE, Sums::new()); usize::from(shape.wallet_shards)];
        let books = RoomSums { received, waiting: BTreeSet::new() };
        RoomShardTruth {
            shard,
            epoch: None,
            next: Seq::FIRST,
            time: Time::ZERO,
            epochs: Vec::new(),
            folds: Vec::new(),
            rooms: BTreeMap::new(),
            books_after: vec![books.clone()],
            books,
        }
    }

    fn fold_before(&self, position: Position) -> Fold {
        let place = usize::try_from(position.get()).expect("positions are few");
        self.folds.get(place).copied().unwrap_or(Fold { epoch: self.epoch, next: self.next })
    }

    fn apply(&mut self, header: EventsHeader, shown: &Shown, wallets: &[ShardTruth], limits: RoomLimits) {
        let seq = self.next;
        self.check_counted(seq, shown, wallets);
        for room in &shown.rooms {
            let truth = self.rooms.entry(room.room).or_insert_with(|| RoomTruth::new(limits));
            truth.apply(seq, header.time, room);
            if truth.is_waiting() {
                self.books.waiting.insert(room.room);
            } else {
                self.books.waiting.remove(&room.room);
            }
        }
        let mut rooms: Vec<RoomId> = shown.rooms.iter().map(|room| room.room).collect();
        rooms.dedup();
        assert_eq!(rooms.len(), shown.rooms.len(), "an event shows each room once");
        self.books_after.push(self.books.clone());
        self.epochs.push(header.epoch);
        self.next = seq.next();
    }

    /// I7 counted: what is shown is what was told, no gift twice and none left out.
    fn check_counted(&mut self, seq: Seq, shown: &Shown, wallets: &[ShardTruth]) {
        let (mut told, mut is_shown) = (Counts::new(), Counts::new());
        for source in &shown.sources {
            let from = usize::from(source.source);
            let (watermark, received) = &mut self.books.received[from];
            assert!(source.up_to > *watermark, "a watermark goes forward");
            let mut sums = Sums::new();
            for gift in wallets[from].told(usize::from(self.shard.index), *watermark, source.up_to) {
                *sums.entry(gift.like.asset).or_default() += u128::from(gift.value);
                let (count, gifts) = told.entry(gift.like.clone()).or_default();
                (*count, *gifts) = (*count + gift.count, *gifts + 1);
            }
            *watermark = source.up_to;
            sums.iter().for_each(|(asset, sum)| *received.entry(*asset).or_default() += sum);
            let said: Sums = source.sums.iter().copied().collect();
            assert_eq!(said, sums, "I7 counted: {} {seq} says another sum of wallet-{from}", self.shard);
        }
        for room in &shown.rooms {
            for item in &room.items {
                let FeedWhat::Gift(gift) = &item.what else { continue };
                let like = Like {
                    room: room.room,
                    sender: gift.sender.user(),
                    is_anonymous: gift.sender.is_anonymous(),
                    gift: gift.gift,
                    receivers: gift.receivers.to_vec(),
                    asset: gift.asset,
                    unit_price: gift.unit_price.get(),
                    combo: gift.client_combo,
                    second: item.at.get() / 1_000,
                };
                let (count, gifts) = is_shown.entry(like).or_default();
                (*count, *gifts) = (*count + gift.count, *gifts + u64::from(gift.events));
            }
        }
        assert_eq!(is_shown, told, "I7 counted: {} {seq} shows other gifts than were sent", self.shard);
    }

    fn check_books(&self, last: Seq, books: &RoomBooks) {
        let known = &self.books_after[usize::try_from(last.get()).expect("events are few")];
        let received = (0..).take(books.sources()).map(|source| {
            let neighbour = books.received_from(source);
            (neighbour.up_to, neighbour.total.iter().map(|(asset, sum)| (asset, *sum)).collect())
        });
        let received: Vec<(Seq, Sums)> = received.collect();
        assert_eq!(received, known.received, "I6 replay: books of {} behind {last}", self.shard);
        let waiting: BTreeSet<RoomId> = books.waiting().collect();
        assert_eq!(waiting, known.waiting, "I6 replay: rooms of {} that wait behind {last}", self.shard);
    }
}

fn short(shown: &Shown) -> String {
    let sources: Vec<String> =
        shown.sources.iter().map(|source| format!("wallet-{}≤{}", source.source, source.up_to)).collect();
    let rooms = shown.rooms.iter().map(|room| {
        let items: Vec<String> = room.items.iter().map(|item| short_item(&item.what)).collect();
        format!("{}@{}[{}]", room.room, room.first, items.join(" "))
    });
    format!("shown({}; {})", sources.join(" "), rooms.collect::<Vec<_>>().join(" "))
}

fn short_person(person: Person) -> String {
    match person {
        Person::Named(user) => user.to_string(),
        Person::Anonymous(user) => format!("nobody ({user})"),
    }
}

fn short_item(what: &FeedWhat) -> String {
    match what {
        FeedWhat::Gift(gift) => {
            let combo = gift.combo.map_or(String::new(), |combo| format!(" combo {}:{}", combo.id, combo.count));
            format!("{}x{} of {}{combo}", gift.gift, gift.count, short_person(gift.sender))
        }
        FeedWhat::ComboEnded(ended) => format!("end {} {}", ended.id, ended.cause.name()),
        FeedWhat::LiveStarted { live } => format!("live {live}"),
        FeedWhat::LiveEnded { live, .. } => format!("live {live} ends"),
        FeedWhat::Plugin(_) => "plugin".into(),
    }
}
