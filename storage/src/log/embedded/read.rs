//! Reading records back: from the cache, or in large pieces from the segments.

use std::sync::Arc;

use bytes::Bytes;
use largesse_engine::log::LogError;
use largesse_engine::record::LogEntry;
use largesse_engine::units::{Position, ShardId};

use super::Shared;
use super::format::{FRAME_HEADER_BYTES, frame_at, size};
use super::index::{Place, Shard, lock};

/// Longest piece that is read from a file at once.
const PIECE_BYTES_MAX: u64 = 1 << 20;

pub(super) async fn read(
    shared: &Arc<Shared>,
    shard: &Shard,
    from: Position,
    bytes_max: usize,
) -> Result<Vec<LogEntry>, LogError> {
    let truncated = |first| LogError::Truncated { shard: shard.id, asked: from, first: Position(first) };
    let places = shard.places(from.get(), bytes_max).map_err(truncated)?;
    let cached: Vec<Option<Bytes>> = {
        let cache = lock(&shared.cache);
        places.iter().map(|place| cache.get(place.position)).collect()
    };
    // The cache holds the latest, so what it lacks comes first.
    let missing = cached.iter().rposition(Option::is_none).map_or(0, |last| last + 1);
    let mut records = if missing == 0 {
        Vec::new()
    } else {
        let (id, places) = (shard.id, places[..missing].to_vec());
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => {
                let read = runtime.spawn_blocking(move || read_places(id, &places));
                read.await.map_err(|error| LogError::Unavailable(error.to_string()))??
            }
            Err(_) => read_places(id, &places)?,
        }
    };
    records.extend(cached.into_iter().skip(missing).flatten());
    places.iter().zip(&records).map(|(place, record)| decode(shard.id, place, record)).collect()
}

fn decode(shard: ShardId, place: &Place, record: &Bytes) -> Result<LogEntry, LogError> {
    LogEntry::decode(Position(place.position), record).map_err(|error| damaged(shard, place, &error.to_string()))
}

fn damaged(shard: ShardId, place: &Place, why: &str) -> LogError {
    let offset = place.position - place.segment.base;
    let place = format!("{} offset {offset}", place.segment.path.display());
    LogError::Damaged { shard, place, why: why.into() }
}

/// Reads the records of these places, neighbours together.
fn read_places(shard: ShardId, places: &[Place]) -> Result<Vec<Bytes>, LogError> {
    let mut records = Vec::with_capacity(places.len());
    let mut rest = places;
    while !rest.is_empty() {
        let (piece, others) = rest.split_at(piece_len(rest));
        let (from, to) = (piece[0].position, end(&piece[piece.len() - 1]));
        let bytes = piece[0].segment.read(from, to - from);
        let bytes = Bytes::from(
            bytes.map_err(|why| LogError::Unavailable(damaged(shard, &piece[0], &why.to_string()).to_string()))?,
        );
        for place in piece {
            let at = size(place.position - from);
            match frame_at(&bytes[at..], place.segment.base, place.position) {
                Some(frame) if frame.len == place.len && frame.shard == shard.to_u32() => {
                    let start = at + size(FRAME_HEADER_BYTES);
                    records.push(bytes.slice(start..start + place.len as usize));
                }
                _ => return Err(damaged(shard, place, "the record's checksum does not match")),
            }
        }
        rest = others;
    }
    Ok(records)
}

fn end(place: &Place) -> u64 {
    place.position + FRAME_HEADER_BYTES + u64::from(place.len)
}

/// How many of the places are worth reading at once: as long as at least a quarter of what is read is wanted.
fn piece_len(places: &[Place]) -> usize {
    let from = places[0].position;
    let mut wanted = 0;
    let fits = |place: &Place| {
        wanted += u64::from(place.len) + FRAME_HEADER_BYTES;
        let span = end(place) - from;
        place.segment.base == places[0].segment.base && span <= PIECE_BYTES_MAX && span <= 4 * wanted
    };
    1 + places.iter().take(1).chain(&places[1..]).map(fits).skip(1).take_while(|fits| *fits).count()
}
