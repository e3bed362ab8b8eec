//! Looking at the raw log: every batch and record of every shard, valid or not. For tools, beside a running process too.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use largesse_engine::record::{LogEntry, RecordHeader};
use largesse_engine::units::{Position, ShardId};

use super::OpenError;
use super::format::{self, FORMAT, FrameAt, HeaderFault, SegmentHeader, Step, find_batch, next_batch};
use super::segment;
use crate::folder::{DataFolder, FolderError};

/// One thing that lies in a segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    pub file: PathBuf,
    /// Where it starts in the file.
    pub offset: u64,
    pub position: Position,
    pub kind: RawKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RawKind {
    /// Records follow that were written together, when the log was durable up to `synced`.
    Batch { records: usize, bytes: u64, synced: Position },
    /// A record whose checksum matches, with its header if this program knows its format.
    Record { shard: ShardId, bytes: u32, header: Result<RecordHeader, String> },
    /// Bytes that were given up.
    Skipped { bytes: u32 },
    /// A record of a kind of shard that this program does not know.
    Unknown { shard: u32, bytes: u32 },
    /// Here the file cannot be understood. The next entry is the next batch that can be.
    Damaged { why: String },
}

/// Goes through the raw log, one segment in memory at a time.
pub struct Inspection {
    segments: VecDeque<(u64, PathBuf)>,
    entries: VecDeque<RawEntry>,
}

impl Inspection {
    pub fn new(folder: &DataFolder) -> Result<Inspection, OpenError> {
        let segments = segment::list(&folder.wal())?.segments.into();
        Ok(Inspection { segments, entries: VecDeque::new() })
    }

    fn load(&mut self, base: u64, path: &Path) -> Result<(), OpenError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            // The process beside us has given it up since it was listed.
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(why) => return Err(FolderError::from_io("read", path, why).into()),
        };
        let mut entry = |position: u64, kind| {
            let (file, offset) = (path.to_path_buf(), position - base);
            self.entries.push_back(RawEntry { file, offset, position: Position(position), kind });
        };
        match SegmentHeader::decode(&bytes) {
            Ok(_) => (),
            Err(HeaderFault::Newer(found)) => {
                return Err(OpenError::Newer { file: path.to_path_buf(), found, known: FORMAT });
            }
            Err(HeaderFault::Damaged(why)) => entry(base, RawKind::Damaged { why: why.into() }),
        }
        let (mut at, mut frames) = (base + format::SEGMENT_HEADER_BYTES, Vec::new());
        while at < base + bytes.len() as u64 {
            match next_batch(&bytes, base, at, &mut frames) {
                Step::Batch(batch) => {
                    let (records, bytes_all) = (frames.len(), batch.end - batch.at);
                    let synced = Position(batch.synced);
                    entry(at, RawKind::Batch { records, bytes: bytes_all, synced });
                    for frame in &frames {
                        entry(frame.position, kind_of(frame, frame.record(base, &bytes)));
                    }
                    at = batch.end;
                }
                Step::End => break,
                Step::Damaged { at: damage, why } => {
                    entry(damage, RawKind::Damaged { why: why.into() });
                    match find_batch(&bytes, base, damage + 1) {
                        Some(next) => at = next,
                        None => break,
                    }
                }
            }
        }
        Ok(())
    }
}

fn kind_of(frame: &FrameAt, record: &[u8]) -> RawKind {
    let bytes = frame.len;
    if frame.is_skip() {
        return RawKind::Skipped { bytes };
    }
    match ShardId::from_u32(frame.shard) {
        None => RawKind::Unknown { shard: frame.shard, bytes },
        Some(shard) => {
            let entry = LogEntry::decode(Position(frame.position), &Bytes::copy_from_slice(record));
            let header = entry.map(|entry| entry.header).map_err(|error| error.to_string());
            RawKind::Record { shard, bytes, header }
        }
    }
}

impl Iterator for Inspection {
    type Item = Result<RawEntry, OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Some(Ok(entry));
            }
            let (base, path) = self.segments.pop_front()?;
            if let Err(error) = self.load(base, &path) {
                return Some(Err(error));
            }
        }
    }
}
