//! A clock that jumps. The process runs with a small library in front of the system's, which shifts the wall clock by
//! what a file says, at any time; timers keep to the steady clock, as they do when an administrator sets the time.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::harness::{Client, Config, Launch, Scratch, until};

const SENDER: u64 = 3001;
const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;

/// Before the C library's own function, in every process that `LD_PRELOAD` puts it into.
const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *seconds;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TEST_CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) abort();
    void *shared = mmap(0, sizeof *seconds, PROT_READ, MAP_SHARED, file, 0);
    if (shared == MAP_FAILED) abort();
    seconds = shared;
}

int clock_gettime(clockid_t id, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, id, now);
    if (result == 0 && id == CLOCK_REALTIME && seconds) now->tv_sec += *seconds;
    return result;
}
"#;

struct Shift {
    library: PathBuf,
    file: PathBuf,
}

impl Shift {
    fn build(dir: &Path) -> Shift {
        let (library, file) = (dir.join("shift.so"), dir.join("shift"));
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-x", "c", "-", "-o"]).arg(&library).stdin(Stdio::piped());
        let mut cc = cc.spawn().expect("Rust links with `cc`, so it is there");
        cc.stdin.take().unwrap().write_all(SHIFT.as_bytes()).unwrap();
        assert!(cc.wait().unwrap().success(), "the library does not compile");
        fs::write(&file, 0_i64.to_ne_bytes()).unwrap();
        Shift { library, file }
    }

    /// The clock of all processes with this shift jumps to so many seconds from the true time.
    fn set(&self, seconds: i64) {
        use std::os::unix::fs::FileExt;
        File::options().write(true).open(&self.file).unwrap().write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    fn on(&self, launch: Launch) -> Launch {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        launch.env("LD_PRELOAD", &text(&self.library)).env("TEST_CLOCK_SHIFT", &text(&self.file))
    }
}

/// A v7 id that somebody made whose clock is this far from the true time.
fn key_made(seconds: i64) -> String {
    let millis = crate::harness::now_seconds().saturating_add_signed(seconds) * 1_000;
    let time = uuid::Timestamp::from_unix(uuid::NoContext, millis / 1_000, 0);
    uuid::Uuid::new_v7(time).to_string()
}

async fn rose(client: &Client, key: &str) -> crate::harness::Answer {
    client.gift(SENDER, key, &json!({"gift_id": 1, "count": 1, "to": [2001]})).await
}

/// A receipt's time as seconds, which the format makes comparable as text.
fn at(receipt: &serde_json::Value) -> &str {
    receipt["at"].as_str().unwrap()
}

#[tokio::test]
async fn a_jumping_clock_neither_stops_gifts_nor_takes_anything_back() {
    let scratch = Scratch::new();
    let shift = Shift::build(scratch.path());
    let config = Config::new(&[2001]);
    let launch = || shift.on(Launch::serve(&scratch.data(), &config));
    let server = launch().ready().await;
    let client = &server.client;
    client.apply_catalog(|_| ()).await;
    client.recharge(SENDER, 100, "first").await.ok();
    let (first_key, text_key) = (key_made(0), "a key without a time");
    let first = rose(client, &first_key).await.ok();
    let text = rose(client, text_key).await.ok();
    let ahead = rose(client, &key_made(2 * HOUR)).await;
    assert_eq!((ahead.status.as_u16(), ahead.code()), (422, "id_time_ahead"), "{}", ahead.body);
    assert!(ahead.body["server_time"].is_string(), "{}", ahead.body);

    // Ahead: what was ahead is not any more, and keys of correct clocks go on.
    shift.set(2 * HOUR);
    let jumped = rose(client, &key_made(2 * HOUR)).await.ok();
    assert!(at(&jumped) > at(&first), "{jumped}");
    let correct = rose(client, &key_made(0)).await.ok();
    assert!(at(&correct) >= at(&jumped), "a shard's time does not go back: {correct}");
    assert!(rose(client, &first_key).await.is_replayed);

    let arrived = || async { (client.coins(2001).await == 4).then_some(()) };
    until("credits arrive while the clock is ahead", Duration::from_secs(10), arrived).await;

    // Back, to before the first gift: time stands still, everything goes on.
    shift.set(-HOUR);
    let back = rose(client, &key_made(-HOUR)).await.ok();
    assert!(at(&back) >= at(&correct), "a shard's time does not go back: {back}");
    assert_eq!(rose(client, &key_made(0)).await.ok()["balance_after"], 100 - 6);
    let ahead = rose(client, &key_made(2 * HOUR + 10 * MINUTE)).await;
    assert_eq!(ahead.code(), "id_time_ahead", "{}", ahead.body);
    for (key, receipt) in [(first_key.as_str(), &first), (text_key, &text)] {
        let again = rose(client, key).await;
        assert!(again.is_replayed, "{}", again.body);
        assert_eq!((&again.body["at"], &again.body["balance_after"]), (&receipt["at"], &receipt["balance_after"]));
    }

    let arrived = || async { (client.coins(2001).await == 6).then_some(()) };
    until("credits arrive while the clock is back", Duration::from_secs(10), arrived).await;
    server.kill();

    // A start with the clock set back, then one with it right.
    for (seconds, left) in [(-HOUR, 93_u64), (0, 92)] {
        shift.set(seconds);
        let server = launch().ready().await;
        let client = &server.client;
        assert_eq!(client.coins(SENDER).await, left + 1);
        let after = rose(client, &key_made(0)).await.ok();
        assert_eq!(after["balance_after"], left);
        assert!(at(&after) >= at(&back), "a shard's time does not go back: {after}");
        assert!(rose(client, &first_key).await.is_replayed);
        let arrived = || async { (client.coins(2001).await == 100 - left).then_some(()) };
        until("all gifts have arrived", Duration::from_secs(10), arrived).await;
        server.kill();
    }
}
