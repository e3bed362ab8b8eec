//! How urgent a thread is to the system's scheduler.
//!
//! Flushing is what nobody waits for, and it would fill every core. So its threads are nice. That alone decides who gets
//! how much, not who is let wait: a thread that has begun a slice of some milliseconds keeps its core for most of it,
//! though a sync is done and callers wait to be told. Threads that somebody waits for therefore ask for short slices, and
//! a thread with a shorter slice takes the core at once when it wakes (EEVDF, Linux 6.12 and later; see `sched(7)` and
//! `sched_setattr(2)`). On other systems nothing is gained, and nothing breaks.

/// For threads that do what somebody waits for.
pub fn hurry() {
    schedule(niceness(), SLICE_NANOS_SHORT);
}

/// For threads that do what nobody waits for. They still get about a tenth of a busy machine, so that a store is never
/// starved by those who are told to come back later because it is behind.
pub fn give_way() {
    schedule(niceness().max(10), SLICE_NANOS_LONG);
}

/// The shortest that the system grants.
const SLICE_NANOS_SHORT: u64 = 100_000;
const SLICE_NANOS_LONG: u64 = 20_000_000;

/// `struct sched_attr` of Linux, in its first version.
#[cfg(target_os = "linux")]
#[repr(C)]
#[derive(Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

#[cfg(target_os = "linux")]
fn schedule(nice: i32, slice_nanos: u64) {
    let size = u32::try_from(size_of::<Attributes>()).expect("it has 48 bytes");
    let attributes = Attributes { size, nice, runtime: slice_nanos, ..Attributes::default() };
    // Where it is not allowed or not known, all threads are as urgent as each other: slower for callers, and never wrong.
    #[allow(unsafe_code, reason = "a system call that no library wraps; it reads one struct that outlives it")]
    let _refused = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
}

/// What it is now; a process that was started nice stays so.
fn niceness() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or(0)
}

#[cfg(not(target_os = "linux"))]
fn schedule(_nice: i32, _slice_nanos: u64) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn on_a_thread(check: impl FnOnce() + Send) {
        // A panic on the thread becomes one of the scope.
        std::thread::scope(|scope| {
            scope.spawn(check);
        });
    }

    #[test]
    fn a_thread_that_gives_way_is_nice_and_so_is_what_it_starts() {
        on_a_thread(|| {
            give_way();
            assert!(niceness() >= 10);
            on_a_thread(|| {
                assert!(niceness() >= 10, "a library's threads give way as the thread does that starts them")
            });
        });
    }

    #[test]
    fn a_thread_in_a_hurry_is_as_nice_as_it_was() {
        let before = niceness();
        on_a_thread(|| {
            hurry();
            assert_eq!(niceness(), before);
        });
    }
}
