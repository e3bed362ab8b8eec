//! A few threads that write one frame to many sockets. Each has its share of every room's members.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use largesse_engine::units::{RoomId, RoomSeq};
use metrics::{Counter, Histogram, counter, histogram};

use crate::ws::socket::{Offered, Socket};

/// Jobs that wait for one thread; whoever has more waits with them.
const JOBS_MAX: usize = 1_024;

/// A socket in a room.
pub struct Member {
    pub socket: Arc<Socket>,
    /// It is at this entry, or further.
    pub at: AtomicU64,
    /// It missed a frame, and gets none until it has been told where the room is.
    pub is_behind: AtomicBool,
    thread: usize,
    /// Where it is in its thread's list.
    place: AtomicUsize,
}

impl Member {
    /// `number` spreads members over threads.
    pub fn new(socket: Arc<Socket>, number: u64, at: RoomSeq) -> Member {
        let thread = usize::try_from(number % 1_024).expect("it is small");
        Member {
            socket,
            at: AtomicU64::new(at.get()),
            is_behind: AtomicBool::new(false),
            thread,
            place: AtomicUsize::new(usize::MAX),
        }
    }
}

enum Job {
    Join(RoomId, Arc<Member>),
    Leave(RoomId, Arc<Member>),
    Frame { room: RoomId, frame: Bytes, to: Option<RoomSeq>, since: Instant, lags: Lags },
}

/// How long one room's frames take from the hub to the last of their sockets, the latest ones above all.
#[derive(Clone)]
pub struct Lags(
    /// In microseconds, of each thread.
    Arc<[AtomicU64]>,
);

impl Lags {
    /// Of the slowest thread.
    pub fn longest(&self) -> Duration {
        let lags = self.0.iter().map(|lag| lag.load(Ordering::Relaxed));
        Duration::from_micros(lags.max().unwrap_or_default())
    }

    /// Nobody else writes the thread's place.
    fn note(&self, thread: usize, took: Duration) {
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let before = self.0[thread].load(Ordering::Relaxed);
        self.0[thread].store(before / 2 + took / 2, Ordering::Relaxed);
    }
}

pub struct Fanout {
    threads: Vec<SyncSender<Job>>,
}

impl Fanout {
    pub fn start(count: usize) -> std::io::Result<Fanout> {
        let mut threads = Vec::new();
        for number in 0..count.max(1) {
            let (sender, jobs) = sync_channel(JOBS_MAX);
            let worker = Worker::new(number, jobs);
            std::thread::Builder::new().name(format!("fanout-{number}")).spawn(move || worker.run())?;
            threads.push(sender);
        }
        Ok(Fanout { threads })
    }

    fn send(&self, thread: usize, job: Job) {
        self.threads[thread % self.threads.len()].send(job).expect("threads end after whoever sends to them");
    }

    pub fn join(&self, room: RoomId, member: &Arc<Member>) {
        self.send(member.thread, Job::Join(room, Arc::clone(member)));
    }

    pub fn leave(&self, room: RoomId, member: &Arc<Member>) {
        self.send(member.thread, Job::Leave(room, Arc::clone(member)));
    }

    /// Writes a frame to every member; one that takes the room up to `to` only to those that are not there yet.
    pub fn frame(&self, room: RoomId, frame: &Bytes, to: Option<RoomSeq>, lags: &Lags) {
        let since = Instant::now();
        for thread in 0..self.threads.len() {
            self.send(thread, Job::Frame { room, frame: frame.clone(), to, since, lags: lags.clone() });
        }
    }

    /// For a room that is new here.
    pub fn lags(&self) -> Lags {
        Lags(self.threads.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

struct Worker {
    number: usize,
    jobs: Receiver<Job>,
    rooms: HashMap<RoomId, Vec<Arc<Member>>>,
    written: Counter,
    skipped: Counter,
    delay: Histogram,
}

impl Worker {
    fn new(number: usize, jobs: Receiver<Job>) -> Worker {
        Worker {
            number,
            jobs,
            rooms: HashMap::new(),
            written: counter!("largesse_fanout_frames_total"),
            skipped: counter!("largesse_ws_slow_skips_total"),
            delay: histogram!("largesse_fanout_delay_seconds"),
        }
    }

    fn run(mut self) {
        while let Ok(job) = self.jobs.recv() {
            match job {
                Job::Join(room, member) => {
                    let members = self.rooms.entry(room).or_default();
                    member.place.store(members.len(), Ordering::Relaxed);
                    members.push(member);
                }
                Job::Leave(room, member) => self.leave(room, &member),
                Job::Frame { room, frame, to, since, lags } => {
                    let Some(members) = self.rooms.get(&room) else {
                        // Those whom it took long to write to are gone.
                        lags.note(self.number, Duration::ZERO);
                        continue;
                    };
                    self.write(members, &frame, to);
                    let took = since.elapsed();
                    self.delay.record(took.as_secs_f64());
                    lags.note(self.number, took);
                }
            }
        }
    }

    fn leave(&mut self, room: RoomId, member: &Member) {
        let Some(members) = self.rooms.get_mut(&room) else { return };
        let place = member.place.load(Ordering::Relaxed);
        if place < members.len() {
            members.swap_remove(place);
            if let Some(moved) = members.get(place) {
                moved.place.store(place, Ordering::Relaxed);
            }
        }
        if members.is_empty() {
            self.rooms.remove(&room);
        }
    }

    fn write(&self, members: &[Arc<Member>], frame: &Bytes, to: Option<RoomSeq>) {
        let (mut written, mut skipped) = (0, 0);
        for member in members {
            let is_there = to.is_some_and(|to| member.at.load(Ordering::Acquire) >= to.get());
            if is_there || member.is_behind.load(Ordering::Acquire) {
                continue;
            }
            match member.socket.offer(frame) {
                Offered::Taken => {
                    if let Some(to) = to {
                        member.at.store(to.get(), Ordering::Release);
                    }
                    written += 1;
                }
                Offered::Behind => {
                    member.is_behind.store(true, Ordering::Release);
                    member.socket.wake.notify_one();
                    skipped += 1;
                }
                Offered::Gone => {}
            }
        }
        self.written.increment(written);
        self.skipped.increment(skipped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_that_has_left_does_not_keep_a_room_slow() {
        let (sender, jobs) = sync_channel(JOBS_MAX);
        let lags = Lags([AtomicU64::new(0)].into());
        lags.note(0, Duration::from_secs(2));
        assert_eq!(lags.longest(), Duration::from_secs(1), "half of each is of the latest frame");
        for _ in 0..3 {
            let (frame, since) = (Bytes::from_static(b"tick"), Instant::now());
            sender.send(Job::Frame { room: RoomId(1), frame, to: None, since, lags: lags.clone() }).unwrap();
        }
        drop(sender);
        Worker::new(0, jobs).run();
        assert_eq!(lags.longest(), Duration::from_millis(125));
    }
}
