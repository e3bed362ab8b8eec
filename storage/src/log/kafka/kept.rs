//! How much of the log is still needed: what was appended, by whomever, since the last permission to give up.
//!
//! A topic has no size of its own that would stop it, so what the store does not take would fill the brokers' disks. Near
//! the limit the door is shut instead.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Records are counted in groups of about this size, or much log of small ones would take much memory.
const GROUP_BYTES: u64 = 64 << 10;

/// Of all shards of a process.
pub struct Kept {
    bytes: AtomicU64,
    bytes_max: u64,
}

impl Kept {
    pub fn new(bytes_max: u64) -> Arc<Kept> {
        Arc::new(Kept { bytes: AtomicU64::new(0), bytes_max })
    }

    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    pub fn is_tight(&self) -> bool {
        self.bytes() >= self.bytes_max
    }
}

/// Of one shard.
pub struct KeptOf {
    all: Arc<Kept>,
    groups: Mutex<Groups>,
}

#[derive(Default)]
struct Groups {
    /// Everything before is counted, or was given up before it was.
    next: u64,
    list: VecDeque<Group>,
}

struct Group {
    /// Offset after its last record.
    end: u64,
    bytes: u64,
}

impl KeptOf {
    pub fn new(all: Arc<Kept>) -> KeptOf {
        KeptOf { all, groups: Mutex::default() }
    }

    /// A record is there. Appender and readers may both say so, each in order; it counts once.
    pub fn add(&self, offset: u64, bytes: usize) {
        let bytes = bytes as u64;
        let mut groups = self.lock();
        if offset < groups.next {
            return;
        }
        groups.next = offset + 1;
        match groups.list.back_mut() {
            Some(last) if last.bytes + bytes <= GROUP_BYTES => {
                last.bytes += bytes;
                last.end = offset + 1;
            }
            Some(_) | None => groups.list.push_back(Group { end: offset + 1, bytes }),
        }
        self.all.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Nobody needs what lies before `offset`.
    pub fn give_up(&self, offset: u64) {
        let mut groups = self.lock();
        let mut freed = 0;
        while let Some(group) = groups.list.pop_front_if(|group| group.end <= offset) {
            freed += group.bytes;
        }
        self.all.bytes.fetch_sub(freed, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_counts_once_until_it_is_given_up() {
        let all = Kept::new(200_000);
        let (one, other) = (KeptOf::new(Arc::clone(&all)), KeptOf::new(Arc::clone(&all)));
        for offset in 5..15 {
            one.add(offset, 20_000);
            // A reader comes to it as well.
            one.add(offset, 20_000);
        }
        assert!(all.bytes() == 200_000 && all.is_tight());
        one.give_up(5);
        assert_eq!(all.bytes(), 200_000);
        one.give_up(9);
        assert_eq!(all.bytes(), 140_000, "whole groups of three");
        other.add(1, 70_000);
        one.give_up(15);
        assert_eq!(all.bytes(), 70_000);
        one.give_up(3);
        one.add(14, 1);
        other.give_up(2);
        assert_eq!(all.bytes(), 0);
    }

    #[test]
    fn small_records_share_a_group() {
        let kept = KeptOf::new(Kept::new(1));
        (0..100_000).for_each(|offset| kept.add(offset, 100));
        assert!(kept.lock().list.len() < 200);
    }
}
