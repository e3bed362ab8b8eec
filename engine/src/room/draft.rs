//! What one event does to one room, decided on top of what is in memory and without changing that.

use hashbrown::HashMap;

use crate::catalog::{Catalog, SendRule};
use crate::codec::Few;
use crate::room::board::{BusinessZone, Side};
use crate::room::combo::{COMBOS_MAX, Combo, ComboKey, FreeSlots};
use crate::room::event::{
    ComboEnd, ComboNow, FeedItem, FeedWhat, Followed, GiftScores, GiftShown, Period, RoomHead, RoomShown, RowGroup,
    Scores,
};
use crate::room::gift::RoomGift;
use crate::room::person::Person;
use crate::room::plugin::PluginState;
use crate::room::settings::{PluginSettings, Room};
use crate::room::state::RoomState;
use crate::sabotage::{self, Rule};
use crate::units::{AssetId, RoomId, RoomSeq, Time, UserId};

/// Streaks that one event ends; the rest is for the next.
const ENDED_AT_ONCE: usize = 1_000;

type Overlay<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

pub struct Draft<'a> {
    room: RoomId,
    state: &'a RoomState,
    now: Time,
    zone: BusinessZone,
    combo_millis: u64,
    head: RoomHead,
    first: RoomSeq,
    items: Vec<FeedItem>,
    ended: Few<RowGroup>,
    /// Streaks as they are by now; `None` of those that ended.
    combos: Overlay<ComboKey, Option<Combo>>,
    slots: FreeSlots<'a>,
    scores: Overlay<(Period, Side, AssetId, Person), u64>,
    is_changed: bool,
}

impl<'a> Draft<'a> {
    pub fn new(room: RoomId, state: &'a RoomState, now: Time, zone: BusinessZone, combo_millis: u64) -> Draft<'a> {
        let head = state.head.as_deref().cloned().unwrap_or_else(|| RoomHead::new(now));
        Draft {
            room,
            state,
            now,
            zone,
            combo_millis,
            first: head.next,
            head,
            items: Vec::new(),
            ended: Few::default(),
            combos: Overlay::default(),
            slots: state.combos.free_slots(),
            scores: Overlay::default(),
            is_changed: false,
        }
    }

    /// What has come of it; nothing if nothing has changed.
    pub fn finish(mut self) -> Option<RoomShown> {
        let Draft { room, first, .. } = self;
        self.head.next = self.next();
        let is_shown = self.is_changed || !self.items.is_empty();
        is_shown.then_some(RoomShown { room, first, items: self.items, ended: self.ended, head: self.head })
    }

    fn push(&mut self, at: Time, what: FeedWhat) {
        self.items.push(FeedItem { at, what });
    }

    fn next(&self) -> RoomSeq {
        let skipped = u64::from(sabotage::is(Rule::FeedWithoutGaps) && self.items.len() > 1);
        self.first.plus(self.items.len() as u64 + skipped)
    }

    // ---- gifts ----

    pub fn gift(&mut self, gift: &RoomGift, catalog: &Catalog) {
        self.roll(gift.at);
        let sold = catalog.gift(gift.gift);
        let (combo, is_streak) = self.combo(gift, sold.is_some_and(|sold| sold.send_rule == SendRule::Combo));
        let effect = self.head.budget.decide(sold, is_streak, self.now);
        let mut shown = GiftShown {
            sender: gift.sender,
            receivers: gift.receivers.clone(),
            gift: gift.gift,
            asset: gift.asset,
            unit_price: gift.unit_price,
            count: gift.count,
            events: gift.events,
            client_combo: gift.combo,
            combo,
            tier: sold.map(|sold| sold.tier),
            effect,
            scores: GiftScores::default(),
        };
        let value = shown.value().get();
        let each = value / shown.receivers.len() as u64;
        let (at, asset) = (gift.at, gift.asset);
        shown.scores.sender = self.add_scores(at, Side::Senders, asset, gift.sender, value);
        shown.scores.receivers = gift
            .receivers
            .iter()
            .map(|host| self.add_scores(at, Side::Hosts, asset, Person::Named(*host), each))
            .collect();
        let mut totals = vec![&mut self.head.all_totals];
        if self.head.is_open {
            totals.push(&mut self.head.live_totals);
        }
        for totals in totals {
            let total = totals.entry(asset);
            total.value += u128::from(value);
            total.gifts += u64::from(gift.events);
        }
        let news: Vec<_> = self.head.plugins.iter_mut().filter_map(|plugin| plugin.plugin().gift(&shown, at)).collect();
        self.push(at, FeedWhat::Gift(shown));
        news.into_iter().for_each(|news| self.push(self.now, FeedWhat::Plugin(news)));
    }

    /// The streak that a gift belongs to, and whether it goes on with one.
    fn combo(&mut self, gift: &RoomGift, is_combo: bool) -> (Option<ComboNow>, bool) {
        if !is_combo || !self.head.is_open {
            return (None, false);
        }
        let key = ComboKey::of(gift);
        let (count, value) = (gift.count, gift.value().get());
        let open = match self.combos.get(&key) {
            Some(changed) => changed.clone(),
            None => self.state.combos.get(&key).cloned(),
        };
        let (before, is_streak) = match open {
            Some(combo) if combo.now.expires > self.now && combo.client == gift.combo => (Some(combo.now), true),
            Some(combo) => {
                let cause = if combo.now.expires <= self.now { ComboEnd::Time } else { ComboEnd::Replaced };
                self.end(&key, &combo, cause);
                (None, false)
            }
            None if self.head.open_combos as usize >= COMBOS_MAX => return (None, false),
            None => (None, false),
        };
        let before = match before {
            Some(before) => before,
            None => ComboNow { id: self.next(), slot: self.slots.take(), count: 0, value: 0, expires: self.now },
        };
        let now = ComboNow {
            count: before.count.saturating_add(count),
            value: before.value.saturating_add(value),
            expires: self.now.plus_millis(self.combo_millis),
            ..before
        };
        self.head.open_combos += u32::from(!is_streak);
        self.combos.insert(key, Some(Combo { now, client: gift.combo }));
        (Some(now), is_streak)
    }

    fn end(&mut self, key: &ComboKey, combo: &Combo, cause: ComboEnd) {
        self.head.open_combos -= 1;
        self.combos.insert(key.clone(), None);
        self.push(self.now, FeedWhat::ComboEnded(key.ended(&combo.now, cause)));
    }

    // ---- boards ----

    fn add_scores(&mut self, at: Time, side: Side, asset: AssetId, person: Person, value: u64) -> Scores {
        let day = self.zone.day(at);
        let (is_live, is_today) = (self.head.is_open, day == self.head.day);
        let is_this_week = BusinessZone::week(day) == self.head.week;
        let mut add = |period, counts: bool| {
            if counts { self.add_score(period, side, asset, person, value) } else { None }
        };
        Scores {
            live: add(Period::Live, is_live),
            day: add(Period::Day, is_today),
            week: add(Period::Week, is_this_week),
        }
    }

    fn add_score(&mut self, period: Period, side: Side, asset: AssetId, person: Person, value: u64) -> Option<u64> {
        let key = (period, side, asset, person);
        let before = match self.scores.get(&key) {
            Some(score) => *score,
            None if self.has_ended(period) => 0,
            None => {
                let ranking = self.state.boards.board(period).side(side);
                if !ranking.has_room(asset, person) {
                    return None;
                }
                ranking.score(asset, person)
            }
        };
        let score = before.saturating_add(value);
        self.scores.insert(key, score);
        Some(score)
    }

    fn has_ended(&self, period: Period) -> bool {
        self.ended.iter().any(|group| group.period() == Some(period))
    }

    /// Begins another day, and another week, once a gift of it comes.
    fn roll(&mut self, at: Time) {
        let day = self.zone.day(at);
        let week = BusinessZone::week(day);
        if day > self.head.day {
            self.end_period(Period::Day);
            self.head.day = day;
        }
        if week > self.head.week {
            self.end_period(Period::Week);
            self.head.week = week;
        }
    }

    /// Nothing that counted for it counts any more, entries of this very event included.
    fn end_period(&mut self, period: Period) {
        let number = self.head.number(period);
        if number > 0 {
            self.ended.push(RowGroup::of(period, number));
        }
        self.scores.retain(|(of, ..), _| *of != period);
        for item in &mut self.items {
            if let FeedWhat::Gift(gift) = &mut item.what {
                let scores = &mut gift.scores;
                std::iter::once(&mut scores.sender).chain(scores.receivers.iter_mut()).for_each(
                    |scores| match period {
                        Period::Live => scores.live = None,
                        Period::Day => scores.day = None,
                        Period::Week => scores.week = None,
                    },
                );
            }
        }
    }

    // ---- what is not a gift ----

    /// Takes over settings, unless it follows these or newer ones.
    pub fn follow(&mut self, room: &Room) {
        let followed = Followed { version: room.version, fingerprint: room.fingerprint() };
        if self.head.followed.is_some_and(|before| before == followed || before.version > followed.version) {
            return;
        }
        self.head.followed = Some(followed);
        self.is_changed = true;
        let begins = !room.is_closed && !self.head.is_open;
        if begins {
            // They are ended in steps, and the next live may begin before the last step.
            let some: Vec<_> = self.state.combos.in_order().take(ENDED_AT_ONCE).collect();
            self.end_all(some, ComboEnd::LiveEnded);
            self.end_period(Period::Live);
            self.head.live += 1;
            (self.head.is_open, self.head.since) = (true, self.now);
            self.head.live_totals = Default::default();
            self.push(self.now, FeedWhat::LiveStarted { live: self.head.live });
        } else if room.is_closed && self.head.is_open {
            self.head.is_open = false;
            let (live, totals) = (self.head.live, self.head.live_totals.clone());
            self.push(self.now, FeedWhat::LiveEnded { live, totals });
        }
        let kept = |settings: &PluginSettings| {
            self.head.plugins.iter().find(|plugin| !begins && plugin.settings() == *settings).cloned()
        };
        let plugins = room.plugins.iter().map(|settings| kept(settings).unwrap_or_else(|| PluginState::new(settings)));
        self.head.plugins = plugins.collect();
    }

    /// Ends streaks that nothing was added to for too long, or whose live has ended, and asks plug-ins whose time has come.
    pub fn time(&mut self) {
        let is_over = !self.head.is_open;
        let due = |combo: &Combo| is_over || combo.now.expires <= self.now;
        let cause = if is_over { ComboEnd::LiveEnded } else { ComboEnd::Time };
        let skipped = usize::from(sabotage::is(Rule::CombosEnd));
        let in_order = self.state.combos.in_order().take_while(|(_, combo)| due(combo)).skip(skipped);
        let ended: Vec<_> = in_order.take(ENDED_AT_ONCE).collect();
        self.end_all(ended, cause);
        let now = self.now;
        let news: Vec<_> = self.head.plugins.iter_mut().filter_map(|plugin| plugin.plugin().time(now)).collect();
        news.into_iter().for_each(|news| self.push(now, FeedWhat::Plugin(news)));
    }

    /// Ends the streaks of somebody who left. Anonymous ones end by time: ended in one breath with named ones, or as a
    /// viewer goes, they would tell whose they are.
    pub fn leave(&mut self, user: UserId) {
        let own: Vec<_> = self.state.combos.of(Person::Named(user)).take(ENDED_AT_ONCE).collect();
        self.end_all(own, ComboEnd::Left);
    }

    fn end_all(&mut self, combos: Vec<(&ComboKey, &Combo)>, cause: ComboEnd) {
        combos.into_iter().for_each(|(key, combo)| self.end(key, combo, cause));
    }
}
