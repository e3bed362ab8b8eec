//! Follows the files of a log while another process writes them: for tools that show events as they come.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bytes::Bytes;
use largesse_engine::record::LogEntry;
use largesse_engine::units::{Position, ShardId};

use super::OpenError;
use super::format::{
    BATCH_HEADER_BYTES, FORMAT, FrameAt, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader, Step, next_batch, size,
};
use super::segment;
use crate::folder::{DataFolder, FolderError};

/// Goes through the records of all shards, and on from there when more has been written.
pub struct Follower {
    dir: PathBuf,
    open: Option<Open>,
    entries: VecDeque<(ShardId, LogEntry)>,
}

struct Open {
    path: PathBuf,
    file: File,
    base: u64,
    size: u64,
    at: u64,
    /// The file; what lies before `at` need not be filled.
    buffer: Vec<u8>,
}

impl Follower {
    /// Begins with the first record that the log still has.
    pub fn new(folder: &DataFolder) -> Follower {
        Follower { dir: folder.wal(), open: None, entries: VecDeque::new() }
    }

    /// The next record; `None` when there is none yet. What is not valid may just be on its way to the disk, so it is
    /// waited for, and passed over when the log has gone on in the next file.
    pub fn poll(&mut self) -> Result<Option<(ShardId, LogEntry)>, OpenError> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Ok(Some(entry));
            }
            let has_more = match &mut self.open {
                Some(open) => {
                    open.read(&mut self.entries).map_err(|why| FolderError::from_io("read", &open.path, why))?
                }
                None => false,
            };
            if !has_more && !self.next_segment()? {
                return Ok(None);
            }
        }
    }

    fn next_segment(&mut self) -> Result<bool, OpenError> {
        let after = self.open.as_ref().map(|open| open.base);
        let segments = segment::list(&self.dir)?.segments;
        let next = segments.into_iter().find(|(base, _)| after.is_none_or(|after| *base > after));
        let Some((_, path)) = next else { return Ok(false) };
        let open = Open::of(path)?;
        // A file is prepared long before it is written to; until then the log goes on in the one before.
        let is_next = after.is_none() || open.has_batch();
        if is_next {
            self.open = Some(open);
        }
        Ok(is_next)
    }
}

impl Open {
    fn of(path: PathBuf) -> Result<Open, OpenError> {
        let io = |why| FolderError::from_io("read", &path, why);
        let file = File::open(&path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        let mut head = vec![0; size(length.min(SEGMENT_HEADER_BYTES))];
        file.read_exact_at(&mut head, 0).map_err(io)?;
        let header = SegmentHeader::decode(&head).map_err(|fault| match fault {
            HeaderFault::Newer(found) => OpenError::Newer { file: path.clone(), found, known: FORMAT },
            HeaderFault::Damaged(why) => FolderError::Damaged { file: path.clone(), why: why.into() }.into(),
        })?;
        let at = header.base + SEGMENT_HEADER_BYTES;
        Ok(Open { file, base: header.base, size: length, at, buffer: Vec::new(), path })
    }

    /// Whether anything but zeros lies where the next batch would.
    fn has_batch(&self) -> bool {
        let mut head = [0; 32];
        const { assert!(BATCH_HEADER_BYTES == 32, "the head is read in one piece") };
        self.file.read_exact_at(&mut head, self.at - self.base).is_ok() && head != [0; 32]
    }

    /// Adds the records of the next batch. False if there is none, or none yet.
    fn read(&mut self, entries: &mut VecDeque<(ShardId, LogEntry)>) -> io::Result<bool> {
        let offset = self.at - self.base;
        if self.size - offset < BATCH_HEADER_BYTES || !self.has_batch() {
            return Ok(false);
        }
        let mut frames = Vec::new();
        let mut step = self.step(&mut frames);
        if !matches!(step, Step::Batch(_)) {
            self.buffer.resize(size(self.size), 0);
            self.file.read_exact_at(&mut self.buffer[size(offset)..], offset)?;
            step = self.step(&mut frames);
        }
        let Step::Batch(batch) = step else { return Ok(false) };
        for frame in frames.iter().filter(|frame| !frame.is_skip()) {
            let record = Bytes::copy_from_slice(frame.record(self.base, &self.buffer));
            let entry = LogEntry::decode(Position(frame.position), &record);
            if let (Some(shard), Ok(entry)) = (ShardId::from_u32(frame.shard), entry) {
                entries.push_back((shard, entry));
            }
        }
        self.at = batch.end;
        Ok(true)
    }

    fn step(&self, frames: &mut Vec<FrameAt>) -> Step {
        if self.buffer.is_empty() { Step::End } else { next_batch(&self.buffer, self.base, self.at, frames) }
    }
}
