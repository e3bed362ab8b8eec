//! The state machine of a room shard: gifts come over relays and become entries of feeds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use crate::codec;
use crate::ledger::LedgerShape;
use crate::machine::{Decision, Impossible, Machine, Undecided};
use crate::relay::{Acknowledged, RelayPart};
use crate::resolve::ControlView;
use crate::room::board::{BusinessZone, RANKED_MAX};
use crate::room::books::RoomBooks;
use crate::room::command::{BoardPage, BoardQuery, RoomCommand, RoomNews, RoomOutcome, Tail};
use crate::room::draft::Draft;
use crate::room::event::{RoomEvent, RoomHead, Shown, SourceShown};
use crate::room::person::Person;
use crate::room::state::RoomState;
use crate::sabotage::{self, Rule};
use crate::store::{Checkpoint, RoomRow};
use crate::units::{RoomId, RoomSeq, Seq, ShardId, Time, UserId};

/// Everything about a room shard that is configured and may differ between two runs.
#[derive(Clone, Copy, Debug)]
pub struct RoomLimits {
    /// Rooms in memory; beyond, idle ones leave.
    pub rooms_max: usize,
    /// How long a streak waits for another tap.
    pub combo_millis: u64,
    pub zone: BusinessZone,
}

impl Default for RoomLimits {
    fn default() -> Self {
        RoomLimits { rooms_max: 2_048, combo_millis: 5_000, zone: BusinessZone::default() }
    }
}

/// What one event may take, with a head for each of its rooms: below what an event may be.
const GIFTS_BYTES_MAX: usize = 400_000;
const CREDIT_BYTES: usize = 30;
/// Of a room without sums and plug-ins, of each plug-in, and of the sums of one asset.
const HEAD_BYTES: usize = 100;
const PLUGIN_BYTES: usize = 60;
const ASSET_BYTES: usize = 60;

#[derive(Debug)]
pub struct Rooms {
    shard: ShardId,
    shape: LedgerShape,
    limits: RoomLimits,
    rooms: HashMap<RoomId, RoomState, FixedState>,
    books: RoomBooks,
    /// Seq of the last event.
    last: Seq,
    time: Time,
    durable: Seq,
    /// What the store has, of what is durable.
    flushed: Seq,
    stored: Seq,
    /// Decided, but not durable yet.
    pending: VecDeque<(Seq, RoomNews)>,
    /// Whether the rooms that wait for a time were told. The first tick comes right after recovery.
    is_told: bool,
}

/// Handed on once it is durable.
#[derive(Debug, Default)]
pub struct RoomOutput {
    pub news: Vec<RoomNews>,
    /// After a start: rooms where something may be due.
    pub waiting: Vec<RoomId>,
}

/// A room that a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoomNeed(pub RoomId);

/// Never constructed: nobody has news for a room shard.
#[derive(Clone, Copy, Debug)]
pub enum NoSignal {}

impl Rooms {
    pub fn new(shard: ShardId, shape: LedgerShape, limits: RoomLimits) -> Rooms {
        Rooms {
            shard,
            shape,
            limits,
            rooms: HashMap::default(),
            books: RoomBooks::new(shape),
            last: Seq::NONE,
            time: Time::ZERO,
            durable: Seq::NONE,
            flushed: Seq::NONE,
            stored: Seq::NONE,
            pending: VecDeque::new(),
            is_told: false,
        }
    }

    pub fn books(&self) -> &RoomBooks {
        &self.books
    }

    /// Rooms in memory.
    pub fn resident(&self) -> usize {
        self.rooms.len()
    }

    /// The last event that the log has for sure.
    pub fn certain(&self) -> Seq {
        self.durable
    }

    /// A room that is wholly in memory, not only what a replay brought.
    pub fn whole(&self, room: RoomId) -> Option<&RoomState> {
        self.state(room).filter(|room| room.is_whole)
    }

    /// Seq of the last event, durable or not.
    pub fn last(&self) -> Seq {
        self.last
    }

    /// A room in memory.
    pub fn state(&self, room: RoomId) -> Option<&RoomState> {
        self.rooms.get(&room)
    }

    fn room(&self, room: RoomId) -> &RoomState {
        self.rooms.get(&room).expect("a command is decided when every room it touches is here")
    }

    fn head(&self, room: RoomId) -> Arc<RoomHead> {
        self.room(room).head.clone().unwrap_or_else(|| Arc::new(RoomHead::new(Time::ZERO)))
    }

    fn is_next(&self, part: &RelayPart) -> bool {
        usize::from(part.source) < self.books.sources()
            && part.up_to > part.after
            && (self.books.received_from(part.source).up_to == part.after || sabotage::is(Rule::WatermarkCheck))
    }

    /// Where the sources of these parts stand here, each once.
    fn stands(&self, parts: &[RelayPart]) -> Vec<Acknowledged> {
        let mut stands: Vec<Acknowledged> = Vec::new();
        for source in parts.iter().map(|part| part.source) {
            let is_told = stands.iter().any(|stand| stand.source == source);
            if !is_told && usize::from(source) < self.books.sources() {
                let neighbour = self.books.received_from(source);
                stands.push(Acknowledged { source, watermark: neighbour.up_to, received: neighbour.total.clone() });
            }
        }
        stands
    }

    fn draft(&self, room: RoomId, now: Time) -> Draft<'_> {
        Draft::new(room, self.room(room), now, self.limits.zone, self.limits.combo_millis)
    }

    /// Gifts from wallet shards: each part counts that goes on exactly where its source stands; never refused.
    fn judge(&self, parts: &[RelayPart], view: &ControlView, now: Time) -> Decision<RoomEvent, RoomOutcome> {
        let mut shown = Shown::default();
        let mut drafts: BTreeMap<RoomId, Draft<'_>> = BTreeMap::new();
        let mut bytes = 0;
        for part in parts.iter().filter(|part| self.is_next(part)) {
            if shown.sources.iter().any(|taken| taken.source == part.source) {
                continue; // It was cut before the first of its source was applied; the answer tells where to go on.
            }
            if let Err(impossible) = self.check(part) {
                return Decision::Impossible(impossible);
            }
            let more = self.bytes_of(part);
            if bytes > 0 && bytes + more > GIFTS_BYTES_MAX {
                break;
            }
            bytes += more;
            let sums = part.sums.iter().map(|(asset, sum)| (asset, *sum)).collect();
            shown.sources.push(SourceShown { source: part.source, up_to: part.up_to, sums });
            for gift in &part.gifts {
                drafts.entry(gift.room).or_insert_with(|| self.draft(gift.room, now)).gift(gift, &view.catalog);
            }
        }
        if shown.sources.is_empty() {
            return Decision::Told(RoomOutcome::Gifts(self.stands(parts)));
        }
        shown.rooms = drafts.into_values().filter_map(Draft::finish).collect();
        Decision::New(RoomEvent::Shown(shown))
    }

    /// About how many bytes a part takes in an event, and never fewer than it does.
    fn bytes_of(&self, part: &RelayPart) -> usize {
        let rooms: BTreeSet<RoomId> = part.gifts.iter().map(|gift| gift.room).collect();
        let head = |room: &RoomId| match &self.room(*room).head {
            Some(head) => HEAD_BYTES + PLUGIN_BYTES * head.plugins.len() + ASSET_BYTES * (1 + head.all_totals.len()),
            None => HEAD_BYTES + ASSET_BYTES,
        };
        CREDIT_BYTES * part.weight() + rooms.iter().map(head).sum::<usize>()
    }

    fn check(&self, part: &RelayPart) -> Result<(), Impossible> {
        let received = &self.books.received_from(part.source).total;
        if *received != part.before && !sabotage::is(Rule::WatermarkCheck) {
            return Err(Impossible(format!(
                "wallet-{} and {} disagree at event {}: sent {:?}, received {received:?}; something between them was \
                 lost or doubled",
                part.source, self.shard, part.after, part.before
            )));
        }
        match part.gifts.iter().find(|gift| self.shape.room_of(gift.room) != self.shard) {
            Some(stranger) => Err(Impossible(format!(
                "wallet-{} sent {} a gift in room {}, which is not there",
                part.source, self.shard, stranger.room
            ))),
            None => Ok(()),
        }
    }

    /// What one room's draft comes to; without a change, when the room is due next.
    fn decide_one(&self, draft: Draft<'_>, unchanged: RoomOutcome) -> Decision<RoomEvent, RoomOutcome> {
        match draft.finish() {
            Some(room) => Decision::New(RoomEvent::Shown(Shown { sources: Default::default(), rooms: vec![room] })),
            None => Decision::Told(unchanged),
        }
    }

    fn board(&self, room: RoomId, query: &BoardQuery) -> BoardPage {
        let state = self.room(room);
        let ranking = state.boards.board(query.period).side(query.side);
        let rank_as = |person: fn(UserId) -> Person| ranking.rank(query.asset, person(query.user?));
        let as_of = state.head.as_ref().map_or(RoomSeq::NONE, |head| head.last());
        BoardPage {
            top: ranking.top(query.asset, query.limit),
            own: rank_as(Person::Named),
            own_anonymous: rank_as(Person::Anonymous),
            ranked: ranking.len(),
            is_full: ranking.len() >= RANKED_MAX,
            as_of,
        }
    }

    /// Lets idle rooms go that the store has, when there are too many.
    fn evict(&mut self) {
        if self.rooms.len() <= self.limits.rooms_max {
            return;
        }
        let goal = self.limits.rooms_max - self.limits.rooms_max / 8;
        for spare_recent in [true, false] {
            let (mut left, flushed) = (self.rooms.len(), self.flushed);
            self.rooms.retain(|_, room| {
                let is_spared = spare_recent && std::mem::take(&mut room.is_recent);
                let may_go = room.asked == 0 && (room.seq <= flushed || sabotage::is(Rule::FlushBeforeEviction));
                let goes = left > goal && may_go && !is_spared;
                left -= usize::from(goes);
                !goes
            });
        }
    }
}

impl Machine for Rooms {
    type Command = RoomCommand;
    type Outcome = RoomOutcome;
    type Event = RoomEvent;
    type Need = RoomNeed;
    type Row = Vec<RoomRow>;
    type Output = RoomOutput;
    type Signal = NoSignal;

    fn missing(&self, command: &RoomCommand, missing: &mut Vec<RoomNeed>) {
        let mut room = |room: RoomId| {
            let is_here = self.rooms.get(&room).is_some_and(|room| room.is_whole);
            if !is_here && !missing.contains(&RoomNeed(room)) {
                missing.push(RoomNeed(room));
            }
        };
        match command {
            RoomCommand::ApplyGifts { parts, .. } => {
                for part in parts.iter().filter(|part| self.is_next(part)) {
                    part.gifts.iter().for_each(|gift| room(gift.room));
                }
            }
            RoomCommand::Follow(settings) => room(settings.id),
            RoomCommand::Time { room: id }
            | RoomCommand::Leave { room: id, .. }
            | RoomCommand::Read { room: id }
            | RoomCommand::ReadBoard { room: id, .. }
            | RoomCommand::ReadTail { room: id, .. } => room(*id),
        }
    }

    fn is_read(command: &RoomCommand) -> bool {
        match command {
            RoomCommand::Read { .. } | RoomCommand::ReadBoard { .. } | RoomCommand::ReadTail { .. } => true,
            RoomCommand::ApplyGifts { .. }
            | RoomCommand::Follow(_)
            | RoomCommand::Time { .. }
            | RoomCommand::Leave { .. } => false,
        }
    }

    fn lane(&self, command: &RoomCommand) -> Option<u64> {
        match command {
            RoomCommand::ApplyGifts { .. } => None,
            RoomCommand::Follow(settings) => Some(settings.id.get()),
            RoomCommand::Time { room }
            | RoomCommand::Leave { room, .. }
            | RoomCommand::Read { room }
            | RoomCommand::ReadBoard { room, .. }
            | RoomCommand::ReadTail { room, .. } => Some(room.get()),
        }
    }

    fn is_due(&self, _command: &RoomCommand, _now: Time) -> bool {
        true
    }

    fn decide(&self, command: &RoomCommand, now: Time) -> Decision<RoomEvent, RoomOutcome> {
        let draft = |room| self.draft(room, now);
        match command {
            RoomCommand::ApplyGifts { parts, view } => self.judge(parts, view, now),
            RoomCommand::Follow(settings) => {
                let mut draft = draft(settings.id);
                draft.follow(settings);
                self.decide_one(draft, RoomOutcome::Followed)
            }
            RoomCommand::Time { room } => {
                let mut draft = draft(*room);
                draft.time();
                self.decide_one(draft, RoomOutcome::Due(self.room(*room).due()))
            }
            RoomCommand::Leave { room, user } => {
                let mut draft = draft(*room);
                draft.leave(*user);
                self.decide_one(draft, RoomOutcome::Due(self.room(*room).due()))
            }
            RoomCommand::Read { room } => Decision::Told(RoomOutcome::Room(self.head(*room))),
            RoomCommand::ReadBoard { room, query } => Decision::Told(RoomOutcome::Board(self.board(*room, query))),
            RoomCommand::ReadTail { room, after, limit } => {
                let (chunks, head) = (self.room(*room).tail(*after, *limit), self.head(*room));
                Decision::Told(RoomOutcome::Tail(Tail { chunks, head }))
            }
        }
    }

    fn apply(&mut self, seq: Seq, at: Time, event: &RoomEvent, _encoded: &[u8]) {
        assert_eq!(seq, self.last.next(), "events apply once and in order");
        assert!(at >= self.time, "a shard's time never goes back");
        let RoomEvent::Shown(shown) = event;
        for change in &shown.rooms {
            let room = self.rooms.entry(change.room).or_default();
            let chunk = room.apply(seq, change);
            let head = room.head.clone().expect("it was just set");
            self.pending.push_back((seq, RoomNews { room: change.room, chunk, head, due: room.due() }));
        }
        self.books.apply(seq, shown);
        (self.last, self.time) = (seq, at);
    }

    fn applied(&self, command: &RoomCommand, _seq: Seq, _at: Time, _event: &RoomEvent) -> RoomOutcome {
        match command {
            RoomCommand::ApplyGifts { parts, .. } => RoomOutcome::Gifts(self.stands(parts)),
            RoomCommand::Follow(_) => RoomOutcome::Followed,
            RoomCommand::Time { room } | RoomCommand::Leave { room, .. } => RoomOutcome::Due(self.room(*room).due()),
            RoomCommand::Read { .. } | RoomCommand::ReadBoard { .. } | RoomCommand::ReadTail { .. } => {
                unreachable!("a read changes nothing")
            }
        }
    }

    fn undecided(&self, why: Undecided) -> RoomOutcome {
        match why {
            Undecided::StoreUnavailable => RoomOutcome::StoreUnavailable,
            Undecided::Overloaded => RoomOutcome::Overloaded,
        }
    }

    fn arrived(&mut self, need: &RoomNeed, rows: Vec<RoomRow>) -> Result<bool, Impossible> {
        let last = self.last;
        let room = self.rooms.entry(need.0).or_default();
        if !room.is_whole {
            room.take_rows(&rows, last)?;
        }
        Ok(true)
    }

    fn asked(&mut self, need: &RoomNeed) {
        let room = self.rooms.entry(need.0).or_default();
        room.asked = room.asked.saturating_add(1);
    }

    fn released(&mut self, need: &RoomNeed) {
        if let Some(room) = self.rooms.get_mut(&need.0) {
            room.asked = room.asked.saturating_sub(1);
            // Nothing came and nothing is known: leave nothing behind.
            if room.asked == 0 && !room.is_whole && room.head.is_none() {
                self.rooms.remove(&need.0);
            }
        }
    }

    fn cut(&mut self) {}

    fn durable(&mut self, seq: Seq, _now: Time) -> Option<RoomOutput> {
        self.durable = self.durable.max(seq);
        self.flushed = self.stored.min(self.durable);
        let mut news = Vec::new();
        while let Some((_, one)) = self.pending.pop_front_if(|(at, _)| *at <= seq) {
            news.push(one);
        }
        let waiting = Vec::new();
        (!news.is_empty()).then_some(RoomOutput { news, waiting })
    }

    fn signal(&mut self, signal: NoSignal, _now: Time) -> Result<Option<RoomOutput>, Impossible> {
        match signal {}
    }

    fn flushed(&mut self, seq: Seq, _now: Time) {
        self.stored = self.stored.max(seq);
        self.flushed = self.stored.min(self.durable);
        self.evict();
    }

    fn tick(&mut self, _now: Time) -> Option<RoomOutput> {
        // Readers alone fill the memory as well, and nothing is flushed for them.
        self.evict();
        let is_told = std::mem::replace(&mut self.is_told, true);
        let waiting: Vec<_> = if is_told { Vec::new() } else { self.books.waiting().collect() };
        (!waiting.is_empty()).then_some(RoomOutput { news: Vec::new(), waiting })
    }

    fn is_full(&self) -> bool {
        false
    }

    fn restore(&mut self, checkpoint: Option<&Checkpoint>) -> Result<(), Impossible> {
        let Some(checkpoint) = checkpoint else { return Ok(()) };
        self.books = codec::decode(&checkpoint.state).map_err(|error| Impossible(error.to_string()))?;
        if self.books.sources() != usize::from(self.shape.wallet_shards) {
            return Err(Impossible(format!("the checkpoint of {} is of another number of shards", self.shard)));
        }
        self.last = Seq(checkpoint.fold.next.get() - 1);
        (self.durable, self.flushed, self.stored) = (self.last, self.last, self.last);
        self.time = checkpoint.time;
        Ok(())
    }

    fn reread(&mut self, _seq: Seq, _at: Time, _event: &RoomEvent) {}

    fn reread_done(&mut self) {}
}
