//! Puts packed rows of what a user received in order, each event once.
//!
//! Rows come by falling first seq; where some of one slot and source overlap, they are merged. Only two flushers that both
//! thought they owned the source make rows that overlap, or one whose rows were spread further in between.

use std::collections::VecDeque;

use largesse_engine::store::{HistorySlot, ReceivedEntry, StoreError};
use largesse_engine::units::Seq;

use super::place::{Place, Resume};
use super::values;

/// How many rows of one slot and source are looked at together.
const ROWS_AHEAD: usize = 64;

/// A row as it was found.
#[derive(Clone, Debug)]
pub struct Packed {
    /// The place of its first entry.
    pub first: Place,
    pub last: Seq,
    pub entries: Vec<u8>,
}

/// Fed with rows, highest first, it gives events, highest first, with all that each brought.
#[derive(Default)]
pub struct Merge {
    /// The first row of the next slot or source.
    next_group: Option<Packed>,
    /// Slot and source whose rows are being merged.
    group: Option<(HistorySlot, u32)>,
    /// Everything from here on up was given or skipped.
    below: Option<Seq>,
    /// Rows that were found and not opened.
    ahead: VecDeque<Packed>,
    /// Entries of opened rows, lowest seq first.
    open: Vec<Vec<ReceivedEntry>>,
    /// What the page goes on from: the first entries of that place are still needed to be counted.
    resume: Option<Resume>,
    is_at_end: bool,
}

/// What happens next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// The next row is needed first.
    Row,
    Event(Place, Vec<ReceivedEntry>),
    End,
}

impl Merge {
    pub fn new(resume: Option<Resume>) -> Merge {
        Merge { resume, ..Merge::default() }
    }

    /// The row that was asked for; `None` when there is no other.
    pub fn take(&mut self, row: Option<Packed>) {
        match row {
            None => self.is_at_end = true,
            Some(row) if self.group == Some((row.first.slot, row.first.source)) => self.ahead.push_back(row),
            Some(row) => self.next_group = Some(row),
        }
    }

    pub fn next(&mut self) -> Result<Next, StoreError> {
        loop {
            if self.lacks_rows() {
                return Ok(Next::Row);
            }
            if self.open_highest()? {
                continue;
            }
            let (Some(seq), Some((slot, source))) = (self.highest_open(), self.group) else {
                match self.next_group.take() {
                    Some(row) => self.start_group(row),
                    None => return Ok(Next::End),
                }
                continue;
            };
            let entries = self.entries_of(seq);
            if self.below.is_none_or(|below| seq < below) {
                self.below = Some(seq);
                return Ok(Next::Event(Place { slot, source, seq }, entries));
            }
        }
    }

    fn lacks_rows(&self) -> bool {
        self.ahead.len() < ROWS_AHEAD && self.next_group.is_none() && !self.is_at_end
    }

    fn highest_open(&self) -> Option<Seq> {
        self.open.iter().filter_map(|entries| entries.last()).map(|entry| entry.seq).max()
    }

    /// Opens the row that may hold something higher than what is open, if there is one.
    fn open_highest(&mut self) -> Result<bool, StoreError> {
        let candidate = self.ahead.iter().enumerate().max_by_key(|(_, row)| row.last);
        let Some((index, row)) = candidate else { return Ok(false) };
        if self.highest_open().is_some_and(|open| open > row.last) {
            return Ok(false);
        }
        let mut entries = values::read_entries(&row.entries)?;
        self.ahead.remove(index);
        if let Some(below) = self.below {
            entries.truncate(entries.partition_point(|entry| entry.seq < below));
        }
        if !entries.is_empty() {
            self.open.push(entries);
        }
        Ok(true)
    }

    /// Takes the entries of this event from every open row, and keeps those of one.
    fn entries_of(&mut self, seq: Seq) -> Vec<ReceivedEntry> {
        let mut kept = Vec::new();
        for entries in &mut self.open {
            let from = entries.partition_point(|entry| entry.seq < seq);
            let same = entries.split_off(from);
            if kept.is_empty() {
                kept = same;
            }
        }
        self.open.retain(|entries| !entries.is_empty());
        kept
    }

    fn start_group(&mut self, row: Packed) {
        self.group = Some((row.first.slot, row.first.source));
        // The resumed event itself is given again, since only some of its entries may have been.
        let resumed = self.resume.filter(|at| Some((at.place.slot, at.place.source)) == self.group);
        self.below = resumed.map(|at| at.place.seq.next());
        self.ahead.push_back(row);
    }
}
