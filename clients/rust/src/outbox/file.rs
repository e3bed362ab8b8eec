//! An outbox in one file: a line of JSON for each entry kept or removed, synced before a request may be sent.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::{Entry, Kept, Outbox, OutboxError, Soon};

/// Requests that wait for the file; whoever comes then waits for a place.
const WAITING_MAX: usize = 1_024;
/// Lines that share one sync at most.
const BATCH_MAX: usize = 256;
/// Lines that are no longer needed, before the file is written anew; and then at least as many as are needed.
const DEAD_LINES_MIN: usize = 4_096;

/// The file grows by a line per change, and is written anew when most of it is no longer needed. Entries that come in at
/// the same time share a sync. A lock file beside it keeps a second process out.
pub struct FileOutbox {
    requests: Option<mpsc::Sender<Request>>,
    overflow: Arc<Overflow>,
    writer: Option<JoinHandle<()>>,
}

/// Entries to be removed soon for which the queue had no place.
#[derive(Default)]
struct Overflow(Mutex<Vec<String>>);

impl Overflow {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lock())
    }
}

enum Request {
    Put(Entry, Reply<()>),
    Remove(String, Reply<()>),
    RemoveSoon(String),
    Entries(Reply<Vec<Entry>>),
}

type Reply<T> = oneshot::Sender<Result<T, OutboxError>>;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Put(Entry),
    Remove(String),
    /// Whose entries they are; the first line, but in files from before there was one.
    Account(String),
}

impl FileOutbox {
    /// Opens the file, or makes it, and reads what was left open. `account`: who asks and where, in words of your own,
    /// such as the user's id and the server's address. A file of another account is not opened.
    pub fn open(path: impl AsRef<Path>, account: &str) -> Result<FileOutbox, OutboxError> {
        let mut journal = Journal::open(path.as_ref(), account)?;
        let (requests, mut waiting) = mpsc::channel(WAITING_MAX);
        let overflow = Arc::new(Overflow::default());
        let removed = Arc::clone(&overflow);
        let writer = std::thread::Builder::new().name("outbox".into()).spawn(move || {
            let mut batch = Vec::with_capacity(BATCH_MAX);
            while waiting.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
                journal.serve(removed.take(), batch.drain(..));
            }
            journal.serve(removed.take(), std::iter::empty());
        })?;
        Ok(FileOutbox { requests: Some(requests), overflow, writer: Some(writer) })
    }

    fn ask<'a, T: Send + 'a>(&'a self, request: impl FnOnce(Reply<T>) -> Request + Send + 'a) -> Soon<'a, T> {
        Box::pin(async move {
            let (reply, answer) = oneshot::channel();
            let requests = self.requests.as_ref().ok_or(OutboxError::Failed)?;
            requests.send(request(reply)).await.map_err(|_gone| OutboxError::Failed)?;
            answer.await.map_err(|_gone| OutboxError::Failed)?
        })
    }
}

impl Outbox for FileOutbox {
    fn put<'a>(&'a self, entry: &'a Entry) -> Soon<'a, ()> {
        // What comes in the place of an entry is not removed for that one's sake.
        self.overflow.lock().retain(|id| *id != entry.id);
        self.ask(|reply| Request::Put(entry.clone(), reply))
    }

    fn remove<'a>(&'a self, id: &'a str) -> Soon<'a, ()> {
        self.ask(|reply| Request::Remove(id.into(), reply))
    }

    fn remove_soon(&self, id: &str) {
        let Some(requests) = &self.requests else { return };
        if requests.try_send(Request::RemoveSoon(id.into())).is_err() {
            // The writer has a full queue before it, and looks here before it takes from that again.
            self.overflow.lock().push(id.into());
        }
    }

    fn entries(&self) -> Soon<'_, Vec<Entry>> {
        self.ask(Request::Entries)
    }
}

impl Drop for FileOutbox {
    /// Waits for what is being written, so that the file can be opened again at once.
    fn drop(&mut self) {
        self.requests = None;
        if let Some(writer) = self.writer.take() {
            // A panic there was told when it happened.
            let _ended = writer.join();
        }
    }
}

/// The file, and what it says is open.
struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    account: String,
    kept: Kept,
    lines: usize,
    /// After a failed write or sync nobody can say what the disk has.
    has_failed: bool,
    _lock: File,
}

impl Journal {
    fn open(path: &Path, account: &str) -> Result<Journal, OutboxError> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(beside(path, "lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OutboxError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let Found { kept, account: whose, lines, whole } = read(&file)?;
        let is_new = whose.is_none();
        if let Some(other) = whose.filter(|whose| whose != account) {
            return Err(OutboxError::OtherAccount(other));
        }
        // A line without its end, or with a hole in it, was being written in a crash; nothing was sent for it.
        file.set_len(whole)?;
        file.seek(SeekFrom::End(0))?;
        if is_new {
            file.write_all(&line(&Line::Account(account.into()))?)?;
        }
        file.sync_all()?;
        sync_folder(path)?;
        let (file, account) = (BufWriter::new(file), account.into());
        Ok(Journal { path: path.into(), file, account, kept, lines, has_failed: false, _lock: lock })
    }

    fn serve(&mut self, removed: Vec<String>, batch: impl Iterator<Item = Request>) {
        let mut written = Vec::new();
        removed.into_iter().for_each(|id| self.remove(id));
        for request in batch {
            match request {
                Request::Entries(reply) => {
                    let entries = if self.has_failed { Err(OutboxError::Failed) } else { Ok(self.all()) };
                    let _asker_may_be_gone = reply.send(entries);
                }
                Request::Put(entry, reply) => match self.kept.has_room_for(&entry.id) {
                    Ok(()) => {
                        self.write(&Line::Put(entry.clone()));
                        self.kept.put(entry);
                        written.push(reply);
                    }
                    Err(full) => drop(reply.send(Err(full))),
                },
                Request::Remove(id, reply) => {
                    self.remove(id);
                    written.push(reply);
                }
                Request::RemoveSoon(id) => self.remove(id),
            }
        }
        let needs_sync = !written.is_empty();
        let done = self.file.flush().and_then(|()| if needs_sync { self.file.get_ref().sync_data() } else { Ok(()) });
        self.has_failed |= done.is_err();
        if !self.has_failed && self.lines > DEAD_LINES_MIN + 2 * self.kept.len() {
            self.has_failed = self.write_anew().is_err();
        }
        for reply in written {
            let _asker_may_be_gone = reply.send(if self.has_failed { Err(OutboxError::Failed) } else { Ok(()) });
        }
    }

    fn remove(&mut self, id: String) {
        self.kept.remove(&id);
        self.write(&Line::Remove(id));
    }

    fn write(&mut self, change: &Line) {
        self.has_failed |= line(change).and_then(|line| self.file.write_all(&line)).is_err();
        self.lines += 1;
    }

    fn all(&self) -> Vec<Entry> {
        self.kept.all().cloned().collect()
    }

    /// Leaves out what is settled. The new file takes the old one's place when it is complete.
    fn write_anew(&mut self) -> io::Result<()> {
        let fresh = beside(&self.path, "new");
        let mut file = BufWriter::new(File::create(&fresh)?);
        file.write_all(&line(&Line::Account(self.account.clone()))?)?;
        for entry in self.kept.all() {
            file.write_all(&line(&Line::Put(entry.clone()))?)?;
        }
        file.flush()?;
        file.get_ref().sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        sync_folder(&self.path)?;
        self.lines = self.kept.len();
        self.file = file;
        Ok(())
    }
}

fn line(change: &Line) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(change)?;
    line.push(b'\n');
    Ok(line)
}

/// What is open and whose it is, how many lines say so, and where the last whole one ends.
#[derive(Default)]
struct Found {
    kept: Kept,
    account: Option<String>,
    lines: usize,
    whole: u64,
}

fn read(file: &File) -> Result<Found, OutboxError> {
    let mut reader = BufReader::new(file);
    let mut found = Found::default();
    let mut line = Vec::new();
    let mut damage = None;
    loop {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') {
            return Ok(found);
        }
        let change = match serde_json::from_slice(&line) {
            Ok(change) => change,
            Err(error) => {
                // A crash may leave a hole in what was not synced, and the end of a line behind it.
                damage.get_or_insert(OutboxError::Damaged { line: found.lines + 1, why: error.to_string() });
                continue;
            }
        };
        // What stands before a whole line was written earlier.
        if let Some(damage) = damage {
            return Err(damage);
        }
        match change {
            Line::Put(entry) => found.kept.put(entry),
            Line::Remove(id) => found.kept.remove(&id),
            Line::Account(account) => found.account = Some(account),
        }
        found.lines += 1;
        found.whole += bytes as u64;
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    path.with_file_name(name)
}

/// A new name of a file is only safe when its folder is.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::outbox::Intent;

    fn entry(id: &str) -> Entry {
        let intent = Intent::Gift { room: 1, body: json!({"gift_id": 1, "count": 1, "to": ["2"]}), sender: None };
        let (id, key) = (id.to_owned(), id.to_owned());
        Entry { id, key, minted: true, intent, made_at: 1, give_up_at: None, horizon: 2 }
    }

    async fn ids(outbox: &FileOutbox) -> Vec<String> {
        outbox.entries().await.unwrap().into_iter().map(|entry| format!("{}={}", entry.id, entry.key)).collect()
    }

    #[tokio::test]
    async fn what_was_put_is_there_again_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let outbox = FileOutbox::open(&path, "2 at home").unwrap();
        for id in ["a", "b", "c"] {
            outbox.put(&entry(id)).await.unwrap();
        }
        outbox.remove("b").await.unwrap();
        // Another key in the place of the first.
        outbox.put(&Entry { key: "a2".into(), ..entry("a") }).await.unwrap();
        assert!(matches!(FileOutbox::open(&path, "2 at home"), Err(OutboxError::InUse)));
        drop(outbox);
        let outbox = FileOutbox::open(&path, "2 at home").unwrap();
        assert_eq!(ids(&outbox).await, ["a=a2", "c=c"]);
    }

    #[tokio::test]
    async fn a_torn_end_is_cut_and_damage_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let outbox = FileOutbox::open(&path, "2 at home").unwrap();
        outbox.put(&entry("a")).await.unwrap();
        drop(outbox);
        let good = std::fs::read(&path).unwrap();
        for torn in 1..good.len() {
            std::fs::write(&path, [&good[..], &good[..torn]].concat()).unwrap();
            let outbox = FileOutbox::open(&path, "2 at home").unwrap();
            assert_eq!(ids(&outbox).await, ["a=a"], "cut after {torn}");
            outbox.put(&entry("b")).await.unwrap();
            drop(outbox);
            assert_eq!(ids(&FileOutbox::open(&path, "2 at home").unwrap()).await, ["a=a", "b=b"]);
        }
        // A hole with the end of its line, as a crash leaves it where blocks reach the disk in another order.
        for hole in [&b"\0\0\0\0\n"[..], b"\0\0\n\0\0}\n{"] {
            std::fs::write(&path, [&good[..], hole].concat()).unwrap();
            assert_eq!(ids(&FileOutbox::open(&path, "2 at home").unwrap()).await, ["a=a"]);
        }
        std::fs::write(&path, [&b"{\"put\"\n"[..], &good].concat()).unwrap();
        assert!(matches!(FileOutbox::open(&path, "2 at home"), Err(OutboxError::Damaged { line: 1, .. })));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn removals_that_find_the_queue_full_are_not_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let outbox = FileOutbox::open(&path, "2 at home").unwrap();
        let entries: Vec<_> = (0..4 * WAITING_MAX).map(|number| entry(&number.to_string())).collect();
        futures::future::join_all(entries.iter().map(|entry| outbox.put(entry))).await;
        entries.iter().for_each(|entry| outbox.remove_soon(&entry.id));
        // It comes after its removal, and stays.
        outbox.put(&entries[4 * WAITING_MAX - 1]).await.unwrap();
        drop(outbox);
        assert_eq!(ids(&FileOutbox::open(&path, "2 at home").unwrap()).await, ["4095=4095"]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_at_once_share_syncs_and_the_file_stays_small() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("outbox");
        let outbox = std::sync::Arc::new(FileOutbox::open(&path, "2 at home").unwrap());
        let tasks: Vec<_> = (0..50)
            .map(|task| {
                let outbox = std::sync::Arc::clone(&outbox);
                tokio::spawn(async move {
                    for number in 0..60 {
                        let id = format!("{task}-{number}");
                        outbox.put(&entry(&id)).await.unwrap();
                        outbox.remove_soon(&id);
                    }
                    outbox.put(&entry(&format!("{task}"))).await.unwrap();
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        drop(outbox);
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= DEAD_LINES_MIN + 200, "{lines} lines");
        assert_eq!(ids(&FileOutbox::open(&path, "2 at home").unwrap()).await.len(), 50);
    }
}
