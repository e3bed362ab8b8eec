//! Pages of a user's history, read backwards from the tables.

use std::collections::VecDeque;

use fjall::{Keyspace, UserValue};
use largesse_engine::store::{HistorySlot, Page, ReceivedEntry, ReceivedQuery, SentQuery, StoreError, StoredEvent};
use largesse_engine::units::{Seq, Time};

use super::error::read_failed;
use super::keys::{self, Place, Resume};
use super::values;
use crate::store::PAGE_ITEMS_MAX;

/// Most rows that one page reads. Rows can be large, and filters can pass over many.
const ROWS_SCANNED_MAX: usize = 512;
/// How many rows of one slot and source are looked at together to put overlapping ones in order. Only two flushers that
/// both thought they owned the source make rows that overlap, so two or three would nearly always do.
const ROWS_AHEAD: usize = 64;

pub fn sent(table: &Keyspace, query: &SentQuery) -> Result<Page<StoredEvent>, StoreError> {
    let (shard, user) = (query.shard, query.user);
    let below = match &query.cursor {
        Some(cursor) => Some(keys::with_tail(shard, user, keys::read_sent_cursor(cursor, shard, user)?)),
        None => None,
    };
    let mut page = Page { items: Vec::new(), next: None };
    let Some((low, high)) = keys::sent_bounds(shard, user, query.since, query.until) else { return Ok(page) };
    // The cursor's own row may lie above `until` when the bounds were narrowed since.
    let high = below.clone().map_or_else(|| high.clone(), |below| below.min(high.clone()));
    if low > high {
        return Ok(page);
    }
    let limit = query.limit.clamp(1, PAGE_ITEMS_MAX);
    let mut last_tail = Vec::new();
    for row in table.range(low..=high).rev() {
        let (key, value) = row.into_inner().map_err(read_failed)?;
        if below.as_deref() == Some(&*key) {
            continue;
        }
        if page.items.len() == limit {
            page.next = Some(keys::sent_cursor(shard, user, &last_tail));
            break;
        }
        page.items.push(values::read_sent(&value)?);
        last_tail = key[12..].to_vec();
    }
    Ok(page)
}

pub fn received(table: &Keyspace, query: &ReceivedQuery) -> Result<Page<ReceivedEntry>, StoreError> {
    let (shard, user) = (query.shard, query.user);
    let resume = match &query.cursor {
        Some(cursor) => Some(keys::read_received_cursor(cursor, shard, user)?),
        None => None,
    };
    let mut page = Page { items: Vec::new(), next: None };
    let lowest = Place { slot: query.since.map_or(HistorySlot(0), HistorySlot::of), source: 0, seq: Seq::NONE };
    let highest = Place::top_of(query.until.map_or(HistorySlot(u32::MAX), HistorySlot::of));
    // A row is keyed by its lowest entry, so whatever goes on below a place lies at or below that key.
    let highest = resume.map_or(highest, |resume| highest.min(resume.place));
    if lowest > highest {
        return Ok(page);
    }
    let limit = query.limit.clamp(1, PAGE_ITEMS_MAX);
    let (low, high) = (keys::received(shard, user, lowest), keys::received(shard, user, highest));
    let mut merged = Merged::new(table.range(low..=high).rev(), resume);
    let mut last = resume;
    while let Some((place, entries)) = merged.next_event()? {
        // Within one event the later entries come first as well.
        for (number, entry) in (1..).zip(entries.into_iter().rev()) {
            let at = Resume { place, used: number };
            if resume.is_some_and(|resume| resume.place == place && number <= resume.used) {
                continue;
            }
            let wanted = is_within(entry.at, query.since, query.until);
            if wanted && page.items.len() == limit {
                page.next = last.map(|last| keys::received_cursor(shard, user, last));
                return Ok(page);
            }
            if wanted {
                page.items.push(entry);
            }
            last = Some(at);
        }
        if merged.rows_read >= ROWS_SCANNED_MAX {
            page.next = last.map(|last| keys::received_cursor(shard, user, last));
            return Ok(page);
        }
    }
    Ok(page)
}

fn is_within(at: Time, since: Option<Time>, until: Option<Time>) -> bool {
    since.is_none_or(|since| since <= at) && until.is_none_or(|until| at <= until)
}

/// A row that was found and not opened.
struct Closed {
    last: Seq,
    value: UserValue,
}

/// Events of the rows, highest place first and each once, with all that it brought.
///
/// Rows come by falling first seq; where some of one slot and source overlap, they are merged.
struct Merged<Rows> {
    rows: Rows,
    /// The first row of the next slot or source.
    next_group: Option<(Place, UserValue)>,
    /// Slot and source whose rows are being merged.
    group: Option<(HistorySlot, u32)>,
    /// Everything from here on up was given or skipped.
    below: Option<Seq>,
    ahead: VecDeque<Closed>,
    /// Entries of opened rows, lowest seq first.
    open: Vec<Vec<ReceivedEntry>>,
    /// What the page goes on from: the first entries of that place are still needed to be counted.
    resume: Option<Resume>,
    rows_read: usize,
    is_at_end: bool,
}

impl<Rows: Iterator<Item = fjall::Guard>> Merged<Rows> {
    fn new(rows: Rows, resume: Option<Resume>) -> Self {
        Merged {
            rows,
            next_group: None,
            group: None,
            below: None,
            ahead: VecDeque::new(),
            open: Vec::new(),
            resume,
            rows_read: 0,
            is_at_end: false,
        }
    }

    fn next_event(&mut self) -> Result<Option<(Place, Vec<ReceivedEntry>)>, StoreError> {
        loop {
            self.look_ahead()?;
            self.open_what_may_be_highest()?;
            let (Some(seq), Some((slot, source))) = (self.highest_open(), self.group) else {
                match self.next_group.take() {
                    Some((first, value)) => self.start_group(first, value)?,
                    None => return Ok(None),
                }
                continue;
            };
            let entries = self.take(seq);
            if self.below.is_some_and(|below| seq >= below) {
                continue;
            }
            self.below = Some(seq);
            return Ok(Some((Place { slot, source, seq }, entries)));
        }
    }

    fn highest_open(&self) -> Option<Seq> {
        self.open.iter().filter_map(|entries| entries.last()).map(|entry| entry.seq).max()
    }

    /// Takes the entries of this event from every open row, and keeps those of one.
    fn take(&mut self, seq: Seq) -> Vec<ReceivedEntry> {
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

    fn open_what_may_be_highest(&mut self) -> Result<(), StoreError> {
        loop {
            let candidate = self.ahead.iter().enumerate().max_by_key(|(_, row)| row.last);
            let Some((index, row)) = candidate else { return Ok(()) };
            if self.highest_open().is_some_and(|open| open > row.last) {
                return Ok(());
            }
            let mut entries = values::read_received(&row.value)?;
            self.ahead.remove(index);
            if let Some(below) = self.below {
                entries.truncate(entries.partition_point(|entry| entry.seq < below));
            }
            if !entries.is_empty() {
                self.open.push(entries);
            }
            self.look_ahead()?;
        }
    }

    fn look_ahead(&mut self) -> Result<(), StoreError> {
        while self.ahead.len() < ROWS_AHEAD && self.next_group.is_none() && !self.is_at_end {
            let Some(row) = self.rows.next() else {
                self.is_at_end = true;
                break;
            };
            let (key, value) = row.into_inner().map_err(read_failed)?;
            self.rows_read += 1;
            let first = keys::read_received(&key)?;
            if self.group == Some((first.slot, first.source)) {
                self.ahead.push_back(Closed { last: values::read_received_last(&value)?, value });
            } else {
                self.next_group = Some((first, value));
            }
        }
        Ok(())
    }

    fn start_group(&mut self, first: Place, value: UserValue) -> Result<(), StoreError> {
        self.group = Some((first.slot, first.source));
        // The resumed event itself is given again, since only some of its entries may have been.
        let resumed = self.resume.filter(|at| (at.place.slot, at.place.source) == (first.slot, first.source));
        self.below = resumed.map(|at| at.place.seq.next());
        self.ahead.push_back(Closed { last: values::read_received_last(&value)?, value });
        Ok(())
    }
}
