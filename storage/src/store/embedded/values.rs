//! Values of the tables: a byte that names the format, then the value.

use largesse_engine::codec;
use largesse_engine::store::{Checkpoint, ReceivedEntry, ReceivedRow, StoreError, StoredEvent};
use largesse_engine::units::{Amount, Seq};

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
    let last = body("received", value)?.first_chunk::<8>();
    last.map(|last| Seq(u64::from_be_bytes(*last))).ok_or_else(|| damaged("received", "it is too short"))
}

pub fn read_received(value: &[u8]) -> Result<Vec<ReceivedEntry>, StoreError> {
    let body = body("received", value)?;
    let entries = body.get(8..).ok_or_else(|| damaged("received", "it is too short"))?;
    codec::decode(entries).map_err(|error| damaged("received", &error.to_string()))
}

pub fn checkpoint(checkpoint: &Checkpoint, out: &mut Vec<u8>) {
    start(out);
    codec::encode_into(checkpoint, out);
}

pub fn read_checkpoint(value: &[u8]) -> Result<Checkpoint, StoreError> {
    codec::decode(body("checkpoint", value)?).map_err(|error| damaged("checkpoint", &error.to_string()))
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
