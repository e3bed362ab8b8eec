//! What a figure was measured on: without it, a figure means little. And what the system counts for a process.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub cores: usize,
    pub cpu: String,
    pub memory_bytes: u64,
    pub kernel: String,
    /// Whether the program was built for speed; figures of another build say little.
    pub is_optimized: bool,
    /// Whether the data lay on a disk. In memory a sync costs nothing, and figures say nothing about durable gifts.
    pub is_on_disk: bool,
}

impl Machine {
    /// This machine, with the data of a bench in `dir`.
    pub fn here(dir: &Path) -> Machine {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Machine {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            cpu: model.map_or("unknown", |(_, model)| model.trim()).to_owned(),
            memory_bytes: kibibytes(&read("/proc/meminfo"), "MemTotal:").unwrap_or_default() << 10,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            is_optimized: !cfg!(debug_assertions),
            is_on_disk: is_on_disk(dir),
        }
    }
}

/// A line such as `VmRSS:   1234 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(target_os = "linux")]
fn is_on_disk(dir: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    rustix::fs::statfs(dir).is_ok_and(|system| !matches!(system.f_type, TMPFS | RAMFS))
}

/// Systems that keep no files in memory unless somebody asked for it.
#[cfg(not(target_os = "linux"))]
fn is_on_disk(_dir: &Path) -> bool {
    true
}

/// Processor time that this process has used so far, in seconds.
pub fn cpu_seconds() -> f64 {
    seconds(rustix::time::ClockId::ProcessCPUTime)
}

/// Processor time that the calling thread has used so far, in seconds.
pub fn thread_cpu_seconds() -> f64 {
    seconds(rustix::time::ClockId::ThreadCPUTime)
}

fn seconds(clock: rustix::time::ClockId) -> f64 {
    let used = rustix::time::clock_gettime(clock);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// Memory of this process that is in use, in bytes; 0 where the system does not tell.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    kibibytes(&status, "VmRSS:").unwrap_or_default() << 10
}

/// Memory of another process that is in use, in bytes.
pub fn resident_of(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kibibytes(&status, "VmRSS:").map(|kibibytes| kibibytes << 10)
}

/// Processor time that another process has used so far, all its threads, in steps of a hundredth of a second.
pub fn cpu_of(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    cpu_in(&stat)
}

/// The name comes second, in parentheses, and may itself hold spaces and parentheses.
fn cpu_in(stat: &str) -> Option<Duration> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(Duration::from_millis((user + system) * MILLIS_PER_TICK))
}

/// Linux tells times of processes in hundredths of a second, whatever its own clock does.
const MILLIS_PER_TICK: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0 1 0";
        assert_eq!(cpu_in(stat), Some(Duration::from_secs(2)));
        assert_eq!(cpu_in("7 (largesse) S 1"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory_and_uses_time() {
        assert!(resident_bytes() > 100 << 10);
        assert!(cpu_seconds() >= thread_cpu_seconds());
        assert!(cpu_of(std::process::id()).is_some());
        assert!(!is_on_disk(Path::new("/dev/shm")) || !Path::new("/dev/shm").exists());
    }
}
