//! Entries of a shard's log: a claim, or the events of one group commit behind one header.

use bincode::{Decode, Encode};
use bytes::Bytes;

use crate::codec::{self, Undecodable};
use crate::units::{Epoch, NodeId, Position, Seq, Time};

/// First byte of every record. A reader that meets another one is too old for the log.
pub const RECORD_FORMAT: u8 = 1;

/// Largest record, header included. Batches are cut at command borders to stay below.
pub const RECORD_BYTES_MAX: usize = 900 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RecordHeader {
    /// Someone takes the shard over. Its position becomes the new epoch.
    Claim(Claim),
    Events(EventsHeader),
}

/// The nonce tells a claimer which claim is its own when the log could not say where it put it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Claim {
    pub node: NodeId,
    pub nonce: [u8; 16],
}

/// `count` events follow; with none, the record only proves that its writer is still believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EventsHeader {
    pub epoch: Epoch,
    /// The writer's own count of its records under this epoch, from 1: how it recognises them.
    pub number: u64,
    pub first: Seq,
    pub count: u32,
    /// When all of these events happened: the shard's time.
    pub time: Time,
}

impl EventsHeader {
    /// Seq of the event after this record.
    pub fn next(&self) -> Seq {
        self.first.plus(u64::from(self.count))
    }
}

/// One record as it came out of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub position: Position,
    pub header: RecordHeader,
    /// The encoded events, one after the other.
    pub events: Bytes,
}

impl LogEntry {
    pub fn decode(position: Position, record: &Bytes) -> Result<LogEntry, Undecodable> {
        let format = record.first().copied();
        if format != Some(RECORD_FORMAT) {
            return Err(Undecodable {
                what: "record",
                why: format!("format {format:?} is unknown, this program reads {RECORD_FORMAT}"),
            });
        }
        let (header, used) = codec::decode_front(&record[1..])?;
        Ok(LogEntry { position, header, events: record.slice(1 + used..) })
    }
}

/// The bytes of a claim, ready to append.
pub fn encode_claim(claim: Claim) -> Bytes {
    encode(&RecordHeader::Claim(claim), &[])
}

/// The bytes of a record of events, ready to append.
pub fn encode_events(header: EventsHeader, events: &[u8]) -> Bytes {
    encode(&RecordHeader::Events(header), events)
}

fn encode(header: &RecordHeader, events: &[u8]) -> Bytes {
    let mut record = Vec::with_capacity(48 + events.len());
    record.push(RECORD_FORMAT);
    codec::encode_into(header, &mut record);
    record.extend_from_slice(events);
    Bytes::from(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_went() {
        let header = EventsHeader { epoch: Epoch(7), number: 1, first: Seq(9), count: 2, time: Time(1_000) };
        let entry = LogEntry::decode(Position(3), &encode_events(header, b"ab")).unwrap();
        assert_eq!(entry.header, RecordHeader::Events(header));
        assert_eq!(&entry.events[..], b"ab");
        assert_eq!(header.next(), Seq(11));

        let claim = Claim { node: NodeId(1), nonce: [7; 16] };
        let entry = LogEntry::decode(Position(4), &encode_claim(claim)).unwrap();
        assert_eq!(entry.header, RecordHeader::Claim(claim));
    }

    #[test]
    fn a_newer_format_is_refused_by_name() {
        let error = LogEntry::decode(Position(0), &Bytes::from_static(&[9, 0])).unwrap_err();
        assert!(error.to_string().contains("format Some(9) is unknown"), "{error}");
        assert!(LogEntry::decode(Position(0), &Bytes::new()).is_err());
    }
}
