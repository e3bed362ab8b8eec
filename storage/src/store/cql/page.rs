//! Pages of a user's history, read backwards, hour by hour of those that hold anything.
//!
//! A page reads a bounded number of hours and rows. Where that is not enough to fill it, it has fewer items than were asked
//! for, and a cursor.

use futures::future::try_join_all;
use futures::stream::{self, StreamExt, TryStreamExt};
use largesse_engine::event_id::EventId;
use largesse_engine::store::{HistorySlot, Page, ReceivedEntry, ReceivedQuery, SentQuery, StoreError, StoredEvent};
use largesse_engine::units::{Seq, ShardId, Time, UserId};
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::CqlStore;
use super::error::Failed;
use super::hours::Side;
use super::merge::{Merge, Next, Packed};
use super::place::{self, Hour, Place, Resume, SentKey};
use super::read::Paged;
use crate::store::PAGE_ITEMS_MAX;

/// Most hours that one page reads.
const HOURS_MAX: usize = 48;
/// Hours that are read at once: most pages need one or two.
const HOURS_AHEAD: usize = 4;
/// Most packed rows that one page reads. Rows can be large, and bounds can pass over many.
const ROWS_SCANNED_MAX: usize = 512;

type SentColumns = (Uuid, Vec<u8>, i64, CqlTimestamp, Vec<u8>);
type PackedColumns = (CqlTimestamp, i32, i64, i64, Vec<u8>);

/// Hours of a user that hold anything, latest first.
struct Hours {
    hours: Vec<(Hour, i32)>,
    /// There are more than one page reads.
    is_cut: bool,
}

impl CqlStore {
    async fn hours(
        &self,
        (shard, user): (ShardId, UserId),
        side: Side,
        from: Hour,
        down_to: Hour,
    ) -> Result<Hours, Failed> {
        let limit = i32::try_from(HOURS_MAX + 1).expect("a small number");
        let sub = self.layout.sub(user);
        let bounds = (from.column(), down_to.column(), limit);
        let values = (place::shard(shard), sub, place::user(user), side.column(), bounds.0, bounds.1, bounds.2);
        let found = self.select::<(CqlTimestamp, i32), _>(&self.statements.hours, values).await?;
        let hours = found.into_iter().map(|(hour, spreads)| Ok((Hour::read(hour)?, spreads)));
        let mut hours = hours.collect::<Result<Vec<_>, StoreError>>()?;
        let is_cut = hours.len() > HOURS_MAX;
        hours.truncate(HOURS_MAX);
        Ok(Hours { hours, is_cut })
    }

    pub(super) async fn sent(&self, query: &SentQuery) -> Result<Page<StoredEvent>, Failed> {
        let (shard, user) = (query.shard, query.user);
        let below = query.cursor.as_ref().map(|cursor| place::read_sent(cursor, shard, user)).transpose()?;
        let nothing = Page { items: Vec::new(), next: None };
        let Some((low, end)) = place::sent_bounds(query.since, query.until) else { return Ok(nothing) };
        let end = below.map_or(end.clone(), |below| below.min(end));
        if low >= end {
            return Ok(nothing);
        }
        let limit = query.limit.clamp(1, PAGE_ITEMS_MAX);
        let hours = self.hours((shard, user), Side::Sent, end.hour(), low.hour()).await?;
        let reading = hours.hours.iter().map(|(hour, _)| self.sent_in(query, *hour, (&low, &end), limit));
        let reading: Vec<_> = reading.collect();
        let mut reading = stream::iter(reading).buffered(HOURS_AHEAD);
        let mut found: Vec<(SentKey, StoredEvent)> = Vec::new();
        while found.len() <= limit
            && let Some(of_hour) = reading.try_next().await?
        {
            found.extend(of_hour);
        }
        let is_more = found.len() > limit;
        found.truncate(limit);
        let last_hour = hours.hours.last().filter(|_| hours.is_cut).map(|(hour, _)| hour.floor_of_sent());
        let goes_on = if is_more { found.last().map(|(key, _)| key.clone()) } else { last_hour };
        let next = goes_on.map(|key| place::sent_cursor(shard, user, &key));
        Ok(Page { items: found.into_iter().map(|(_, event)| event).collect(), next })
    }

    /// One more than the limit tells whether there is more.
    async fn sent_in(
        &self,
        query: &SentQuery,
        hour: Hour,
        (low, end): (&SentKey, &SentKey),
        limit: usize,
    ) -> Result<Vec<(SentKey, StoredEvent)>, Failed> {
        let (shard, user) = (query.shard, place::user(query.user));
        let at = (place::shard(shard), self.layout.sub(query.user), hour.column());
        let (end, low) = ((place::uuid(end.id), &end.head[..]), (place::uuid(low.id), &low.head[..]));
        let limit = i32::try_from(limit + 1).expect("a page is small");
        let values = (at.0, at.1, at.2, user, end.0, end.1, user, low.0, low.1, limit);
        let rows = self.select::<SentColumns, _>(&self.statements.sent_page, values).await?;
        let rows = rows.into_iter().map(|(id, head, seq, at, event)| {
            let key = SentKey { id: EventId::from_bytes(id.into_bytes()), head };
            (key, StoredEvent { shard, seq: place::read_seq(seq), at: place::read_time(at), event })
        });
        Ok(rows.collect())
    }

    pub(super) async fn received(&self, query: &ReceivedQuery) -> Result<Page<ReceivedEntry>, Failed> {
        let (shard, user) = (query.shard, query.user);
        let resume = query.cursor.as_ref().map(|cursor| place::read_received(cursor, shard, user)).transpose()?;
        let lowest = Place { slot: query.since.map_or(HistorySlot(0), HistorySlot::of), source: 0, seq: Seq::NONE };
        let highest = Place::top_of(query.until.map_or(HistorySlot(u32::MAX), HistorySlot::of));
        // A row is keyed by its lowest entry, so whatever goes on below a place lies at or below that key.
        let highest = resume.map_or(highest, |resume| highest.min(resume.place));
        let (mut page, mut rows_read) = (ReceivedPage::new(query, resume), 0);
        if lowest > highest {
            return Ok(page.end(None));
        }
        let hours = self.hours((shard, user), Side::Received, highest.hour(), lowest.hour()).await?;
        for (hour, spreads) in &hours.hours {
            let mut rows = SpreadRows::open(self, query, *hour, *spreads, (lowest, highest))?;
            let mut merge = Merge::new(resume);
            loop {
                match merge.next()? {
                    Next::Row => merge.take(rows.next().await?),
                    Next::Event(place, entries) => {
                        if !page.takes(place, entries) || rows_read + rows.given >= ROWS_SCANNED_MAX {
                            let last = page.last;
                            return Ok(page.end(last));
                        }
                    }
                    Next::End => break,
                }
            }
            rows_read += rows.given;
        }
        let floor = hours.hours.last().filter(|_| hours.is_cut).map(|(hour, _)| hour.floor_of_received());
        Ok(page.end(floor.map(|place| Resume { place, used: 0 })))
    }
}

/// A page of received entries in the making.
struct ReceivedPage<'a> {
    query: &'a ReceivedQuery,
    resume: Option<Resume>,
    limit: usize,
    items: Vec<ReceivedEntry>,
    /// Behind what was taken or passed over.
    last: Option<Resume>,
}

impl<'a> ReceivedPage<'a> {
    fn new(query: &'a ReceivedQuery, resume: Option<Resume>) -> ReceivedPage<'a> {
        let limit = query.limit.clamp(1, PAGE_ITEMS_MAX);
        ReceivedPage { query, resume, limit, items: Vec::new(), last: resume }
    }

    /// Whether the page has room for more.
    fn takes(&mut self, place: Place, entries: Vec<ReceivedEntry>) -> bool {
        // Within one event the later entries come first as well.
        for (used, entry) in (1..).zip(entries.into_iter().rev()) {
            if self.resume.is_some_and(|resume| resume.place == place && used <= resume.used) {
                continue;
            }
            let is_wanted = is_within(entry.at, self.query.since, self.query.until);
            if is_wanted && self.items.len() == self.limit {
                return false;
            }
            if is_wanted {
                self.items.push(entry);
            }
            self.last = Some(Resume { place, used });
        }
        true
    }

    fn end(self, goes_on: Option<Resume>) -> Page<ReceivedEntry> {
        let next = goes_on.map(|at| place::received_cursor(self.query.shard, self.query.user, at));
        Page { items: self.items, next }
    }
}

fn is_within(at: Time, since: Option<Time>, until: Option<Time>) -> bool {
    since.is_none_or(|since| since <= at) && until.is_none_or(|until| at <= until)
}

/// The packed rows of one hour, highest first, out of all partitions that they are spread over.
struct SpreadRows<'a> {
    store: &'a CqlStore,
    parts: Vec<Paged<PackedColumns>>,
    given: usize,
}

impl<'a> SpreadRows<'a> {
    fn open(
        store: &'a CqlStore,
        query: &ReceivedQuery,
        hour: Hour,
        spreads: i32,
        (lowest, highest): (Place, Place),
    ) -> Result<SpreadRows<'a>, Failed> {
        let (sub, user) = (store.layout.sub(query.user), place::user(query.user));
        let (high, low) = (highest.columns(), lowest.columns());
        let parts = (0..spreads.max(1)).map(|spread| {
            let at = (place::shard(query.shard), sub, hour.column(), spread);
            let values = (at.0, at.1, at.2, at.3, user, high.0, high.1, high.2, user, low.0, low.1, low.2);
            Paged::new(&store.statements.received_page, &values)
        });
        Ok(SpreadRows { store, parts: parts.collect::<Result<_, _>>()?, given: 0 })
    }

    async fn next(&mut self) -> Result<Option<Packed>, Failed> {
        try_join_all(self.parts.iter_mut().map(|part| part.fill(self.store))).await?;
        let first_of = |part: &Paged<PackedColumns>| part.rows.front().map(|row| (row.0, row.1, row.2));
        let highest = (0..self.parts.len()).max_by_key(|number| first_of(&self.parts[*number]));
        let row = highest.and_then(|number| self.parts[number].rows.pop_front());
        let Some((slot, source, first, last, entries)) = row else { return Ok(None) };
        self.given += 1;
        let source = source.cast_unsigned();
        let first = Place { slot: place::read_slot(slot)?, source, seq: place::read_seq(first) };
        Ok(Some(Packed { first, last: place::read_seq(last), entries }))
    }
}
