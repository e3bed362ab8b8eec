//! Reading a whole log when it is opened: where it ends, and whether it may be believed.
//!
//! A log that was cut off in the middle of a write ends in a torn batch. That is told from damage by the marks: every
//! batch says how far the log was synced when it was written, and nothing before the highest mark can be torn.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use largesse_engine::ledger::LedgerName;

use super::format::{
    self, FORMAT, FrameAt, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader, Step, highest_mark, is_zero, next_batch,
};
use super::segment::{self, Segment};
use crate::folder::{FolderError, sync_dir};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("the log's options do not fit together: {0}")]
    Options(String),
    #[error(
        "the log is damaged in {} at offset {offset}: {why}. Records that were answered for are missing, so this \
         process does not start; restore the folder from a backup", .file.display()
    )]
    Damaged { file: PathBuf, offset: u64, why: String },
    #[error(
        "the log in {dir} lacks its part from position {from} to {to}: restore the missing segment files",
        dir = .dir.display()
    )]
    Missing { dir: PathBuf, from: u64, to: u64 },
    #[error(
        "{} has format {found}, this program knows formats up to {known}: start the newer program that wrote it",
        .file.display()
    )]
    Newer { file: PathBuf, found: u32, known: u32 },
    #[error("{} belongs to the ledger `{found}`, not `{asked}`: it was put into the wrong folder", .file.display())]
    OtherLedger { file: PathBuf, found: LedgerName, asked: LedgerName },
    #[error("the data folder {} was opened for reading only", .0.display())]
    ReadOnly(PathBuf),
}

/// What a scan found, besides the frames it handed out.
#[derive(Debug)]
pub(super) struct Scanned {
    /// All segments up to the one in which the log ends; empty for a new log.
    pub segments: Vec<Arc<Segment>>,
    /// First position after the last valid batch.
    pub end: u64,
    /// Up to here the log itself vouches that everything was synced.
    pub mark: u64,
    /// Something that is neither a batch nor zeros follows the end in its segment.
    pub is_torn: bool,
    /// An empty segment that was prepared ahead, ready to be used.
    pub prepared: Option<Arc<Segment>>,
    /// Segments after the end that hold nothing but a torn beginning.
    pub surplus: Vec<PathBuf>,
}

/// Called for each frame of each valid batch, with the record's bytes.
pub(super) type OnFrame<'a> = dyn FnMut(&Arc<Segment>, FrameAt, &[u8]) + 'a;

struct Scan<'a> {
    ledger: &'a LedgerName,
    writable: bool,
    found: Scanned,
    /// File in which the log ended and the reason, once it has.
    ended: Option<(PathBuf, u64, &'static str)>,
    buffer: Vec<u8>,
}

pub(super) fn scan(
    dir: &Path,
    ledger: &LedgerName,
    writable: bool,
    on_frame: &mut OnFrame<'_>,
) -> Result<Scanned, OpenError> {
    let found = Scanned { segments: Vec::new(), end: 0, mark: 0, is_torn: false, prepared: None, surplus: Vec::new() };
    let mut scan = Scan { ledger, writable, found, ended: None, buffer: Vec::new() };
    let mut limit = None;
    for (base, path) in segment::list(dir)?.segments {
        if let Some(from) = limit.filter(|limit| *limit != base) {
            return Err(OpenError::Missing { dir: dir.to_path_buf(), from, to: base });
        }
        let segment = Arc::new(scan.load(base, path)?);
        limit = Some(segment.limit());
        match scan.ended {
            None => scan.read(segment, on_frame)?,
            Some(_) => scan.read_after_end(segment)?,
        }
    }
    Ok(scan.found)
}

impl Scan<'_> {
    /// Opens a segment, its bytes in the buffer, and checks that it is what its name says.
    fn load(&mut self, base: u64, path: PathBuf) -> Result<Segment, OpenError> {
        let io = |why| FolderError::from_io("read", &path, why);
        let mut file = File::options().read(true).write(self.writable).open(&path).map_err(io)?;
        self.buffer.clear();
        file.read_to_end(&mut self.buffer).map_err(io)?;
        let damaged = |why: &str| OpenError::Damaged { file: path.clone(), offset: 0, why: why.into() };
        let header = SegmentHeader::decode(&self.buffer).map_err(|fault| match fault {
            HeaderFault::Newer(found) => OpenError::Newer { file: path.clone(), found, known: FORMAT },
            HeaderFault::Damaged(why) => damaged(why),
        })?;
        if header.ledger != *self.ledger {
            return Err(OpenError::OtherLedger { file: path, found: header.ledger, asked: self.ledger.clone() });
        }
        if header.base != base {
            return Err(damaged("the header names another position than the file's name"));
        }
        if header.size != self.buffer.len() as u64 {
            return Err(damaged("the file has another length than its header says"));
        }
        Segment::new(base, header.size, path.clone(), file).map_err(|why| io(why).into())
    }

    fn read(&mut self, segment: Arc<Segment>, on_frame: &mut OnFrame<'_>) -> Result<(), OpenError> {
        let is_first = self.found.segments.is_empty();
        let mut frames = Vec::new();
        let mut at = segment.start();
        if !is_first && !self.continues(&segment)? {
            return Ok(());
        }
        loop {
            match next_batch(&self.buffer, segment.base, at, &mut frames) {
                Step::Batch(batch) => {
                    for frame in &frames {
                        on_frame(&segment, *frame, frame.record(segment.base, &self.buffer));
                    }
                    self.found.mark = self.found.mark.max(batch.synced);
                    at = batch.end;
                }
                Step::End => break,
                Step::Damaged { at: damage, why } => {
                    self.ended = Some((segment.path.clone(), damage - segment.base, why));
                    self.found.is_torn = true;
                    // Marks are searched for from the batch's own place on: its header, if it is valid, was written
                    // before the damage and says nothing about it.
                    let mark = highest_mark(&self.buffer, segment.base, damage);
                    self.found.end = at;
                    self.refuse_marks_beyond(mark)?;
                    break;
                }
            }
        }
        self.found.end = at;
        self.found.segments.push(segment);
        Ok(())
    }

    /// Whether the log goes on in this segment, which follows one that ended in zeros.
    fn continues(&mut self, segment: &Arc<Segment>) -> Result<bool, OpenError> {
        let last = self.found.segments.last().expect("asked for a following segment only");
        let (end, last_path, last_base) = (self.found.end, last.path.clone(), last.base);
        match next_batch(&self.buffer, segment.base, segment.start(), &mut Vec::new()) {
            Step::Batch(batch) if batch.synced == end => return Ok(true),
            Step::Batch(batch) => {
                let why = format!("it ends here, but was once synced up to position {}", batch.synced);
                return Err(OpenError::Damaged { file: last_path, offset: end - last_base, why });
            }
            Step::End => self.ended = Some((segment.path.clone(), SEGMENT_HEADER_BYTES, "the segment is empty")),
            Step::Damaged { at, why } => self.ended = Some((segment.path.clone(), at - segment.base, why)),
        }
        self.read_after_end(segment.clone())?;
        Ok(false)
    }

    fn read_after_end(&mut self, segment: Arc<Segment>) -> Result<(), OpenError> {
        let mark = highest_mark(&self.buffer, segment.base, segment.start());
        self.refuse_marks_beyond(mark)?;
        let follows = self.found.segments.last().is_some_and(|last| last.limit() == segment.base);
        if follows && is_zero(&self.buffer[format::size(SEGMENT_HEADER_BYTES)..]) {
            self.found.prepared = Some(segment);
        } else {
            self.found.surplus.push(segment.path.clone());
        }
        Ok(())
    }

    fn refuse_marks_beyond(&self, mark: Option<u64>) -> Result<(), OpenError> {
        match (mark, &self.ended) {
            (Some(mark), Some((file, offset, why))) if mark > self.found.end => {
                let why = format!("{why}, but the log was once synced up to position {mark}");
                Err(OpenError::Damaged { file: file.clone(), offset: *offset, why })
            }
            _ => Ok(()),
        }
    }
}

impl Scanned {
    /// Makes what was found durable, and clears away what was not believed, so that it can never be read again.
    pub fn repair(&mut self, dir: &Path, sync: &dyn Fn(&File) -> io::Result<()>) -> Result<(), OpenError> {
        let mut unwanted = segment::list(dir)?.unfinished;
        unwanted.extend(self.surplus.drain(..).rev());
        for path in unwanted {
            std::fs::remove_file(&path).map_err(|why| FolderError::from_io("delete", &path, why))?;
            sync_dir(dir)?;
        }
        let Some(last) = self.segments.last() else { return Ok(()) };
        let repair = || -> io::Result<()> {
            let file = last.file();
            // Nobody knows whether the tail has reached the disk: the system may have dropped a page after a failed
            // write and show it from memory all the same. Written again, it is.
            let from = self.mark.clamp(last.start(), self.end);
            let tail = last.read(from, self.end - from)?;
            file.write_all_at(&tail, from - last.base)?;
            if self.is_torn {
                segment::write_zeros(&file, self.end - last.base, last.size)?;
            }
            sync(&file)
        };
        Ok(repair().map_err(|why| FolderError::from_io("repair the tail of", &last.path, why))?)
    }
}
