//! One room, counted again from its entries: numbers, streaks, boards and totals.

use std::collections::BTreeMap;
use std::sync::Arc;

use largesse_engine::codec;
use largesse_engine::room::board::Side;
use largesse_engine::room::event::{
    ComboEnd, ComboEnded, ComboNow, FeedItem, FeedWhat, GiftShown, Period, RoomHead, RoomShown, RowGroup, Scores,
};
use largesse_engine::room::person::Person;
use largesse_engine::room::plugin::{PluginNews, PluginState};
use largesse_engine::room::rooms::RoomLimits;
use largesse_engine::room::state::{ComboRow, RoomState, RowKey, ScoreRow};
use largesse_engine::store::RoomRow;
use largesse_engine::units::{AssetId, GiftId, RoomId, RoomSeq, Seq, Time, UserId};

const DAY_SECONDS: i64 = 86_400;

pub struct RoomTruth {
    limits: RoomLimits,
    /// The first has number 1.
    pub items: Vec<FeedItem>,
    /// After each event that changed it.
    heads: Vec<(Seq, Arc<RoomHead>)>,
    combos: BTreeMap<RoomSeq, Open>,
    /// Sums of value, and the entry with which each was reached.
    boards: BTreeMap<(Kind, bool, AssetId, Person), (u64, RoomSeq)>,
    live: u32,
    is_open: bool,
    day: u32,
    week: u32,
    live_totals: BTreeMap<AssetId, (u128, u64)>,
    pub all_totals: BTreeMap<AssetId, (u128, u64)>,
}

/// In the order of [`Period::ALL`].
type Kind = usize;

/// A streak, as its entries add up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    sender: Person,
    gift: GiftId,
    asset: AssetId,
    receivers: Vec<UserId>,
    client: Option<u64>,
    /// The live that it began in; not told of streaks in memory.
    live: Option<u32>,
    slot: u32,
    count: u64,
    value: u64,
    expires: Time,
}

impl Open {
    fn is_of(&self, gift: &GiftShown) -> bool {
        (self.sender, self.gift, self.asset) == (gift.sender, gift.gift, gift.asset)
            && self.receivers[..] == gift.receivers[..]
    }
}

impl RoomTruth {
    pub fn new(limits: RoomLimits) -> RoomTruth {
        let (items, heads, combos, boards, live_totals, all_totals) = Default::default();
        let (live, is_open, day, week) = (0, false, 0, 0);
        RoomTruth { limits, items, heads, combos, boards, live, is_open, day, week, live_totals, all_totals }
    }

    pub fn next(&self) -> RoomSeq {
        RoomSeq(self.items.len() as u64 + 1)
    }

    /// The event that last changed it.
    pub fn seq(&self) -> Seq {
        self.heads.last().map_or(Seq::NONE, |(seq, _)| *seq)
    }

    pub fn head(&self) -> &Arc<RoomHead> {
        &self.heads.last().expect("a room that is known has a head").1
    }

    pub fn is_waiting(&self) -> bool {
        let is_due = |plugin: &PluginState| match plugin {
            PluginState::Goal(_) => false,
            PluginState::Pk(pk) => pk.until.is_some() && !pk.is_over,
        };
        !self.combos.is_empty() || self.head().plugins.iter().any(is_due)
    }

    pub fn apply(&mut self, seq: Seq, now: Time, shown: &RoomShown) {
        let room = shown.room;
        assert_eq!(shown.first, self.next(), "the feed of room {room} has no gaps");
        let ended = self.begin_periods(shown);
        for item in &shown.items {
            let number = self.next();
            match &item.what {
                FeedWhat::Gift(gift) => {
                    self.note_gift(item.at, gift);
                    self.note_combo(number, now, gift);
                    self.note_scores(number, item.at, gift);
                }
                FeedWhat::ComboEnded(ended) => self.end_combo(now, ended),
                FeedWhat::LiveStarted { live } => {
                    assert!(!self.is_open, "room {room} begins a live at {number} when the one before has ended");
                    (self.live, self.is_open) = (self.live + 1, true);
                    assert_eq!(*live, self.live, "lives of room {room} are counted");
                    self.boards.retain(|key, _| key.0 != 0);
                    self.live_totals.clear();
                }
                FeedWhat::LiveEnded { live, totals } => {
                    assert_eq!((*live, self.is_open), (self.live, true), "room {room} ends its live at {number}");
                    self.is_open = false;
                    let totals = totals.iter().map(|(asset, total)| (asset, (total.value, total.gifts)));
                    assert_eq!(
                        totals.collect::<BTreeMap<_, _>>(),
                        self.live_totals,
                        "room {room} at the end of a live"
                    );
                }
                FeedWhat::Plugin(PluginNews::GoalReached { by, .. }) => {
                    assert_eq!(Some(*by), self.last_sender(), "who filled a goal of room {room} at {number}");
                }
                FeedWhat::Plugin(PluginNews::PkEnded { .. }) => {}
            }
            self.items.push(item.clone());
        }
        let said: Vec<RowGroup> = shown.ended.to_vec();
        assert_eq!(said, ended, "boards of room {room} that end with {seq}");
        self.check_head(room, now, &shown.head);
        self.heads.push((seq, Arc::new(shown.head.clone())));
    }

    /// Of the last gift, as it is shown.
    fn last_sender(&self) -> Option<Person> {
        let sender = |item: &FeedItem| if let FeedWhat::Gift(gift) = &item.what { Some(gift.sender) } else { None };
        self.items.iter().rev().find_map(sender)
    }

    /// A day that begins within an event leaves nothing of the day before on its board, whatever came first.
    fn begin_periods(&mut self, shown: &RoomShown) -> Vec<RowGroup> {
        let mut ended = Vec::new();
        for item in &shown.items {
            match &item.what {
                FeedWhat::Gift(_) => {
                    let (day, week) = self.calendar(item.at);
                    if day > self.day {
                        ended.extend((self.day > 0).then(|| RowGroup::of(Period::Day, self.day)));
                        self.day = day;
                        self.boards.retain(|key, _| key.0 != 1);
                    }
                    if week > self.week {
                        ended.extend((self.week > 0).then(|| RowGroup::of(Period::Week, self.week)));
                        self.week = week;
                        self.boards.retain(|key, _| key.0 != 2);
                    }
                }
                FeedWhat::LiveStarted { .. } => {
                    ended.extend((self.live > 0).then(|| RowGroup::of(Period::Live, self.live)));
                }
                FeedWhat::LiveEnded { .. } | FeedWhat::ComboEnded(_) | FeedWhat::Plugin(_) => {}
            }
        }
        ended
    }

    /// Day and week of business: weeks begin on Monday, and 1 January 1970 was a Thursday.
    fn calendar(&self, at: Time) -> (u32, u32) {
        let seconds = i64::try_from(at.get() / 1_000).expect("no world lasts so long");
        let day = (seconds + 60 * i64::from(self.limits.zone.minutes_east)).div_euclid(DAY_SECONDS);
        let day = u32::try_from(day).expect("worlds begin long after 1970");
        (day, (day + 3) / 7)
    }

    fn note_gift(&mut self, at: Time, gift: &GiftShown) {
        assert!(at > Time::ZERO && gift.count > 0 && gift.events > 0, "a gift is something: {gift:?}");
        let value = value_of(gift);
        let mut totals = vec![&mut self.all_totals];
        if self.is_open {
            totals.push(&mut self.live_totals);
        }
        for totals in totals {
            let (sum, gifts) = totals.entry(gift.asset).or_default();
            (*sum, *gifts) = (*sum + u128::from(value), *gifts + u64::from(gift.events));
        }
    }

    // ---- streaks ----

    fn note_combo(&mut self, number: RoomSeq, now: Time, gift: &GiftShown) {
        let Some(combo) = gift.combo else { return };
        assert!(self.is_open, "a streak goes on at {number}, and there is no live");
        assert_eq!(combo.expires, now.plus_millis(self.limits.combo_millis), "when streak {} ends", combo.id);
        if combo.id == number {
            let other = self.combos.iter().find(|(_, open)| open.is_of(gift));
            assert_eq!(other, None, "a streak begins at {number} beside one of the same");
            let neighbour = self.combos.iter().find(|(_, open)| open.slot == combo.slot);
            assert_eq!(neighbour, None, "a streak begins at {number} where another one is");
            let open = Open {
                sender: gift.sender,
                gift: gift.gift,
                asset: gift.asset,
                receivers: gift.receivers.to_vec(),
                client: gift.client_combo,
                live: Some(self.live),
                slot: combo.slot,
                count: 0,
                value: 0,
                expires: combo.expires,
            };
            self.combos.insert(number, open);
        }
        let open = self.combos.get_mut(&combo.id);
        let open =
            open.unwrap_or_else(|| panic!("streak {} goes on at {number}: it has ended or never began", combo.id));
        assert_eq!(open.slot, combo.slot, "streak {} moves", combo.id);
        assert!(open.is_of(gift) && open.client == gift.client_combo, "streak {} goes on with another gift", combo.id);
        assert!(open.expires > now, "streak {} goes on at {now}, it was over at {}", combo.id, open.expires);
        assert_eq!(open.live, Some(self.live), "streak {} goes on in another live", combo.id);
        (open.count, open.value, open.expires) = (open.count + gift.count, open.value + value_of(gift), combo.expires);
        assert_eq!((combo.count, combo.value), (open.count, open.value), "streak {} at {number}", combo.id);
    }

    fn end_combo(&mut self, now: Time, ended: &ComboEnded) {
        let open = self.combos.remove(&ended.id);
        let open = open.unwrap_or_else(|| panic!("streak {} ends, and it was over or never began", ended.id));
        let is_it = (open.sender, open.gift, open.asset) == (ended.sender, ended.gift, ended.asset)
            && open.receivers[..] == ended.receivers[..];
        assert!(is_it, "streak {} ends as another one: {open:?}, {ended:?}", ended.id);
        assert_eq!(ended.slot, open.slot, "streak {} ends where it is", ended.id);
        assert_eq!((ended.count, ended.value), (open.count, open.value), "what streak {} came to", ended.id);
        match ended.cause {
            ComboEnd::Time => assert!(open.expires <= now, "streak {} ends before its time", ended.id),
            ComboEnd::Replaced => assert!(open.expires > now, "streak {} is replaced after its time", ended.id),
            ComboEnd::LiveEnded => assert!(!self.is_open, "streak {} ends with a live that goes on", ended.id),
            ComboEnd::Left => panic!("nobody leaves a room here"),
        }
    }

    // ---- boards ----

    /// Entries of a day, a week or a live that is over carry no score.
    fn note_scores(&mut self, number: RoomSeq, at: Time, gift: &GiftShown) {
        let (day, week) = self.calendar(at);
        let counts = [self.is_open, day == self.day, week == self.week];
        let value = value_of(gift);
        let each = value / gift.receivers.len() as u64;
        let hosts = gift.receivers.iter().map(|host| Person::Named(*host)).zip(&gift.scores.receivers);
        let persons = std::iter::once((true, gift.sender, value, gift.scores.sender))
            .chain(hosts.map(|(host, scores)| (false, host, each, *scores)));
        assert_eq!(gift.receivers.len(), gift.scores.receivers.len(), "each receiver has scores");
        for (is_sender, person, value, scores) in persons {
            for (kind, counts) in counts.into_iter().enumerate() {
                let mut due = None;
                if counts {
                    let (sum, reached) = self.boards.entry((kind, is_sender, gift.asset, person)).or_default();
                    (*sum, *reached) = (*sum + value, number);
                    due = Some(*sum);
                }
                let said = score_of(&scores, kind);
                assert_eq!(said, due, "entry {number} says another {} score of {person:?}", Period::ALL[kind].name());
            }
        }
    }

    /// Best first; of two with the same sum the one who had it first is ahead.
    pub fn ranking(&self, period: Period, side: Side, asset: AssetId) -> Vec<(Person, u64, RoomSeq)> {
        let of_board = |key: &(Kind, bool, AssetId, Person)| {
            Period::ALL[key.0] == period && key.1 == (side == Side::Senders) && key.2 == asset
        };
        let all = self.boards.iter().filter(|(key, _)| of_board(key));
        let mut all: Vec<_> = all.map(|(key, (value, reached))| (key.3, *value, *reached)).collect();
        all.sort_by_key(|(person, value, reached)| (std::cmp::Reverse(*value), *reached, *person));
        all
    }

    // ---- what others say of it ----

    fn check_head(&self, room: RoomId, now: Time, head: &RoomHead) {
        let totals = |totals: &largesse_engine::per_asset::PerAsset<largesse_engine::room::event::RoomTotal>| {
            totals.iter().map(|(asset, total)| (asset, (total.value, total.gifts))).collect::<BTreeMap<_, _>>()
        };
        assert_eq!(head.next, self.next(), "the number of the next entry of room {room}");
        assert_eq!((head.live, head.is_open), (self.live, self.is_open), "the live of room {room}");
        assert_eq!((head.day, head.week), (self.day, self.week), "day and week of room {room}");
        assert_eq!(totals(&head.live_totals), self.live_totals, "what was given in this live of room {room}");
        assert_eq!(totals(&head.all_totals), self.all_totals, "what was given in room {room}");
        assert_eq!(head.open_combos as usize, self.combos.len(), "open streaks of room {room}");
        match self.heads.last() {
            Some((_, before)) => {
                assert_eq!(head.began, before.began, "the feed of room {room} began once");
                assert!(
                    head.followed.map(|now| now.version) >= before.followed.map(|was| was.version),
                    "older settings"
                );
            }
            None => assert_eq!(head.began, now, "the feed of room {room} begins"),
        }
    }

    /// At some moment since event `since` the room had this head.
    pub fn check_head_was(&self, room: RoomId, head: &RoomHead, since: Seq) {
        let upto = self.heads.partition_point(|(seq, _)| *seq <= since).saturating_sub(1);
        let is_known = self.heads[upto..].iter().any(|(_, known)| **known == *head);
        assert!(is_known, "I4 durable answers: room {room} was not like this since event {since}: {head:?}");
    }

    pub fn check_items(&self, room: RoomId, first: RoomSeq, items: &[FeedItem]) {
        let first = usize::try_from(first.get() - 1).expect("entries are few");
        let known = self.items.get(first..first + items.len());
        assert_eq!(known, Some(items), "I7 counted: entries of room {room} from {} on", first + 1);
    }

    /// A room in memory, with what was read from the store under what happened since.
    pub fn check_state(&self, room: RoomId, state: &RoomState) {
        let head = state.head.as_ref();
        assert_eq!(head, Some(self.head()), "I6 replay: the head of room {room}");
        let combos = state.combos.in_order().map(|(key, combo)| {
            let ComboNow { id, slot, count, value, expires } = combo.now;
            let (receivers, client) = (key.receivers.to_vec(), combo.client);
            let (sender, gift, asset) = (key.sender, key.gift, key.asset);
            (id, Open { sender, gift, asset, receivers, client, live: None, slot, count, value, expires })
        });
        let combos: BTreeMap<RoomSeq, Open> = combos.collect();
        let known = self.combos.iter().map(|(id, open)| (*id, Open { live: None, ..open.clone() }));
        assert_eq!(combos, known.collect(), "I6 replay: the open streaks of room {room}");
        for (kind, period) in Period::ALL.into_iter().enumerate() {
            for side in [Side::Senders, Side::Hosts] {
                let ranking = state.boards.board(period).side(side);
                let of_board = self.boards.keys().filter(|key| (key.0, key.1) == (kind, side == Side::Senders));
                assert_eq!(ranking.len(), of_board.count(), "I6 replay: the {} board of room {room}", period.name());
                for asset in [1, 2, 3].map(AssetId) {
                    let top = ranking.top(asset, usize::MAX).into_iter();
                    let top: Vec<_> = top.map(|at| (at.person, at.score.value, at.score.reached)).collect();
                    let due = self.ranking(period, side, asset);
                    assert_eq!(top, due, "I6 replay: the {} board of room {room}, {side:?}", period.name());
                }
            }
        }
    }

    /// What a flusher writes about it was so after some event.
    pub fn check_row(&self, row: &RoomRow) {
        let room = row.room;
        let key: RowKey = codec::decode(&row.key).expect("the engine encoded it");
        match key {
            RowKey::Head => {
                let head: RoomHead = codec::decode(&row.value).expect("the engine encoded it");
                let known = self.heads.iter().find(|(seq, _)| *seq == row.seq);
                assert_eq!(known.map(|(_, head)| &**head), Some(&head), "I6 replay: the head of room {room}");
            }
            RowKey::Combo(slot) if row.value.is_empty() => {
                // Another streak may have the slot by now.
                let has_ended =
                    |item: &FeedItem| matches!(&item.what, FeedWhat::ComboEnded(ended) if ended.slot == slot);
                let is_known = self.items.iter().any(has_ended);
                assert!(is_known, "I6 replay: no streak in slot {slot} of room {room} ended, and the flusher ends one");
            }
            RowKey::Combo(slot) => {
                let ComboRow { combo, .. } = codec::decode(&row.value).expect("the engine encoded it");
                let is_it =
                    |item: &FeedItem| matches!(&item.what, FeedWhat::Gift(gift) if gift.combo == Some(combo.now));
                let is_known = self.items.iter().any(is_it);
                let is_there = is_known && combo.now.slot == slot;
                assert!(is_there, "I6 replay: streak {} of room {room} was never like this", combo.now.id);
            }
            RowKey::Sender(asset, sender) => self.check_score(row, true, asset, sender),
            RowKey::Host(asset, host) => self.check_score(row, false, asset, Person::Named(host)),
        }
    }

    fn check_score(&self, row: &RoomRow, is_sender: bool, asset: AssetId, person: Person) {
        let ScoreRow { value, reached } = codec::decode(&row.value).expect("the engine encoded it");
        let item = &self.items[usize::try_from(reached.get() - 1).expect("entries are few")];
        let period = row.group.period().expect("a score is of a board");
        let kind = Period::ALL.iter().position(|of| *of == period).expect("it is one of all");
        let FeedWhat::Gift(gift) = &item.what else { panic!("a score was reached with entry {reached}, not a gift") };
        let scores = match is_sender {
            true => (gift.sender == person).then_some(gift.scores.sender),
            false => gift
                .receivers
                .iter()
                .position(|host| Person::Named(*host) == person)
                .map(|host| gift.scores.receivers[host]),
        };
        let said = scores.and_then(|scores| score_of(&scores, kind)).filter(|_| gift.asset == asset);
        assert_eq!(said, Some(value), "I6 replay: a score of {person:?} in room {}", row.room);
    }

    /// Everything is stored: the rows are this room.
    pub fn check_rows(&self, rows: &[RoomRow]) {
        let mut scores = BTreeMap::new();
        let mut score = |row: &RoomRow, is_sender, asset, person| {
            let period = row.group.period().expect("a score is of a board");
            let kind = Period::ALL.iter().position(|of| *of == period).expect("it is one of all");
            if row.group == RowGroup::of(period, self.head().number(period)) {
                let ScoreRow { value, reached } = codec::decode(&row.value).expect("the engine encoded it");
                scores.insert((kind, is_sender, asset, person), (value, reached));
            }
        };
        let mut head = None;
        for row in rows {
            match codec::decode(&row.key).expect("the engine encoded it") {
                RowKey::Head => head = Some(codec::decode::<RoomHead>(&row.value).expect("the engine encoded it")),
                RowKey::Combo(id) => panic!("streak {id} of room {} has ended and is stored", row.room),
                RowKey::Sender(asset, sender) => score(row, true, asset, sender),
                RowKey::Host(asset, host) => score(row, false, asset, Person::Named(host)),
            }
        }
        assert_eq!(head.as_ref(), Some(&**self.head()), "I6 replay: the head in the store");
        assert_eq!(scores, self.boards, "I6 replay: the scores in the store");
    }
}

fn value_of(gift: &GiftShown) -> u64 {
    gift.unit_price.get() * gift.count * gift.receivers.len() as u64
}

fn score_of(scores: &Scores, kind: Kind) -> Option<u64> {
    [scores.live, scores.day, scores.week][kind]
}
