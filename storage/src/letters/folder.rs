//! Letters beside an embedded log: one file of lines that any process of this machine may add to.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::units::Time;

use super::{Book, Entry, LetterLog, LettersError};
use crate::folder::{sync_dir, write_atomically};

/// `dead-letters` in the data folder. The server files letters while `largesse dlq` settles some, so every change is made
/// under a lock of its own, which is not the folder's.
pub struct LetterFolder {
    dir: PathBuf,
    bytes_max: u64,
}

/// Far more than anyone can look through.
const BYTES_MAX: u64 = 256 << 20;

impl LetterFolder {
    /// In this data folder, which must be there.
    pub fn new(data: &Path) -> LetterFolder {
        LetterFolder { dir: data.join("dead-letters"), bytes_max: BYTES_MAX }
    }

    #[cfg(test)]
    pub(super) fn with_limit(data: &Path, bytes_max: u64) -> LetterFolder {
        LetterFolder { bytes_max, ..LetterFolder::new(data) }
    }

    fn file(&self) -> PathBuf {
        self.dir.join("letters.jsonl")
    }

    /// Does `work` while nobody else changes anything.
    fn alone<T>(&self, work: impl FnOnce() -> std::io::Result<T>) -> std::io::Result<T> {
        if !self.dir.is_dir() {
            std::fs::create_dir_all(&self.dir)?;
        }
        let lock = File::options().create(true).truncate(false).write(true).open(self.dir.join("LOCK"))?;
        lock.lock()?;
        let done = work();
        lock.unlock()?;
        done
    }

    fn add(&self, entry: &Entry) -> Result<(), LettersError> {
        let mut line = serde_json::to_vec(entry).expect("numbers and text are valid JSON");
        line.push(b'\n');
        let add = || {
            let is_new = !self.file().exists();
            let mut file = File::options().create(true).truncate(false).read(true).write(true).open(self.file())?;
            let end = end_of_lines(&mut file)?;
            // What a crash left unfinished was never acknowledged to anyone.
            file.set_len(end)?;
            // A letter that is settled makes no room, yet it must always be possible to settle one.
            if matches!(entry, Entry::Filed(_)) && end + line.len() as u64 > self.bytes_max {
                return Ok(Err(LettersError::Full(self.bytes_max)));
            }
            file.seek(SeekFrom::Start(end))?;
            file.write_all(&line)?;
            file.sync_all()?;
            if is_new {
                sync_dir(&self.dir).map_err(std::io::Error::other)?;
            }
            Ok(Ok(()))
        };
        self.alone(add).map_err(|error| self.unavailable(&error))?
    }

    fn load(&self, book: &mut Book) -> std::io::Result<()> {
        let mut file = match File::open(self.file()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            file => file?,
        };
        file.seek(SeekFrom::Start(book.next))?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest)?;
        for line in rest.split_inclusive(|byte| *byte == b'\n') {
            // An unfinished line is one that is being written.
            let Some(whole) = line.strip_suffix(b"\n") else { break };
            book.take_line(whole);
            book.next += line.len() as u64;
        }
        Ok(())
    }

    fn shorten(&self, keep_from: Time) -> std::io::Result<()> {
        let mut book = Book::default();
        self.load(&mut book)?;
        let is_old = |id: &str| {
            let settled = book.get(id).and_then(|held| held.state.settled_at());
            settled.is_some_and(|at| at < keep_from)
        };
        let text = match std::fs::read(self.file()) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            text => text?,
        };
        let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        // What cannot be read is kept as well.
        let kept: Vec<u8> =
            lines.filter(|line| !id_of(line).is_some_and(|id| is_old(&id))).flatten().copied().collect();
        if kept.len() < text.len() {
            write_atomically(&self.file(), &kept).map_err(std::io::Error::other)?;
        }
        Ok(())
    }

    fn unavailable(&self, error: &std::io::Error) -> LettersError {
        LettersError::Unavailable(format!("{}: {error}", self.dir.display()))
    }
}

pub(super) fn id_of(line: &[u8]) -> Option<String> {
    let entry: serde_json::Value = serde_json::from_slice(line).ok()?;
    Some(entry.get("id")?.as_str()?.to_owned())
}

/// Where the last whole line ends.
fn end_of_lines(file: &mut File) -> std::io::Result<u64> {
    const PIECE: u64 = 4 << 10;
    let mut end = file.seek(SeekFrom::End(0))?;
    while end > 0 {
        let from = end.saturating_sub(PIECE);
        let mut piece = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        Read::by_ref(file).take(end - from).read_to_end(&mut piece)?;
        if let Some(place) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + place as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

impl LetterLog for LetterFolder {
    fn append(&self, entry: Entry) -> BoxFuture<'_, Result<(), LettersError>> {
        // A letter is rare, and whoever files one has nothing else to do.
        async move { self.add(&entry) }.boxed()
    }

    fn read<'a>(&'a self, book: &'a mut Book) -> BoxFuture<'a, Result<(), LettersError>> {
        async move { self.load(book).map_err(|error| self.unavailable(&error)) }.boxed()
    }

    fn trim(&self, keep_from: Time) -> BoxFuture<'_, Result<(), LettersError>> {
        async move {
            if !self.file().exists() {
                return Ok(());
            }
            self.alone(|| self.shorten(keep_from)).map_err(|error| self.unavailable(&error))
        }
        .boxed()
    }
}
