//! What is in the columns that hold bytes: a byte that names the format, then the value.

use largesse_engine::codec;
use largesse_engine::fold::Fold;
use largesse_engine::store::{Checkpoint, ReceivedEntry, StoreError};
use largesse_engine::units::{Position, ShardId, Time};

const FORMAT: u8 = 1;
const POSITION_BYTES: usize = 8;

pub fn entries(entries: &[ReceivedEntry]) -> Vec<u8> {
    let mut out = vec![FORMAT];
    codec::encode_into(&entries, &mut out);
    out
}

pub fn read_entries(value: &[u8]) -> Result<Vec<ReceivedEntry>, StoreError> {
    let body = body("received", value)?;
    codec::decode(body).map_err(|error| damaged("received", &error.to_string()))
}

/// Entries of a feed, which are packed already.
pub fn items(items: &[u8]) -> Vec<u8> {
    with_format(items)
}

pub fn read_items(value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    without_format("room_feed", value)
}

/// A row of what a room is besides its feed.
pub fn state(value: &[u8]) -> Vec<u8> {
    with_format(value)
}

pub fn read_state(value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    without_format("room_state", value)
}

fn with_format(value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + value.len());
    out.push(FORMAT);
    out.extend_from_slice(value);
    out
}

fn without_format(table: &str, mut value: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    body(table, &value)?;
    value.remove(0);
    Ok(value)
}

/// How far the rows are. The position comes first, as its bytes in order: of two halves with as many events the database
/// keeps the larger value, and that must be the one that was read further.
pub fn rows_half(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut out = checkpoint.position.get().to_be_bytes().to_vec();
    out.push(FORMAT);
    codec::encode_into(&(checkpoint.fold, checkpoint.time, &checkpoint.state), &mut out);
    out
}

/// From where relays are read again.
pub fn relay_half(checkpoint: &Checkpoint) -> Vec<u8> {
    let mut out = checkpoint.relay_position.get().to_be_bytes().to_vec();
    out.push(FORMAT);
    codec::encode_into(&checkpoint.relay_fold, &mut out);
    out
}

pub fn read_checkpoint(shard: ShardId, rows: &[u8], relays: &[u8]) -> Result<Checkpoint, StoreError> {
    let failed = |error: codec::Undecodable| damaged("checkpoint", &error.to_string());
    let (position, value) = read_half(rows)?;
    let (fold, time, state): (Fold, Time, Vec<u8>) = codec::decode(value).map_err(failed)?;
    let (relay_position, value) = read_half(relays)?;
    let relay_fold = codec::decode(value).map_err(failed)?;
    Ok(Checkpoint { shard, position, relay_position, relay_fold, fold, time, state })
}

fn read_half(half: &[u8]) -> Result<(Position, &[u8]), StoreError> {
    let (position, value) =
        half.split_first_chunk::<POSITION_BYTES>().ok_or_else(|| damaged("checkpoint", "it is too short"))?;
    Ok((Position(u64::from_be_bytes(*position)), body("checkpoint", value)?))
}

fn body<'a>(table: &str, value: &'a [u8]) -> Result<&'a [u8], StoreError> {
    match value.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        Some((format, _)) => {
            Err(damaged(table, &format!("format {format} is unknown, this program reads {FORMAT}; is it too old?")))
        }
        None => Err(damaged(table, "it is empty")),
    }
}

fn damaged(table: &str, why: &str) -> StoreError {
    StoreError::Damaged(format!("a value of table {table}: {why}"))
}

#[cfg(test)]
mod tests {
    use largesse_engine::event_id::EventId;
    use largesse_engine::store::ReceivedKind;
    use largesse_engine::units::{Amount, AssetId, Epoch, GiftId, RoomId, Seq, UserId};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn checkpoint(next: u64, position: u64) -> Checkpoint {
        let fold = |next| Fold { epoch: Some(Epoch(3)), next: Seq(next) };
        Checkpoint {
            shard: ShardId::wallet(3),
            position: Position(position),
            relay_position: Position(5),
            relay_fold: fold(4),
            fold: fold(next),
            time: Time(1_700_000_000_000),
            state: vec![1, 2, 3],
        }
    }

    /// Stored for years: if this fails, nobody can read what they have.
    #[test]
    fn bytes_stay_what_they_are() {
        let one = checkpoint(300, 258);
        let (rows, relays) = (rows_half(&one), relay_half(&one));
        assert_eq!(hex(&rows), "0000000000000102010103fb2c01fd0068e5cf8b01000003010203");
        assert_eq!(hex(&relays), "000000000000000501010304");
        assert_eq!(read_checkpoint(one.shard, &rows, &relays), Ok(one));
        let entry = |kind| ReceivedEntry {
            source: ShardId::wallet(2),
            seq: Seq(7),
            at: Time(1_700_000_000_000),
            id: EventId::v7(Time(1_700_000_000_000), [9; 10]),
            kind,
            sender: UserId(3001),
            asset: AssetId(1),
            amount: Amount::new(50).unwrap(),
        };
        let gift = ReceivedKind::Gift { room: RoomId(1001), gift: GiftId(7), count: 5 };
        let nameless = ReceivedKind::AnonymousGift { room: RoomId(1001), gift: GiftId(7), count: 5 };
        let list = vec![entry(gift), entry(ReceivedKind::Transfer), entry(nameless)];
        let packed = entries(&list);
        assert_eq!(
            hex(&packed),
            "0103010207fd0068e5cf8b010000018bcfe568007909890909090909090900fbe9030705fbb90b0132\
             010207fd0068e5cf8b010000018bcfe5680079098909090909090909\
             01fbb90b0132\
             010207fd0068e5cf8b010000018bcfe568007909890909090909090902fbe9030705fbb90b0132"
        );
        assert_eq!(read_entries(&packed), Ok(list));
    }

    #[test]
    fn of_equally_many_events_the_half_that_was_read_further_is_the_larger_value() {
        for (less, more) in [(1, 2), (255, 256), (65_535, 65_536), (1 << 40, (1 << 40) + 1)] {
            assert!(rows_half(&checkpoint(9, less)) < rows_half(&checkpoint(9, more)), "{less} {more}");
        }
    }

    #[test]
    fn damage_and_newer_formats_are_named() {
        let one = checkpoint(9, 9);
        let (mut rows, relays) = (rows_half(&one), relay_half(&one));
        assert!(read_checkpoint(one.shard, &rows[..5], &relays).is_err());
        rows[8] = 2;
        let told = read_checkpoint(one.shard, &rows, &relays).unwrap_err().to_string();
        assert!(told.contains("checkpoint") && told.contains("format 2"), "{told}");
        assert!(read_entries(&[]).is_err() && read_entries(&[1, 1]).is_err());
        assert_eq!(read_items(items(&[7, 8])), Ok(vec![7, 8]));
        let told = read_state(vec![2, 7]).unwrap_err().to_string();
        assert!(told.contains("room_state") && told.contains("format 2"), "{told}");
        assert!(read_state(Vec::new()).is_err());
    }
}
