//! What can be wrong with the data folder: a clear message, and nothing lost.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::harness::{Answer, As, Call, Client, Config, Ended, Launch, Scratch, audit, until};
use crate::setup::{self, has_everything_in_its_folder};

const SENDER: u64 = 3001;
const PATIENCE: Duration = Duration::from_secs(20);
/// Gifts under way at a time where a disk or a log has to fill up.
const SENT_AT_ONCE: usize = 256;

/// It ended as one that failed, and said all of this.
#[track_caller]
fn assert_says(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    for word in words {
        assert!(ended.stderr.contains(word), "`{word}` is not in: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}

async fn rose(client: &Client, key: &str) -> u64 {
    let body = json!({"gift_id": 1, "count": 1, "to": [2001]});
    client.gift(SENDER, key, &body).await.ok()["balance_after"].as_u64().unwrap()
}

/// Sends gifts one after the other and returns what is left.
async fn roses(client: &Client, name: &str, count: u64) -> u64 {
    let mut left = 0;
    for number in 0..count {
        left = rose(client, &format!("{name}-{number}")).await;
    }
    left
}

/// Every one of those gifts is in the books, once.
async fn assert_has_roses(client: &Client, name: &str, count: u64, left: u64) {
    assert_eq!(client.coins(SENDER).await, left);
    for number in 0..count {
        let body = json!({"gift_id": 1, "count": 1, "to": [2001]});
        let answer = client.gift(SENDER, &format!("{name}-{number}"), &body).await;
        assert!(answer.is_replayed, "{}", answer.body);
    }
    let arrived = || async { (client.coins(2001).await == 100_000 - left).then_some(()) };
    until("all gifts have arrived", PATIENCE, arrived).await;
}

/// The segment that is written to, and where its records end.
fn segment(data: &Path) -> (PathBuf, u64) {
    let mut segments: Vec<_> = fs::read_dir(data.join("wal")).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
    segments.sort();
    let used = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap();
        bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
    };
    let ends: Vec<_> = segments.iter().map(used).collect();
    // A segment prepared ahead has nothing but a header.
    let last = ends.iter().rposition(|end| *end > 4_096).unwrap_or(0);
    (segments[last].clone(), ends[last])
}

#[tokio::test]
async fn a_second_process_on_the_same_folder_is_refused_and_changes_nothing() {
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.data()).ready().await;
    let left = roses(&server.client, "a", 3).await;
    let env = fs::read(scratch.data().join("dev.env")).unwrap();
    let ended = Launch::dev(&scratch.data()).refused().await;
    let pid = server.ready["pid"].to_string();
    assert_says(&ended, &["is in use by process", &pid, "stop that process"]);
    assert_eq!(fs::read(scratch.data().join("dev.env")).unwrap(), env, "the first one's addresses stay");
    assert_eq!(rose(&server.client, "after").await, left - 1);
    server.kill();
    // The lock is gone with the process, though its file stays.
    let server = Launch::dev(&scratch.data()).ready().await;
    assert_eq!(server.client.coins(SENDER).await, left - 1);
    server.stop();
}

#[tokio::test]
async fn another_shape_is_refused_with_what_to_do() {
    let scratch = Scratch::new();
    let config = Config::new(&[2001]);
    Launch::serve(&scratch.data(), &config).ready().await.stop();
    let ended = Launch::serve(&scratch.data(), &Config { wallet_shards: 16, ..config.clone() }).refused().await;
    assert_says(&ended, &["8 wallet shards", "16", "correct the configuration"]);
    let renamed = Launch::serve(&scratch.data(), &config).env("LARGESSE__LEDGER__NAME", "shadow");
    let name = setup::ledger(&scratch.data());
    assert_says(&renamed.refused().await, &[&format!("holds the ledger `{name}`, not `shadow`")]);
    Launch::serve(&scratch.data(), &config).ready().await.stop();
}

#[tokio::test]
async fn a_newer_format_is_refused_and_left_alone() {
    let scratch = Scratch::new();
    Launch::dev(&scratch.data()).ready().await.stop();
    let plate = scratch.data().join("ledger.json");
    let text = fs::read_to_string(&plate).unwrap();
    let newer = text.replace("\"format\": 1", "\"format\": 99");
    assert_ne!(newer, text);
    fs::write(&plate, &newer).unwrap();
    let ended = Launch::dev(&scratch.data()).refused().await;
    assert_says(&ended, &["ledger.json", "format 99", "start the newer program"]);
    assert_eq!(fs::read_to_string(&plate).unwrap(), newer);
    fs::write(&plate, text).unwrap();
    Launch::dev(&scratch.data()).ready().await.stop();
}

#[tokio::test]
async fn a_corrupt_segment_is_refused_with_file_and_offset() {
    if !has_everything_in_its_folder("brokers check their own segments") {
        return;
    }
    let scratch = Scratch::new();
    let server = Launch::dev(&scratch.data()).ready().await;
    let left = roses(&server.client, "a", 200).await;
    server.kill();
    let (path, end) = segment(&scratch.data());
    let file = File::options().read(true).write(true).open(&path).unwrap();
    for middle in [end / 3, end / 2] {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, middle).unwrap();
        file.write_all_at(&bytes.map(|byte| !byte), middle).unwrap();
        let ended = Launch::dev(&scratch.data()).refused().await;
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_says(&ended, &["the log is damaged in", name, "at offset", "restore"]);
        let words: Vec<_> = ended.stderr.split_whitespace().collect();
        let place = words.iter().position(|word| *word == "offset").unwrap();
        let offset: u64 = words[place + 1].trim_end_matches(':').parse().unwrap();
        assert!(offset <= middle && middle - offset < 100_000, "damaged at {middle}, told was {offset}");
        file.write_all_at(&bytes, middle).unwrap();
    }
    // Refusing has changed nothing: with the bytes back it is whole.
    let server = Launch::dev(&scratch.data()).ready().await;
    assert_has_roses(&server.client, "a", 200, left).await;
    server.stop();
}

#[tokio::test]
async fn a_torn_tail_is_cut_off_and_nothing_answered_is_lost() {
    if !has_everything_in_its_folder("brokers mend their own segments") {
        return;
    }
    let scratch = Scratch::new();
    let mut total = 0;
    let mut left = 100_000;
    // What a power cut can leave behind what was synced: half a frame, old bytes, many blocks of them.
    let tails: [&[u8]; 4] = [&[0xff], &[0x5a; 100], &[0x5a; 20_000], b"\0\0\0\0\0\0\0\x01"];
    for (round, tail) in tails.iter().enumerate() {
        let server = Launch::dev(&scratch.data()).ready().await;
        if round > 0 {
            assert_has_roses(&server.client, "a", total, left).await;
        }
        for number in total..total + 20 {
            left = rose(&server.client, &format!("a-{number}")).await;
        }
        total += 20;
        server.kill();
        let (path, end) = segment(&scratch.data());
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(tail, end + u64::try_from(round).unwrap()).unwrap();
    }
    // A header of a batch that is the log's own, and then nothing of its body.
    let (path, end) = segment(&scratch.data());
    assert!(end > 4_096);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let mut head = [0; 16];
    file.read_exact_at(&mut head, 4_096).unwrap();
    file.write_all_at(&head, end + 4_096).unwrap();
    let server = Launch::dev(&scratch.data()).ready().await;
    assert_has_roses(&server.client, "a", total, left).await;
    server.stop();
    let server = Launch::dev(&scratch.data()).ready().await;
    assert_eq!(server.client.coins(SENDER).await, left);
    server.stop();
}

/// A file system of its own, in memory, gone when the test is over.
struct Mount {
    dir: tempfile::TempDir,
}

impl Mount {
    /// None where mounting is not permitted, which is said.
    fn tmpfs(size: &str) -> Option<Mount> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        match mount(&["-t", "tmpfs", "-o", &options, "largesse-test", dir.path().to_str().unwrap()]) {
            Ok(()) => Some(Mount { dir }),
            Err(why) => {
                println!("SKIPPED: mounting a tmpfs is not permitted here: {why}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}"), self.path().to_str().unwrap()]).unwrap();
    }
}

fn mount(arguments: &[&str]) -> Result<(), String> {
    let ran = Command::new("mount").args(arguments).output().map_err(|error| error.to_string())?;
    if ran.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&ran.stderr).into_owned()) }
}

impl Drop for Mount {
    fn drop(&mut self) {
        setup::forget(&self.path().join("data"));
        // The process that used it may still be on its way out, which a lazy unmount waits for.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_read_only_folder_is_refused_and_left_alone() {
    let Some(mount) = Mount::tmpfs("400m") else { return };
    let data = mount.path().join("data");
    let server = Launch::dev(&data).ready().await;
    let left = roses(&server.client, "a", 5).await;
    server.stop();
    mount.remount("ro");
    let ended = Launch::dev(&data).refused().await;
    assert_says(&ended, &["read-only file system", "remount it writable"]);
    let ended = Launch::dev(&mount.path().join("new")).refused().await;
    assert_eq!(ended.status.code(), Some(1));
    assert!(ended.stderr.to_lowercase().contains("read-only file system"), "{}", ended.stderr);
    mount.remount("rw");
    let server = Launch::dev(&data).ready().await;
    assert_has_roses(&server.client, "a", 5, left).await;
    server.stop();
}

/// Gifts under keys `full-N` from `first` on, until `enough` were refused in a row; how many were sent, how many paid.
async fn fill(client: &Client, paid: &mut Vec<String>, refused_max: usize) -> Vec<Answer> {
    // Long keys and many receivers make much log of few gifts.
    let to: Vec<u64> = (2001..2017).collect();
    let body = json!({"gift_id": 1, "count": 1, "to": to});
    let mut refusals = Vec::new();
    let mut number = paid.len();
    while refusals.len() < refused_max && number < 200_000 {
        let keys: Vec<_> =
            (number..number + SENT_AT_ONCE).map(|number| format!("full-{number}-{}", "x".repeat(100))).collect();
        let answers = futures::future::join_all(keys.iter().map(|key| {
            let call = Call::post(As::Viewer(SENDER), "/v1/rooms/1001/gifts", &body);
            let call = call.key(key);
            async move { client.try_call(&call).await }
        }));
        for (key, answer) in keys.iter().zip(answers.await) {
            match answer {
                Ok(answer) if answer.status.is_success() => paid.push(key.clone()),
                Ok(answer) => refusals.push(answer),
                // It ended; whoever called sees that for itself.
                Err(_) => return refusals,
            }
        }
        number += SENT_AT_ONCE;
    }
    refusals
}

/// All that was paid is in the books, and nothing else.
async fn assert_paid(client: &Client, paid: &[String], is_exact: bool) {
    let spent = 16 * paid.len() as u64;
    let coins = client.coins(SENDER).await;
    assert!(coins <= 10_000_000 - spent, "{coins} are left, though {spent} were spent");
    if is_exact {
        assert_eq!(coins, 10_000_000 - spent, "what was refused was not paid");
    }
    for key in paid.iter().step_by(50).chain(paid.iter().rev().take(100)) {
        let call = Call::get(As::Viewer(SENDER), format!("/v1/gifts/{key}"));
        assert_eq!(client.call(call).await.ok()["total"], 16, "{key}");
    }
    let all_arrived = || async {
        let mut sum = 0;
        for host in 2001..2017 {
            sum += client.coins(host).await;
        }
        (sum + coins == 10_000_000).then_some(())
    };
    until("all gifts have arrived", PATIENCE, all_arrived).await;
}

/// Takes all the room that is left.
fn fill_disk(dir: &Path) {
    use std::io::Write;
    let mut file = File::create(dir.join("filler")).unwrap();
    let block = vec![0x5a; 1 << 20];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..4_096]).is_ok() {}
}

#[tokio::test]
async fn a_full_disk_refuses_and_loses_nothing() {
    if !has_everything_in_its_folder("the folder's disk holds neither log nor rows") {
        return;
    }
    let Some(mount) = Mount::tmpfs("400m") else { return };
    let data = mount.path().join("data");
    let hosts: Vec<u64> = (2001..2017).collect();
    let more = "[log]\nsegment-bytes = \"2 MiB\"\nbytes-max = \"256 MiB\"\n[engine]\nflush-every = \"50 ms\"";
    let config = Config { more: more.into(), ..Config::new(&hosts) };
    let mut server = Launch::serve(&data, &config).ready().await;
    server.client.apply_catalog(|_| ()).await;
    server.client.recharge(SENDER, 10_000_000, "first").await.ok();

    let mut paid = Vec::new();
    fill_disk(mount.path());
    let refusals = fill(&server.client, &mut paid, 200).await;
    println!("{} gifts were paid before the disk was full, {} refused", paid.len(), refusals.len());
    for refusal in &refusals {
        assert_eq!((refusal.status.as_u16(), refusal.code()), (503, "overloaded"), "{}", refusal.body);
        assert!(refusal.retry_after.is_some(), "{}", refusal.body);
    }
    mount.remount("size=900m");
    if let Some(status) = server.process.has_ended() {
        // Allowed only with a word on why.
        let said = server.stderr();
        assert!(!status.success() && said.contains("disk") && !said.contains("panicked"), "{status:?} {said}");
        server = Launch::serve(&data, &config).ready().await;
        assert_paid(&server.client, &paid, false).await;
    } else {
        assert_eq!(refusals.len().max(200), refusals.len(), "it filled up: {}", server.stderr());
        // It goes on by itself once there is room.
        let client = &server.client;
        let goes_on = || async {
            let body = json!({"gift_id": 1, "count": 1, "to": hosts});
            let answer = client.gift(SENDER, "there is room", &body).await;
            answer.status.is_success().then_some(())
        };
        until("there is room again", PATIENCE, goes_on).await;
        paid.push("there%20is%20room".into());
        assert_paid(&server.client, &paid, true).await;
        server.kill();
        server = Launch::serve(&data, &config).ready().await;
        assert_paid(&server.client, &paid, true).await;
    }
    server.stop();
    let server = Launch::serve(&data, &config).ready().await;
    assert_eq!(server.client.coins(2001).await, server.client.coins(2016).await);
    server.stop();
}

/// The log may take little, and the flusher comes seldom: the door closes, and opens again when the store has caught up.
#[tokio::test]
async fn a_full_log_refuses_until_the_flusher_has_caught_up() {
    if !has_everything_in_its_folder("segments of the folder are counted") {
        return;
    }
    let scratch = Scratch::new();
    let hosts: Vec<u64> = (2001..2017).collect();
    let more = "[log]\nsegment-bytes = \"2 MiB\"\nbytes-max = \"8 MiB\"\n[engine]\nflush-every = \"12 s\"";
    let config = Config { more: more.into(), ..Config::new(&hosts) };
    let server = Launch::serve(&scratch.data(), &config).ready().await;
    let client = &server.client;
    client.apply_catalog(|_| ()).await;
    client.recharge(SENDER, 10_000_000, "first").await.ok();
    let mut paid = Vec::new();
    let refusals = fill(client, &mut paid, 1_000).await;
    println!("{} gifts were paid before the log was full, {} refused", paid.len(), refusals.len());
    assert!(refusals.len() >= 1_000, "the log never filled up");
    for refusal in &refusals {
        assert_eq!((refusal.status.as_u16(), refusal.code()), (503, "overloaded"), "{}", refusal.body);
    }
    let opens = || async {
        let body = json!({"gift_id": 1, "count": 1, "to": hosts});
        client.gift(SENDER, "again", &body).await.status.is_success().then_some(())
    };
    until("the door opens again", PATIENCE, opens).await;
    paid.push("again".into());
    let segments = fs::read_dir(scratch.data().join("wal")).unwrap();
    let size: u64 = segments.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(size <= 8 << 20, "the log takes {size} bytes");
    assert_paid(client, &paid, true).await;
    server.stop();
}

#[tokio::test]
async fn balances_are_derived_again_from_the_log_alone() {
    let scratch = Scratch::new();
    // A log that was cut could not do it.
    let launch = || Launch::dev(&scratch.data()).env("LARGESSE__LOG__KAFKA__CUT", "false");
    let server = launch().ready().await;
    let left = roses(&server.client, "a", 30).await;
    let before = server.client.history(SENDER, "sent", "gift").await.0;
    assert_eq!(before.len(), 30);
    server.stop();
    // All rows are gone: they were only ever a view of the log.
    setup::lose_rows(&scratch.data());
    let server = launch().ready().await;
    assert_has_roses(&server.client, "a", 30, left).await;
    let rows = || async {
        let history = server.client.history(SENDER, "sent", "gift").await.0;
        (history == before).then_some(())
    };
    until("the rows are written again", PATIENCE, rows).await;
    server.stop();
    let audit = audit(&scratch.data());
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stderr));
}
