//! Random appends, claims, truncations, restarts and crashes, against a plain list per shard.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::harness::*;
use crate::log::embedded::{EmbeddedLogOptions, EmbeddedLogs};
use largesse_engine::log::{AppendError, LogError, Logs};
use largesse_engine::units::{Epoch, Position, ShardId};

#[derive(Clone, Debug)]
enum Step {
    Claim(u16),
    Append {
        shard: u16,
        len: usize,
    },
    AppendAsPredecessor(u16),
    /// Gives up all but the last `keep` records.
    Truncate {
        shard: u16,
        keep: usize,
    },
    Restart,
    /// The records are under way when the power fails. Of what was not synced, everything from `cut` of 1,000 parts on
    /// is lost, and of the rest the blocks of 512 bytes in `lost`.
    Crash {
        under_way: Vec<(u16, usize)>,
        cut: usize,
        lost: Vec<usize>,
    },
}

const SHARDS: u16 = 3;

fn any_step() -> impl Strategy<Value = Step> {
    let shard = || 0..SHARDS;
    let len = || prop_oneof![3 => 0..200_usize, 1 => 1_000..4_000_usize];
    prop_oneof![
        2 => shard().prop_map(Step::Claim),
        10 => (shard(), len()).prop_map(|(shard, len)| Step::Append { shard, len }),
        1 => shard().prop_map(Step::AppendAsPredecessor),
        3 => (shard(), 0..5_usize).prop_map(|(shard, keep)| Step::Truncate { shard, keep }),
        1 => Just(Step::Restart),
        2 => (vec((shard(), len()), 1..8), 0..=1_000_usize, vec(0..40_usize, 0..2))
            .prop_map(|(under_way, cut, lost)| Step::Crash { under_way, cut, lost }),
    ]
}

#[derive(Default)]
struct Shard {
    /// All that was answered for, and what survived without an answer.
    records: Vec<(Position, Vec<u8>)>,
    /// From here on the records must be there.
    first: Position,
    epoch: Option<Epoch>,
    before: Option<Epoch>,
}

struct World {
    dir: TempDir,
    disk: Arc<Disk>,
    logs: Option<EmbeddedLogs>,
    shards: BTreeMap<u16, Shard>,
    written: u64,
}

fn options() -> EmbeddedLogOptions {
    EmbeddedLogOptions {
        cache_bytes_max: 2_000,
        hold_bytes_max: 40 << 10,
        record_bytes_max: 4_200,
        ..EmbeddedLogOptions::test_min()
    }
}

impl World {
    fn new() -> World {
        let shards = (0..SHARDS).map(|shard| (shard, Shard::default())).collect();
        let mut world = World { dir: tempfile::tempdir().unwrap(), disk: Disk::new(), logs: None, shards, written: 0 };
        world.open();
        world
    }

    fn logs(&self) -> &EmbeddedLogs {
        self.logs.as_ref().unwrap()
    }

    fn open(&mut self) {
        self.disk = Disk::new();
        self.logs = Some(open(self.dir.path(), &self.disk.options(options())).unwrap());
        for shard in self.shards.values_mut() {
            shard.before = shard.epoch.take();
        }
    }

    /// Bytes that no other record has.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.written += 1;
        let number = self.written.to_le_bytes();
        number.into_iter().cycle().take(len.max(8)).collect()
    }

    fn epoch(&mut self, shard: u16) -> Epoch {
        if self.shards[&shard].epoch.is_none() {
            self.claim(shard);
        }
        self.shards[&shard].epoch.unwrap()
    }

    fn claim(&mut self, shard: u16) {
        let epoch = claim(self.logs(), ShardId::wallet(shard)).unwrap();
        let known = self.shards.get_mut(&shard).unwrap();
        let before = known.epoch.replace(epoch).or(known.before);
        assert!(before.is_none_or(|before| before < epoch), "epochs grow");
        known.before = before;
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Claim(shard) => self.claim(*shard),
            Step::Append { shard, len } => {
                let (epoch, bytes) = (self.epoch(*shard), self.bytes(*len));
                let position = append(self.logs(), ShardId::wallet(*shard), epoch, &bytes).unwrap();
                self.shards.get_mut(shard).unwrap().records.push((position, bytes));
            }
            Step::AppendAsPredecessor(shard) => {
                if let Some(before) = self.shards[shard].before {
                    let answer = append(self.logs(), ShardId::wallet(*shard), before, b"ghost");
                    assert!(matches!(answer, Err(AppendError::Fenced(_))), "{answer:?}");
                }
            }
            Step::Truncate { shard, keep } => {
                let known = self.shards.get_mut(shard).unwrap();
                let kept = known.records.len().saturating_sub(*keep);
                let logs = self.logs.as_ref().unwrap();
                let first = known.records.get(kept).map_or_else(|| end(logs), |(position, _)| *position);
                // What was given up stays given up.
                known.first = known.first.max(first);
                truncate(logs, ShardId::wallet(*shard), known.first);
            }
            Step::Restart => {
                self.logs = None;
                self.open();
            }
            Step::Crash { under_way, cut, lost } => self.crash(under_way, *cut, lost),
        }
    }

    fn crash(&mut self, under_way: &[(u16, usize)], cut: usize, lost: &[usize]) {
        let epochs: Vec<_> = under_way.iter().map(|(shard, _)| self.epoch(*shard)).collect();
        self.disk.hold();
        let mut sent: BTreeMap<u16, Vec<Vec<u8>>> = BTreeMap::new();
        let mut answers = Vec::new();
        for ((shard, len), epoch) in under_way.iter().zip(epochs) {
            let bytes = self.bytes(*len);
            answers.push(queue(self.logs(), ShardId::wallet(*shard), epoch, &bytes));
            sent.entry(*shard).or_default().push(bytes);
        }
        self.disk.wait_for_held();
        self.disk.fail();
        for answer in answers {
            answer.recv().unwrap().expect_err("nothing was synced");
        }
        let synced = end(self.logs());
        self.logs = None;
        lose_unsynced(self.dir.path(), synced, cut, lost);
        self.open();
        for (shard, sent) in sent {
            let known = self.shards.get_mut(&shard).unwrap();
            let found = contents(self.logs.as_ref().unwrap(), ShardId::wallet(shard), known.first);
            let survived = found.into_iter().filter(|(position, _)| *position >= synced);
            for ((position, bytes), sent) in survived.zip(&sent) {
                assert_eq!(bytes, *sent, "what survives is the first of what was under way");
                known.records.push((position, bytes));
            }
        }
    }

    fn check(&self) {
        for (shard, known) in &self.shards {
            let kept = known.records.iter().filter(|(position, _)| *position >= known.first);
            let want: Vec<_> = kept.cloned().collect();
            assert_eq!(contents(self.logs(), ShardId::wallet(*shard), known.first), want, "shard {shard}");
            let log = self.logs().shard(ShardId::wallet(*shard));
            match futures::executor::block_on(log.read(Position::START, 100)) {
                Ok(_) => {
                    // A truncation may be forgotten by a restart, but then nothing is missing in between.
                    let found = contents(self.logs(), ShardId::wallet(*shard), Position::START);
                    assert!(known.records.ends_with(&found), "shard {shard} holds {found:?}");
                }
                Err(LogError::Truncated { first, .. }) => assert!(first <= known.first),
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// What a power failure does to bytes that were written and not synced: any of them may be missing.
fn lose_unsynced(dir: &Path, synced: Position, cut: usize, lost: &[usize]) {
    for file in segments(dir) {
        let base: u64 = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        change(&file, |bytes| {
            let from = usize::try_from(synced.get().saturating_sub(base)).unwrap().clamp(4_096, bytes.len());
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1).max(from);
            bytes[from + (used - from) * cut / 1_000..].fill(0);
            for block in lost {
                let block = (from / 512 + block) * 512;
                if block < used {
                    bytes[block.max(from)..(block + 512).min(used)].fill(0);
                }
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_log_agrees_with_the_obvious_model(steps in vec(any_step(), 0..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
            world.check();
        }
        world.step(&Step::Restart);
        world.check();
    }
}
