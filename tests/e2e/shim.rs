//! A small library in front of the system's own: it shifts the wall clock and slows the disk down, at any time and by
//! what a file says, for the one process that is started with it.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::harness::Launch;

/// Before the C library's own function, in every process that `LD_PRELOAD` puts it into.
const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct wishes { int64_t clock_seconds, sync_millis; };
static volatile struct wishes *wishes;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TEST_WISHES");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) abort();
    void *shared = mmap(0, sizeof *wishes, PROT_READ, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) abort();
    wishes = shared;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, id, now);
    if (result == 0 && id == CLOCK_REALTIME && wishes) now->tv_sec += wishes->clock_seconds;
    return result;
}

int fdatasync(int file) {
    int64_t millis = wishes ? wishes->sync_millis : 0;
    struct timespec pause = {millis / 1000, millis % 1000 * 1000000};
    nanosleep(&pause, 0);
    return (int)syscall(SYS_fdatasync, file);
}
"#;

pub struct Shim {
    library: PathBuf,
    file: PathBuf,
}

impl Shim {
    pub fn build(dir: &Path) -> Shim {
        let (library, file) = (dir.join("shim.so"), dir.join("wishes"));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-x", "c", "-", "-o"]).arg(&library).stdin(Stdio::piped());
        let mut cc = cc.spawn().expect("Rust links with `cc`, so it is there");
        cc.stdin.take().unwrap().write_all(SOURCE.as_bytes()).unwrap();
        assert!(cc.wait().unwrap().success(), "the library does not compile");
        fs::write(&file, [0; 16]).unwrap();
        Shim { library, file }
    }

    /// The wall clock jumps to so many seconds from the true time.
    pub fn shift_clock(&self, seconds: i64) {
        self.wish(0, seconds);
    }

    /// A sync of the log's file takes this much longer.
    pub fn delay_syncs(&self, by: Duration) {
        self.wish(8, i64::try_from(by.as_millis()).unwrap());
    }

    fn wish(&self, at: u64, value: i64) {
        File::options().write(true).open(&self.file).unwrap().write_all_at(&value.to_ne_bytes(), at).unwrap();
    }

    pub fn on(&self, launch: Launch) -> Launch {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        launch.env("LD_PRELOAD", &text(&self.library)).env("TEST_WISHES", &text(&self.file))
    }
}
