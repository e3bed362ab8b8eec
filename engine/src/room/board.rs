//! Who gave, and who was given, the most: in this live, today and this week of business.
//!
//! Of two with the same sum the one who had it first is ahead.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use hashbrown::HashMap;

use crate::per_asset::PerAsset;
use crate::room::event::{GiftShown, Period, Scores};
use crate::room::person::Person;
use crate::units::{AssetId, RoomSeq, Time};

/// Places that are kept in order; ranks below are counted when somebody asks.
pub const TOP_MAX: usize = 1_000;
/// Persons on one board; what others give counts in the room's totals and is told as not ranked.
pub const RANKED_MAX: usize = 1_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Senders,
    Hosts,
}

impl Side {
    pub fn name(self) -> &'static str {
        match self {
            Side::Senders => "senders",
            Side::Hosts => "hosts",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    pub value: u64,
    /// The entry with which it was reached.
    pub reached: RoomSeq,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// From 1.
    pub rank: u64,
    pub person: Person,
    pub score: Score,
}

/// One board and one side of it.
#[derive(Debug, Default)]
pub struct Ranking {
    scores: HashMap<(AssetId, Person), Score, foldhash::fast::FixedState>,
    /// Best first.
    top: PerAsset<BTreeSet<(Reverse<u64>, RoomSeq, Person)>>,
}

impl Ranking {
    pub fn score(&self, asset: AssetId, person: Person) -> u64 {
        self.scores.get(&(asset, person)).map_or(0, |score| score.value)
    }

    /// Whether there is a place for this person.
    pub fn has_room(&self, asset: AssetId, person: Person) -> bool {
        self.scores.len() < RANKED_MAX || self.scores.contains_key(&(asset, person))
    }

    /// Sums only grow: of two the larger is the later one.
    pub fn set(&mut self, asset: AssetId, person: Person, score: Score) {
        let before = self.scores.get(&(asset, person)).copied();
        if before.is_some_and(|before| before.value >= score.value) {
            return;
        }
        self.scores.insert((asset, person), score);
        let top = self.top.entry(asset);
        let place = |score: Score| (Reverse(score.value), score.reached, person);
        if let Some(before) = before {
            top.remove(&place(before));
        }
        if top.len() < TOP_MAX || top.last().is_some_and(|last| place(score) < *last) {
            top.insert(place(score));
            if top.len() > TOP_MAX {
                top.pop_last();
            }
        }
    }

    pub fn top(&self, asset: AssetId, limit: usize) -> Vec<Ranked> {
        let Some(top) = self.top.get(asset) else { return Vec::new() };
        let ranked =
            |(rank, &(Reverse(value), reached, person))| Ranked { rank, person, score: Score { value, reached } };
        (1..).zip(top).take(limit).map(ranked).collect()
    }

    /// Where somebody stands who gave, or was given, anything.
    pub fn rank(&self, asset: AssetId, person: Person) -> Option<Ranked> {
        let score = *self.scores.get(&(asset, person))?;
        let is_ahead =
            |other: &Score| other.value > score.value || (other.value == score.value && other.reached < score.reached);
        let top = self.top.get(asset);
        let place = (Reverse(score.value), score.reached, person);
        let rank = match top.filter(|top| top.contains(&place)) {
            Some(top) => top.range(..place).count() as u64 + 1,
            None => {
                let others = self.scores.iter().filter(|((of, _), _)| *of == asset);
                others.filter(|(_, other)| is_ahead(other)).count() as u64 + 1
            }
        };
        Some(Ranked { rank, person, score })
    }

    pub fn len(&self) -> usize {
        self.scores.len()
    }

    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }
}

#[derive(Debug, Default)]
pub struct Board {
    pub senders: Ranking,
    pub hosts: Ranking,
}

impl Board {
    pub fn side(&self, side: Side) -> &Ranking {
        match side {
            Side::Senders => &self.senders,
            Side::Hosts => &self.hosts,
        }
    }

    pub fn side_mut(&mut self, side: Side) -> &mut Ranking {
        match side {
            Side::Senders => &mut self.senders,
            Side::Hosts => &mut self.hosts,
        }
    }
}

#[derive(Debug, Default)]
pub struct Boards {
    pub live: Board,
    pub day: Board,
    pub week: Board,
}

impl Boards {
    pub fn board(&self, period: Period) -> &Board {
        match period {
            Period::Live => &self.live,
            Period::Day => &self.day,
            Period::Week => &self.week,
        }
    }

    pub fn board_mut(&mut self, period: Period) -> &mut Board {
        match period {
            Period::Live => &mut self.live,
            Period::Day => &mut self.day,
            Period::Week => &mut self.week,
        }
    }

    /// Takes the sums that an entry carries.
    pub fn shown(&mut self, number: RoomSeq, gift: &GiftShown) {
        for_each_score(gift, |period, side, person, value| {
            let score = Score { value, reached: number };
            self.board_mut(period).side_mut(side).set(gift.asset, person, score);
        });
    }
}

/// Every sum that an entry carries.
pub fn for_each_score(gift: &GiftShown, mut each: impl FnMut(Period, Side, Person, u64)) {
    let mut all = |side, person, scores: &Scores| {
        for (period, value) in [(Period::Live, scores.live), (Period::Day, scores.day), (Period::Week, scores.week)] {
            if let Some(value) = value {
                each(period, side, person, value);
            }
        }
    };
    all(Side::Senders, gift.sender, &gift.scores.sender);
    let hosts = gift.receivers.iter().map(|host| Person::Named(*host));
    hosts.zip(&gift.scores.receivers).for_each(|(host, scores)| all(Side::Hosts, host, scores));
}

/// How days of business begin, east of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusinessZone {
    pub minutes_east: i32,
}

impl BusinessZone {
    /// Days of business since 1 January 1970.
    pub fn day(self, at: Time) -> u32 {
        let seconds = i64::try_from(at.get() / 1_000).unwrap_or(i64::MAX / 2) + 60 * i64::from(self.minutes_east);
        u32::try_from(seconds.div_euclid(86_400)).unwrap_or(0)
    }

    /// Weeks since then; they begin on Monday, and the first day was a Thursday.
    pub fn week(day: u32) -> u32 {
        (day + 3) / 7
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::UserId;

    const COIN: AssetId = AssetId(1);

    fn named(user: u64) -> Person {
        Person::Named(UserId(user))
    }

    fn score(value: u64, reached: u64) -> Score {
        Score { value, reached: RoomSeq(reached) }
    }

    #[test]
    fn of_equal_sums_the_earlier_one_is_ahead() {
        let mut ranking = Ranking::default();
        ranking.set(COIN, named(1), score(10, 1));
        ranking.set(COIN, named(2), score(30, 2));
        ranking.set(COIN, named(1), score(30, 3));
        let order: Vec<_> =
            ranking.top(COIN, 10).iter().map(|ranked| (ranked.rank, ranked.person.user().get())).collect();
        assert_eq!(order, [(1, 2), (2, 1)]);
        ranking.set(COIN, named(1), score(20, 9));
        assert_eq!(ranking.score(COIN, named(1)), 30, "a sum that comes late changes nothing");
    }

    #[test]
    fn ranks_below_the_top_are_exact_as_well() {
        let mut ranking = Ranking::default();
        let users = TOP_MAX as u64 + 50;
        for user in 1..=users {
            ranking.set(COIN, named(user), score(1 + user / 2, user));
        }
        let mut all: Vec<_> = (1..=users).map(|user| (Reverse(1 + user / 2), user)).collect();
        all.sort_unstable();
        for (rank, (_, user)) in (1..).zip(all) {
            assert_eq!(ranking.rank(COIN, named(user)).unwrap().rank, rank, "user {user}");
        }
        assert_eq!(ranking.top(COIN, usize::MAX).len(), TOP_MAX);
        ranking.set(COIN, named(1), score(u64::MAX, users + 1));
        assert_eq!(ranking.top(COIN, 1)[0].person, named(1), "from below the top straight to its head");
        assert_eq!(ranking.rank(COIN, named(999_999)), None);
    }

    #[test]
    fn a_day_of_business_begins_in_its_zone_and_a_week_on_monday() {
        // 2026-11-29 is a Sunday; 16:00 UTC is midnight in the zone that is eight hours ahead.
        let sunday = |hours: u64| Time((1_795_910_400 + hours * 3_600) * 1_000);
        let shanghai = BusinessZone { minutes_east: 480 };
        assert_eq!(shanghai.day(sunday(16)), shanghai.day(sunday(15)) + 1);
        assert_eq!(BusinessZone::default().day(sunday(16)), BusinessZone::default().day(sunday(15)));
        let weeks = [15, 16].map(|hours| BusinessZone::week(shanghai.day(sunday(hours))));
        assert_eq!(weeks[1], weeks[0] + 1, "Monday has come there");
    }
}
