//! The ledger's record: what `<ledger>.ledger` says.
//!
//! The first record there says which ledger this is. Further ones only add what it has gained since: the first versions knew
//! no rooms, and their ledgers get the topic of rooms later. A second record of the same may come of two that were first at
//! the same time; then the first of them is the one that counts.

use std::time::Instant;

use bytes::Bytes;
use largesse_engine::ledger::{LedgerName, LedgerShape};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use super::error::OpenError;
use super::producer::Producer;
use super::topics::{Checker, LOOK};
use crate::ledger_id::LedgerId;

/// Format of the ledger's record. Raise it when an older program could not read the topics any more.
pub const FORMAT: u32 = 1;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plate {
    format: u32,
    ledger: LedgerName,
    #[serde(flatten)]
    pub shape: LedgerShape,
    /// Ledgers of the first versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<LedgerId>,
    /// Whether the topic of rooms was founded, and must be there.
    #[serde(default)]
    pub rooms: bool,
}

/// Why records say nothing.
#[derive(Debug, PartialEq)]
enum Unreadable {
    Newer(u32),
    Damaged(String),
}

impl Plate {
    pub fn new(ledger: &LedgerName, shape: LedgerShape) -> Plate {
        Plate { format: FORMAT, ledger: ledger.clone(), shape, id: Some(LedgerId::fresh()), rooms: true }
    }

    pub fn with_rooms(self) -> Plate {
        Plate { rooms: true, ..self }
    }

    /// What all records together say; there is at least one.
    fn of(records: &[Vec<u8>], ledger: &LedgerName) -> Result<Plate, Unreadable> {
        let plates = records.iter().map(|record| Plate::read(record)).collect::<Result<Vec<_>, _>>()?;
        let rooms = plates.iter().any(|plate| plate.rooms);
        let first = plates.into_iter().next().ok_or_else(|| Unreadable::Damaged("it is empty".into()))?;
        if first.ledger != *ledger {
            return Err(Unreadable::Damaged(format!("it describes the ledger `{}`", first.ledger)));
        }
        Ok(Plate { rooms, ..first })
    }

    fn read(record: &[u8]) -> Result<Plate, Unreadable> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
        // The format comes first: what else a newer one says may mean anything.
        let Format { format } = serde_json::from_slice(record).map_err(damaged)?;
        if format > FORMAT {
            return Err(Unreadable::Newer(format));
        }
        serde_json::from_slice(record).map_err(damaged)
    }
}

impl Checker {
    pub(super) fn read_plate(&self) -> Result<Option<Plate>, OpenError> {
        if self.look_up(&self.plate)?.is_none() {
            return Ok(None);
        }
        let (first, end) = self.ranges(&self.plate, 1)?[0];
        if end == 0 {
            return Ok(None);
        }
        let damaged = |why: String| OpenError::Damaged { topic: self.plate.clone(), why };
        if first > 0 {
            return Err(damaged("its first record was deleted; restore the topic".into()));
        }
        let plate = Plate::of(&self.records_below(end)?, &self.ledger);
        plate.map(Some).map_err(|unreadable| match unreadable {
            Unreadable::Newer(found) => OpenError::Newer { topic: self.plate.clone(), found },
            Unreadable::Damaged(why) => damaged(why),
        })
    }

    fn records_below(&self, end: i64) -> Result<Vec<Vec<u8>>, OpenError> {
        let mut assignment = TopicPartitionList::new();
        assignment.add_partition_offset(&self.plate, 0, Offset::Offset(0))?;
        self.client.assign(&assignment)?;
        let began = Instant::now();
        let mut records = Vec::new();
        let read = loop {
            let is_late = began.elapsed() >= self.options.request_timeout;
            match self.client.poll(LOOK) {
                Some(Ok(message)) => {
                    records.push(message.payload().unwrap_or_default().to_vec());
                    if message.offset() + 1 >= end {
                        break Ok(records);
                    }
                }
                Some(Err(error)) if is_late => break Err(error.into()),
                None if is_late => break Err(KafkaError::NoMessageReceived.into()),
                Some(Err(_)) | None => {}
            }
        };
        self.client.unassign()?;
        read
    }

    pub(super) fn write_plate(&self, producer: &Producer, plate: &Plate) -> Result<(), OpenError> {
        let json = serde_json::to_vec(plate).expect("names and numbers are valid JSON");
        self.write(producer, vec![(&self.plate, 0, Bytes::from(json))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[&str]) -> Result<Plate, Unreadable> {
        let records: Vec<Vec<u8>> = records.iter().map(|record| record.as_bytes().to_vec()).collect();
        Plate::of(&records, &LedgerName::default())
    }

    const FIRST: &str = r#"{"format":1,"ledger":"main","wallet_shards":8,"hash_version":1,"id":"a"}"#;
    const WITH_ROOMS: &str = r#"{"format":1,"ledger":"main","wallet_shards":8,"hash_version":1,"id":"a","rooms":true}"#;
    const OTHER: &str = r#"{"format":1,"ledger":"main","wallet_shards":8,"hash_version":1,"id":"b","rooms":true}"#;

    #[test]
    fn rooms_can_be_added_and_nothing_else_can_change() {
        let first = read(&[FIRST]).unwrap();
        assert!(!first.rooms, "the first versions had none");
        let with_rooms = Plate { rooms: true, ..first.clone() };
        assert_eq!(read(&[WITH_ROOMS]), Ok(with_rooms.clone()));
        assert_eq!(
            read(&[FIRST, WITH_ROOMS, FIRST]),
            Ok(with_rooms.clone()),
            "whatever comes later takes nothing back"
        );
        assert_eq!(read(&[FIRST, OTHER]), Ok(with_rooms), "of two that were first at the same time the first is right");
        assert_eq!(serde_json::to_string(&read(&[WITH_ROOMS]).unwrap()).unwrap(), WITH_ROOMS);
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        assert_eq!(read(&[FIRST, r#"{"format":2,"rooms":"many"}"#]), Err(Unreadable::Newer(2)));
        assert!(matches!(read(&["rooms"]), Err(Unreadable::Damaged(_))));
        let other = FIRST.replace("main", "shadow");
        assert!(matches!(read(&[&other]), Err(Unreadable::Damaged(why)) if why.contains("`shadow`")));
    }
}
