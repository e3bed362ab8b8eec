//! One segment file, and the folder of them.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use largesse_engine::ledger::LedgerName;

use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader, size};
use crate::folder::{FolderError, sync_dir};

/// Zeros that are written to a new segment before the disk has them.
const ZEROED_AT_ONCE: usize = 2 << 20;

#[derive(Debug)]
pub(super) struct Segment {
    pub base: u64,
    pub size: u64,
    pub path: PathBuf,
    /// Exchanged when the segment is rewritten without its dead records; what is left lies where it lay.
    file: Mutex<Arc<File>>,
    live_records: AtomicU64,
    live_bytes: AtomicU64,
    allocated: AtomicU64,
    /// Live bytes at the last rewriting.
    rewritten: AtomicU64,
}

impl Segment {
    pub fn new(base: u64, size: u64, path: PathBuf, file: File) -> io::Result<Segment> {
        let allocated = allocated(&file)?.into();
        let (live_records, live_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Segment {
            base,
            size,
            path,
            file: Mutex::new(Arc::new(file)),
            live_records,
            live_bytes,
            allocated,
            rewritten: u64::MAX.into(),
        })
    }

    /// Makes a new segment, all of it zeros on the disk, so that writing into it later changes no metadata. It appears
    /// under its name only when it is complete.
    pub fn create(dir: &Path, ledger: &LedgerName, base: u64, bytes: u64) -> Result<Segment, FolderError> {
        let path = path_of(dir, base);
        let new = path.with_extension("new");
        let header = SegmentHeader { ledger: ledger.clone(), base, size: bytes };
        let write = || {
            let mut file = File::options().create(true).truncate(true).read(true).write(true).open(&new)?;
            file.write_all(&header.encode())?;
            // In small steps: a sync of the log that meets all of it at once would wait for all of it.
            for step in (SEGMENT_HEADER_BYTES..bytes).step_by(ZEROED_AT_ONCE) {
                write_zeros(&file, step, bytes.min(step + ZEROED_AT_ONCE as u64))?;
                file.sync_data()?;
            }
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            Segment::new(base, bytes, path.clone(), file)
        };
        let segment = write().map_err(|why| {
            // Half a segment would only keep the space from those who need it more.
            let _ = std::fs::remove_file(&new);
            FolderError::from_io("prepare a segment of the log at", &path, why)
        })?;
        sync_dir(dir)?;
        Ok(segment)
    }

    pub fn file(&self) -> Arc<File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn replace_file(&self, file: File) -> io::Result<()> {
        self.allocated.store(allocated(&file)?, Ordering::Relaxed);
        self.rewritten.store(self.live_bytes(), Ordering::Relaxed);
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(file);
        Ok(())
    }

    /// Position of the first batch.
    pub fn start(&self) -> u64 {
        self.base + SEGMENT_HEADER_BYTES
    }

    /// Bytes for batches.
    pub fn room(&self) -> u64 {
        self.size - SEGMENT_HEADER_BYTES
    }

    /// Base of the next segment.
    pub fn limit(&self) -> u64 {
        self.base + self.size
    }

    /// Reads `len` bytes at a position of this segment.
    pub fn read(&self, position: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; size(len)];
        self.file().read_exact_at(&mut bytes, position - self.base)?;
        Ok(bytes)
    }

    /// Space that the file takes on the disk.
    pub fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    pub fn add_live(&self, bytes: u64) {
        self.live_records.fetch_add(1, Ordering::Relaxed);
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn sub_live(&self, bytes: u64) {
        self.live_records.fetch_sub(1, Ordering::Relaxed);
        self.live_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether no shard can ask for any record of this segment any more.
    pub fn is_dead(&self) -> bool {
        self.live_records.load(Ordering::Relaxed) == 0
    }

    /// Whether at most half of it is alive, and half of what was at the last time: so no byte is copied too often.
    pub fn is_worth_rewriting(&self) -> bool {
        let live = self.live_bytes();
        live < self.allocated() / 2 && live.saturating_mul(2) < self.rewritten.load(Ordering::Relaxed)
    }

    fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }
}

fn allocated(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.blocks() * 512)
}

pub(super) fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; size((to - from).min(1 << 20))];
    let mut at = from;
    while at < to {
        let step = (to - at).min(zeros.len() as u64);
        file.write_all_at(&zeros[..size(step)], at)?;
        at += step;
    }
    Ok(())
}

fn path_of(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.wal"))
}

/// All segments of the folder, oldest first, and what half-made files lie beside them.
pub(super) struct Listing {
    pub segments: Vec<(u64, PathBuf)>,
    pub unfinished: Vec<PathBuf>,
}

pub(super) fn list(dir: &Path) -> Result<Listing, FolderError> {
    let mut listing = Listing { segments: Vec::new(), unfinished: Vec::new() };
    let read = || -> io::Result<()> {
        for entry in std::fs::read_dir(dir)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("new") => listing.unfinished.push(path),
                Some("wal") => {
                    if let Some(base) = stem.filter(|stem| stem.len() == 20).and_then(|stem| stem.parse().ok()) {
                        listing.segments.push((base, path));
                    }
                }
                Some(_) | None => (),
            }
        }
        Ok(())
    };
    let mut read = read;
    read().map_err(|why| FolderError::from_io("list", dir, why))?;
    listing.segments.sort_unstable();
    Ok(listing)
}
