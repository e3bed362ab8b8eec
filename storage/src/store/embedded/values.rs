//! Values of the tables: a byte that names the format, then the value.

use largesse_engine::codec;
use largesse_engine::store::{Checkpoint, FeedRow, ReceivedEntry, ReceivedRow, RoomRow, StoreError, StoredEvent};
use largesse_engine::units::{Amount, RoomSeq, Seq};

const FORMAT: u8 = 1;

/// Replaces what is in `out`.
pub fn balance(amount: Amount, seq: Seq, out: &mut Vec<u8>) {
    start(out);
    codec::encode_into(&(amount, seq), out);
}

pub fn read_balance(value: &[u8]) -> Result<(Amount, Seq), StoreError> {
    codec::decode(body("balance", value)?).map_err(|error| damaged("balance", &error.to_string()))
}

pub fn sent(event: &StoredEvent, out: &mut Vec<u8>) {
    start(out);
    codec::encode_into(event, out);
}

pub fn read_sent(value: &[u8]) -> Result<StoredEvent, StoreError> {
    codec::decode(body("sent", value)?).map_err(|error| damaged("sent", &error.to_string()))
}

/// `last` lies in front at a fixed place, so that it can be compared without reading the entries.
pub fn received(row: &ReceivedRow, out: &mut Vec<u8>) {
    start(out);
    out.extend_from_slice(&row.last.get().to_be_bytes());
    codec::encode_into(&row.entries, out);
}

pub fn read_received_last(value: &[u8]) -> Result<Seq, StoreError> {
    Ok(Seq(number_and_rest("received", value)?.0))
}

pub fn read_received(value: &[u8]) -> Result<Vec<ReceivedEntry>, StoreError> {
    codec::decode(number_and_rest("received", value)?.1).map_err(|error| damaged("received", &error.to_string()))
}

/// `last` lies in front, as that of a received row does.
pub fn feed(row: &FeedRow, out: &mut Vec<u8>) {
    start(out);
    out.extend_from_slice(&row.last.get().to_be_bytes());
    out.extend_from_slice(&row.items);
}

/// Number of the last entry, and the entries as they are packed.
pub fn read_feed(value: &[u8]) -> Result<(RoomSeq, &[u8]), StoreError> {
    let (last, items) = number_and_rest("room_feed", value)?;
    Ok((RoomSeq(last), items))
}

pub fn room_row(row: &RoomRow, out: &mut Vec<u8>) {
    start(out);
    out.extend_from_slice(&row.seq.get().to_be_bytes());
    out.extend_from_slice(&row.value);
}

pub fn read_room_row(value: &[u8]) -> Result<(Seq, &[u8]), StoreError> {
    let (seq, value) = number_and_rest("room_state", value)?;
    Ok((Seq(seq), value))
}

pub fn checkpoint(checkpoint: &Checkpoint, out: &mut Vec<u8>) {
    start(out);
    codec::encode_into(checkpoint, out);
}

pub fn read_checkpoint(value: &[u8]) -> Result<Checkpoint, StoreError> {
    codec::decode(body("checkpoint", value)?).map_err(|error| damaged("checkpoint", &error.to_string()))
}

fn number_and_rest<'a>(table: &str, value: &'a [u8]) -> Result<(u64, &'a [u8]), StoreError> {
    let (number, rest) =
        body(table, value)?.split_first_chunk::<8>().ok_or_else(|| damaged(table, "it is too short"))?;
    Ok((u64::from_be_bytes(*number), rest))
}

fn start(out: &mut Vec<u8>) {
    out.clear();
    out.push(FORMAT);
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
