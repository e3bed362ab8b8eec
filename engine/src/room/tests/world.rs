//! One room shard with the log that it wrote, and a catalog of three gifts.

use std::collections::HashMap;
use std::sync::Arc;

use crate::catalog::{Asset, Catalog, CatalogDraft, Gift, Rules, SendRule, Tier};
use crate::codec;
use crate::flush::Rows;
use crate::fold::Fold;
use crate::ledger::LedgerShape;
use crate::machine::{Decision, Machine};
use crate::relay::RelayPart;
use crate::resolve::ControlView;
use crate::room::command::{RoomCommand, RoomOutcome};
use crate::room::event::{FeedItem, FeedWhat, GiftShown, RoomEvent, RoomHead};
use crate::room::gift::RoomGift;
use crate::room::person::Person;
use crate::room::rooms::{RoomLimits, RoomNeed, Rooms};
use crate::room::rows::RoomRows;
use crate::room::settings::Room;
use crate::store::{Checkpoint, FlushBatch, RoomRow};
use crate::units::{Amount, AssetId, CatalogVersion, GiftId, Position, RoomId, RoomSeq, Seq, ShardId, Time, UserId};

pub const COIN: AssetId = AssetId(1);
pub const ROOM: RoomId = RoomId(1001);
pub const ANN: UserId = UserId(1);
pub const BOB: UserId = UserId(2);
pub const HOST: UserId = UserId(11);
pub const OTHER_HOST: UserId = UserId(12);
/// A Monday, 00:00 UTC.
pub const MONDAY: u64 = 1_795_996_800_000;
/// Taps, 1 coin.
pub const ROSE: GiftId = GiftId(1);
/// One at a time, 500 coins, with a large animation.
pub const CASTLE: GiftId = GiftId(2);

pub struct World {
    pub machine: Rooms,
    pub now: Time,
    pub log: Vec<(Time, RoomEvent)>,
    view: Arc<ControlView>,
    /// What each source sent so far.
    sent: HashMap<u16, RelayPart>,
}

pub fn shape() -> LedgerShape {
    LedgerShape::new(1)
}

pub fn fresh(limits: RoomLimits) -> Rooms {
    Rooms::new(ShardId::room(0), shape(), limits)
}

pub fn catalog() -> Catalog {
    let gift = |gift_id: GiftId, price, tier, send_rule, effects_url: Option<&str>| Gift {
        gift_id,
        name: format!("Gift {gift_id}"),
        names: ["en", "zh"].map(|language| (language.to_owned(), format!("Gift {gift_id}"))).into(),
        price: Amount::new(price).unwrap(),
        asset: "coin".into(),
        category: "classic".into(),
        tier,
        icon_url: "/icons/gift.svg".into(),
        effects_url: effects_url.map(Into::into),
        send_rule,
        created_at: "2026-01-01T00:00:00Z".into(),
        updated_at: "2026-01-01T00:00:00Z".into(),
    };
    let draft = CatalogDraft {
        assets: vec![Asset { id: COIN, name: "coin".into() }],
        rules: Rules::default(),
        gifts: vec![
            gift(ROSE, 1, Tier::Small, SendRule::Combo, Some("/effects/rose.json")),
            gift(CASTLE, 500, Tier::Large, SendRule::Single, Some("/effects/castle.json")),
        ],
    };
    Catalog::checked(draft, CatalogVersion(1)).unwrap()
}

/// One gift of one piece, at its price and by name.
pub fn gift(sender: UserId, gift: GiftId, at: Time) -> RoomGift {
    RoomGift {
        room: ROOM,
        at,
        sender: Person::Named(sender),
        gift,
        receivers: [HOST].into_iter().collect(),
        unit_price: catalog().gift(gift).unwrap().price,
        asset: COIN,
        combo: None,
        count: 1,
        events: 1,
    }
}

/// As [`gift`], without telling whose.
pub fn anonymous_gift(sender: UserId, kind: GiftId, at: Time) -> RoomGift {
    RoomGift { sender: Person::Anonymous(sender), ..gift(sender, kind, at) }
}

impl World {
    /// A room that was opened, and nothing more.
    pub fn new(limits: RoomLimits) -> World {
        let view =
            ControlView { catalog: Arc::new(catalog()), rooms: Arc::default(), keys: Arc::default(), seq: Seq::NONE };
        let now = Time(MONDAY);
        let mut world =
            World { machine: fresh(limits), now, log: Vec::new(), view: Arc::new(view), sent: HashMap::new() };
        world.follow(&Room::new(ROOM, vec![HOST, OTHER_HOST]));
        world
    }

    /// Decides, and if something comes of it applies that and makes it durable.
    pub fn run(&mut self, command: RoomCommand) -> RoomOutcome {
        let mut missing = Vec::new();
        self.machine.missing(&command, &mut missing);
        for need in missing {
            assert_eq!(self.machine.arrived(&need, Vec::new()), Ok(true), "the store knows nothing yet");
        }
        match self.machine.decide(&command, self.now) {
            Decision::New(event) => {
                let seq = self.machine.last().next();
                let bytes = codec::encode(&event);
                self.machine.apply(seq, self.now, &event, &bytes);
                let outcome = self.machine.applied(&command, seq, self.now, &event);
                self.machine.durable(seq, self.now);
                self.log.push((self.now, codec::decode(&bytes).unwrap()));
                outcome
            }
            Decision::Told(outcome) => outcome,
            Decision::Impossible(impossible) => panic!("{impossible}"),
        }
    }

    pub fn part(&self, source: u16, gifts: Vec<RoomGift>) -> RelayPart {
        let last = self.sent.get(&source).cloned().unwrap_or_else(|| RelayPart::question(source));
        let mut sums = crate::relay::RunningTotal::default();
        gifts.iter().for_each(|gift| *sums.entry(gift.asset) += u128::from(gift.value().get()));
        let (after, up_to) = (last.up_to, last.up_to.plus(gifts.len() as u64));
        RelayPart { source, after, up_to, before: last.after_total(), sums, credits: Vec::new(), gifts }
    }

    pub fn apply_parts(&mut self, parts: Vec<RelayPart>) -> RoomOutcome {
        let view = Arc::clone(&self.view);
        parts.iter().for_each(|part| drop(self.sent.insert(part.source, part.clone())));
        self.run(RoomCommand::ApplyGifts { parts, view })
    }

    pub fn give(&mut self, gifts: Vec<RoomGift>) {
        let part = self.part(0, gifts);
        self.apply_parts(vec![part]);
    }

    pub fn follow(&mut self, room: &Room) {
        assert_eq!(self.run(RoomCommand::Follow(Box::new(room.clone()))), RoomOutcome::Followed);
    }

    pub fn wait(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
    }

    pub fn head(&mut self) -> Arc<RoomHead> {
        let told = self.run(RoomCommand::Read { room: ROOM });
        let RoomOutcome::Room(head) = told else { panic!("{told:?}") };
        head
    }

    /// All items there ever were, with their numbers as they stand in the log.
    pub fn feed(&self) -> Vec<(RoomSeq, FeedItem)> {
        let rooms = self.log.iter().flat_map(|(_, RoomEvent::Shown(shown))| &shown.rooms);
        let items = rooms.flat_map(|room| (0..).zip(&room.items).map(|(place, item)| (room.first.plus(place), item)));
        items.map(|(number, item)| (number, item.clone())).collect()
    }

    pub fn gifts(&self) -> Vec<GiftShown> {
        let gift =
            |(_, item): (RoomSeq, FeedItem)| if let FeedWhat::Gift(gift) = item.what { Some(gift) } else { None };
        self.feed().into_iter().filter_map(gift).collect()
    }

    /// What a flusher makes of the events `from..to`, begun at `before`.
    pub fn flush(&self, before: Option<&FlushBatch>, from: usize, to: usize) -> FlushBatch {
        let mut rows = RoomRows::new(ShardId::room(0), shape());
        rows.restore(before.map(|batch| &batch.checkpoint)).unwrap();
        for (seq, (at, event)) in (1..).map(Seq).zip(&self.log).take(to).skip(from) {
            rows.take(seq, *at, &codec::encode(event)).unwrap();
        }
        let fold = Fold { epoch: None, next: Seq(to as u64 + 1) };
        let mut batch = FlushBatch::new(Checkpoint {
            shard: ShardId::room(0),
            position: Position(to as u64),
            relay_position: Position(to as u64),
            relay_fold: fold,
            fold,
            time: self.log[..to].last().map_or(Time::ZERO, |(at, _)| *at),
            state: Vec::new(),
        });
        rows.finish(&mut batch);
        batch
    }

    /// Another owner, from a checkpoint and the log behind it, and the rows that it finds in the store.
    pub fn recovered(&self, checkpoint: Option<&FlushBatch>, stored: &[RoomRow], limits: RoomLimits) -> Rooms {
        let mut machine = fresh(limits);
        machine.restore(checkpoint.map(|batch| &batch.checkpoint)).unwrap();
        let checkpoint = machine.last();
        for (seq, (at, event)) in (1..).map(Seq).zip(&self.log).filter(|(seq, _)| *seq > checkpoint) {
            machine.apply(seq, *at, event, &[]);
            machine.durable(seq, *at);
        }
        machine.asked(&RoomNeed(ROOM));
        machine.arrived(&RoomNeed(ROOM), stored.to_vec()).unwrap();
        machine.released(&RoomNeed(ROOM));
        machine
    }
}

/// Rows as a store has them once these batches were written, one after the other.
pub fn stored<'a>(batches: impl IntoIterator<Item = &'a FlushBatch>) -> Vec<RoomRow> {
    let mut rows: HashMap<_, RoomRow> = HashMap::new();
    for batch in batches {
        for row in &batch.rooms {
            let kept = rows.entry((row.room, row.group, row.key.clone())).or_insert_with(|| row.clone());
            if row.seq >= kept.seq {
                *kept = row.clone();
            }
        }
        for ended in &batch.ended {
            rows.retain(|(room, group, _), row| (*room, *group) != (ended.room, ended.group) || row.seq > ended.seq);
        }
    }
    rows.into_values().filter(|row| !row.value.is_empty()).collect()
}
