//! One room in memory: its head, its open streaks, its boards, and its last entries.

use std::collections::VecDeque;
use std::sync::Arc;

use bincode::{Decode, Encode};
use hashbrown::HashSet;

use crate::codec;
use crate::machine::Impossible;
use crate::room::board::{Boards, Score, Side};
use crate::room::combo::{Combo, ComboKey, Combos};
use crate::room::command::Chunk;
use crate::room::event::{FeedWhat, Period, RoomHead, RoomShown, RowGroup};
use crate::room::person::Person;
use crate::store::RoomRow;
use crate::units::{AssetId, RoomSeq, Seq, Time, UserId};

/// Entries of one room that stay in memory.
const TAIL_ITEMS_MAX: usize = 2_048;

#[derive(Debug, Default)]
pub struct RoomState {
    /// `None` while nothing is known of it, or nothing happened in it yet.
    pub head: Option<Arc<RoomHead>>,
    pub combos: Combos,
    pub boards: Boards,
    tail: VecDeque<Chunk>,
    tail_items: usize,
    /// The event that last changed it.
    pub(super) seq: Seq,
    /// False while only what the log's replay touched is known.
    pub(super) is_whole: bool,
    /// Streaks that ended in the replay, whose rows must not bring them back.
    ended: HashSet<RoomSeq, foldhash::fast::FixedState>,
    /// Touched since the last sweep.
    pub(super) is_recent: bool,
    /// Commands that wait for it.
    pub(super) asked: u16,
}

/// Which row of a room; the row's key is its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum RowKey {
    Head,
    /// By its slot.
    Combo(u32),
    Sender(AssetId, Person),
    Host(AssetId, UserId),
}

impl RowKey {
    pub fn score(side: Side, asset: AssetId, person: Person) -> RowKey {
        match side {
            Side::Senders => RowKey::Sender(asset, person),
            Side::Hosts => RowKey::Host(asset, person.user()),
        }
    }
}

/// The row of an open streak.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ComboRow {
    pub key: ComboKey,
    pub combo: Combo,
}

/// The row of somebody's sum on a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ScoreRow {
    pub value: u64,
    pub reached: RoomSeq,
}

impl RoomState {
    /// When something is to happen here by time.
    pub fn due(&self) -> Option<Time> {
        let head = self.head.as_ref()?;
        let combos = self.combos.due().map(|due| if head.is_open { due } else { Time::ZERO });
        let plugins = head.plugins.iter().filter_map(super::plugin::PluginState::due);
        plugins.chain(combos).min()
    }

    /// Takes in what an event shows of it.
    pub fn apply(&mut self, seq: Seq, shown: &RoomShown) -> Chunk {
        for group in &shown.ended {
            match group.period() {
                Some(period) => *self.boards.board_mut(period) = Default::default(),
                None => unreachable!("a room itself does not end"),
            }
        }
        for (place, item) in (0..).zip(&shown.items) {
            let number = shown.first.plus(place);
            match &item.what {
                FeedWhat::Gift(gift) => {
                    self.boards.shown(number, gift);
                    if let Some(now) = gift.combo {
                        let (sender, asset) = (gift.sender, gift.asset);
                        let key = ComboKey { sender, gift: gift.gift, asset, receivers: gift.receivers.clone() };
                        self.combos.set(key, Combo { now, client: gift.client_combo });
                    }
                }
                FeedWhat::ComboEnded(ended) => {
                    self.combos.end(ended.id);
                    if !self.is_whole {
                        self.ended.insert(ended.id);
                    }
                }
                FeedWhat::LiveStarted { .. } | FeedWhat::LiveEnded { .. } | FeedWhat::Plugin(_) => {}
            }
        }
        self.head = Some(Arc::new(shown.head.clone()));
        (self.seq, self.is_recent) = (seq, true);
        let chunk = Chunk { first: shown.first, items: shown.items.clone().into() };
        self.keep(chunk.clone());
        chunk
    }

    fn keep(&mut self, chunk: Chunk) {
        if chunk.items.is_empty() {
            return;
        }
        self.tail_items += chunk.items.len();
        self.tail.push_back(chunk);
        while self.tail_items > TAIL_ITEMS_MAX
            && self.tail.len() > 1
            && let Some(oldest) = self.tail.pop_front()
        {
            self.tail_items -= oldest.items.len();
        }
    }

    /// The chunks with what comes after this entry, if it is all here.
    pub fn tail(&self, after: RoomSeq, limit: usize) -> Option<Vec<Chunk>> {
        let next = self.head.as_ref().map_or(RoomSeq::FIRST, |head| head.next);
        if after.next() >= next {
            return Some(Vec::new());
        }
        if self.tail.front().is_none_or(|oldest| oldest.first > after.next()) {
            return None;
        }
        let mut left = limit;
        let wanted = self.tail.iter().skip_while(|chunk| chunk.next() <= after.next());
        let mut enough = |chunk: &&Chunk| {
            let is_wanted = left > 0;
            left = left.saturating_sub(chunk.items.len());
            is_wanted
        };
        Some(wanted.take_while(&mut enough).cloned().collect())
    }

    /// Lays rows of the store under what the replay brought.
    pub fn take_rows(&mut self, rows: &[RoomRow], last: Seq) -> Result<(), Impossible> {
        if let Some(row) = rows.iter().find(|row| row.seq > last) {
            let (seq, room) = (row.seq, row.room);
            let what = format!("the store has a row of room {room} from event {seq}, the log ends at {last}");
            return Err(Impossible(format!("{what}: the log lost records")));
        }
        let impossible = |error: codec::Undecodable| Impossible(error.to_string());
        let mut keyed = Vec::with_capacity(rows.len());
        for row in rows {
            keyed.push((codec::decode::<RowKey>(&row.key).map_err(impossible)?, row));
        }
        // The head first: it says which periods the scores are of.
        keyed.sort_unstable_by_key(|(key, _)| *key);
        for (key, row) in keyed {
            match key {
                RowKey::Head => {
                    if self.head.is_none() {
                        self.head = Some(Arc::new(codec::decode(&row.value).map_err(impossible)?));
                    }
                }
                RowKey::Combo(_) => {
                    let ComboRow { key, combo } = codec::decode(&row.value).map_err(impossible)?;
                    let id = combo.now.id;
                    if !self.combos.contains(id) && !self.ended.contains(&id) {
                        self.combos.set(key, combo);
                    }
                }
                RowKey::Sender(asset, sender) => self.take_score(row, Side::Senders, asset, sender)?,
                RowKey::Host(asset, host) => self.take_score(row, Side::Hosts, asset, Person::Named(host))?,
            }
        }
        self.seq = rows.iter().map(|row| row.seq).max().unwrap_or_default().max(self.seq);
        self.combos.sort();
        self.ended = HashSet::default();
        (self.is_whole, self.is_recent) = (true, true);
        Ok(())
    }

    fn take_score(&mut self, row: &RoomRow, side: Side, asset: AssetId, person: Person) -> Result<(), Impossible> {
        let Some(period) = self.period_of(row.group) else { return Ok(()) };
        let ScoreRow { value, reached } = codec::decode(&row.value).map_err(|error| Impossible(error.to_string()))?;
        self.boards.board_mut(period).side_mut(side).set(asset, person, Score { value, reached });
        Ok(())
    }

    /// The board that a group of rows is of, unless its period has ended.
    fn period_of(&self, group: RowGroup) -> Option<Period> {
        let head = self.head.as_ref()?;
        Period::ALL.into_iter().find(|period| group == RowGroup::of(*period, head.number(*period)))
    }
}
