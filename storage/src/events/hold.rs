//! What is not published yet holds the log, but never more of it than was said beforehand.
//!
//! Whoever flushes gives the log up as far as rows and relays allow. Between that and the log stands [`HeldLogs`], which
//! passes on only what has been published as well. Past its limit it lets go: gifts come first, and what was cut away
//! before it was published becomes a dead letter that names it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::clock::Clock;
use largesse_engine::log::{AppendDone, Fencing, LogError, LogRoom, Logs, ShardLog};
use largesse_engine::record::{Claim, LogEntry};
use largesse_engine::units::{Epoch, Position, ShardId, ShardKind, Time};

/// Of a log with a limit of bytes, unpublished events may hold this part, one in so many.
const SHARE_OF_LOG: u64 = 2;

/// The same logs, cut only where nobody waits for what lies there.
pub struct HeldLogs {
    holds: Arc<Holds>,
}

/// How far each shard was published, and how far it could be cut.
pub struct Holds {
    logs: Arc<dyn Logs>,
    clock: Arc<dyn Clock>,
    age_max: Duration,
    shards: Mutex<BTreeMap<ShardId, Hold>>,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    /// Whether this process publishes it.
    is_ours: bool,
    /// Everything before is published. Unless somebody remembers where publishing stands, nothing could name what was cut.
    published: Option<Position>,
    /// When the oldest event after it happened, or at the latest; `None` when there was none.
    oldest: Option<Time>,
    /// What the flusher gave up.
    wanted: Position,
    /// What was passed on.
    cut: Position,
    is_let_go: bool,
}

impl HeldLogs {
    pub fn new(logs: Arc<dyn Logs>, clock: Arc<dyn Clock>, age_max: Duration) -> (HeldLogs, Arc<Holds>) {
        let holds = Arc::new(Holds { logs, clock, age_max, shards: Mutex::default() });
        (HeldLogs { holds: Arc::clone(&holds) }, holds)
    }
}

impl Holds {
    /// Everything of this shard before `published` is out, and the oldest that is not happened then.
    pub async fn advance(&self, shard: ShardId, published: Position, oldest: Option<Time>) -> Result<(), LogError> {
        {
            let mut shards = self.lock();
            let hold = self.of(&mut shards, shard);
            (hold.published, hold.oldest) = (Some(published), oldest);
        }
        self.pass_on().await
    }

    /// Publishing goes on here; nothing was published meanwhile, so what waits is as old as it was.
    pub async fn resume(&self, shard: ShardId, published: Position) -> Result<(), LogError> {
        self.of(&mut self.lock(), shard).published = Some(published);
        self.pass_on().await
    }

    /// Nobody says how far it was published, but from here on it can be named what was not.
    pub fn remember(&self, shard: ShardId, begun: Position) {
        self.of(&mut self.lock(), shard).published.get_or_insert(begun);
    }

    /// This process publishes the shard from now on, though it cannot say yet from where.
    pub fn begin(&self, shard: ShardId) {
        let now = self.clock.now();
        let mut shards = self.lock();
        let hold = self.of(&mut shards, shard);
        (hold.is_ours, hold.oldest) = (true, hold.oldest.or(Some(now)));
    }

    /// Another process publishes it, and its hold counts: here nothing is given up meanwhile. What is old when it comes
    /// back is not known, since the other may have published all of it.
    pub fn end(&self, shard: ShardId) {
        let mut shards = self.lock();
        let hold = self.of(&mut shards, shard);
        (hold.is_ours, hold.oldest) = (false, None);
    }

    /// Whether this process publishes it now.
    pub fn is_ours(&self, shard: ShardId) -> bool {
        self.lock().get(&shard).is_some_and(|hold| hold.is_ours)
    }

    /// How old the oldest unpublished event of a shard is.
    pub fn age(&self, shard: ShardId) -> Duration {
        let oldest = self.lock().get(&shard).and_then(|hold| hold.oldest);
        oldest.map_or(Duration::ZERO, |oldest| self.since(oldest))
    }

    fn since(&self, then: Time) -> Duration {
        Duration::from_millis(self.clock.now().get().saturating_sub(then.get()))
    }

    async fn want(&self, shard: ShardId, position: Position) -> Result<(), LogError> {
        {
            let mut shards = self.lock();
            let hold = self.of(&mut shards, shard);
            hold.wanted = hold.wanted.max(position);
        }
        self.pass_on().await
    }

    /// Cuts what may be cut now, of all shards: one that is idle may hold what a busy one needs.
    async fn pass_on(&self) -> Result<(), LogError> {
        let room = self.logs.room();
        let is_tight = room.bytes_used > room.bytes_max / SHARE_OF_LOG;
        let mut cuts = Vec::new();
        for (shard, hold) in self.lock().iter_mut() {
            let is_old = hold.oldest.is_some_and(|oldest| self.since(oldest) > self.age_max);
            let published = hold.published.unwrap_or(Position::START);
            let lets_go = (is_old || is_tight) && hold.published.is_some_and(|published| published < hold.wanted);
            if lets_go && !hold.is_let_go {
                tracing::warn!(
                    %shard, %published, wanted = %hold.wanted, is_old,
                    "unpublished events have held the log for long enough; it is cut, and a dead letter will name them"
                );
                metrics::counter!("largesse_events_let_go_total").increment(1);
            }
            hold.is_let_go = lets_go;
            let cut = if lets_go { hold.wanted } else { hold.wanted.min(published) };
            if cut > hold.cut {
                hold.cut = cut;
                cuts.push((*shard, cut));
            }
        }
        for (shard, cut) in cuts {
            self.logs.shard(shard).truncate_before(cut).await?;
        }
        Ok(())
    }

    /// Until it is known how far a shard was published, nothing of it is given up.
    fn of<'a>(&self, shards: &'a mut BTreeMap<ShardId, Hold>, shard: ShardId) -> &'a mut Hold {
        shards.entry(shard).or_insert(Hold {
            is_ours: false,
            published: None,
            oldest: None,
            wanted: Position::START,
            cut: Position::START,
            is_let_go: false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ShardId, Hold>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logs for HeldLogs {
    fn shard(&self, shard: ShardId) -> Arc<dyn ShardLog> {
        let log = self.holds.logs.shard(shard);
        match shard.kind {
            ShardKind::Wallet => Arc::new(HeldLog { shard, log, holds: Arc::clone(&self.holds) }),
            // Nothing of theirs is published.
            ShardKind::Control | ShardKind::Room => log,
        }
    }

    fn room(&self) -> LogRoom {
        self.holds.logs.room()
    }

    fn is_tight(&self) -> bool {
        self.holds.logs.is_tight()
    }

    fn is_full(&self) -> bool {
        self.holds.logs.is_full()
    }
}

struct HeldLog {
    shard: ShardId,
    log: Arc<dyn ShardLog>,
    holds: Arc<Holds>,
}

impl ShardLog for HeldLog {
    fn claim(&self, claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
        self.log.claim(claim)
    }

    fn append(&self, epoch: Epoch, record: Bytes, done: AppendDone) {
        self.log.append(epoch, record, done);
    }

    fn read(&self, from: Position, bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
        self.log.read(from, bytes_max)
    }

    fn wait_for(&self, from: Position) -> BoxFuture<'_, Result<(), LogError>> {
        self.log.wait_for(from)
    }

    fn truncate_before(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
        self.holds.want(self.shard, position).boxed()
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
        self.log.end()
    }

    fn fencing(&self) -> Fencing {
        self.log.fencing()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Logs that only remember how far they were cut.
    #[derive(Default)]
    struct Cuts {
        cuts: Mutex<BTreeMap<ShardId, Position>>,
        used: AtomicU64,
    }

    struct Cut(ShardId, Arc<Cuts>);

    /// Near their limit, and able to take more.
    struct CutLogs(Arc<Cuts>);

    impl Logs for CutLogs {
        fn shard(&self, shard: ShardId) -> Arc<dyn ShardLog> {
            Arc::new(Cut(shard, Arc::clone(&self.0)))
        }

        fn room(&self) -> LogRoom {
            LogRoom { bytes_used: self.0.used.load(Ordering::Relaxed), bytes_max: 100, is_tight: true }
        }

        fn is_tight(&self) -> bool {
            true
        }

        fn is_full(&self) -> bool {
            false
        }
    }

    impl ShardLog for Cut {
        fn claim(&self, _claim: Claim) -> BoxFuture<'_, Result<Epoch, LogError>> {
            unreachable!("nobody claims")
        }

        fn append(&self, _epoch: Epoch, _record: Bytes, _done: AppendDone) {
            unreachable!("nobody appends")
        }

        fn read(&self, _from: Position, _bytes_max: usize) -> BoxFuture<'_, Result<Vec<LogEntry>, LogError>> {
            unreachable!("nobody reads")
        }

        fn wait_for(&self, _from: Position) -> BoxFuture<'_, Result<(), LogError>> {
            unreachable!("nobody waits")
        }

        fn truncate_before(&self, position: Position) -> BoxFuture<'_, Result<(), LogError>> {
            self.1.cuts.lock().unwrap().insert(self.0, position);
            async { Ok(()) }.boxed()
        }

        fn end(&self) -> BoxFuture<'_, Result<Position, LogError>> {
            unreachable!("nobody asks")
        }

        fn fencing(&self) -> Fencing {
            Fencing::ByLog
        }
    }

    #[derive(Default)]
    struct SetClock(AtomicU64);

    impl Clock for SetClock {
        fn now(&self) -> Time {
            Time(self.0.load(Ordering::Relaxed))
        }
    }

    struct World {
        cuts: Arc<Cuts>,
        clock: Arc<SetClock>,
        logs: HeldLogs,
        holds: Arc<Holds>,
    }

    const SHARD: ShardId = ShardId::wallet(3);

    impl World {
        fn new() -> World {
            let (cuts, clock) = (Arc::new(Cuts::default()), Arc::new(SetClock(1_000_000.into())));
            let inner = Arc::new(CutLogs(Arc::clone(&cuts)));
            let clock_too: Arc<SetClock> = Arc::clone(&clock);
            let (logs, holds) = HeldLogs::new(inner, clock_too, Duration::from_secs(60));
            World { cuts, clock, logs, holds }
        }

        fn flushed(&self, shard: ShardId, position: u64) {
            futures::executor::block_on(self.logs.shard(shard).truncate_before(Position(position))).unwrap();
        }

        fn published(&self, position: u64, oldest: Option<u64>) {
            let oldest = oldest.map(|seconds| Time(seconds * 1_000));
            futures::executor::block_on(self.holds.advance(SHARD, Position(position), oldest)).unwrap();
        }

        fn resumed(&self, position: u64) {
            futures::executor::block_on(self.holds.resume(SHARD, Position(position))).unwrap();
        }

        fn cut(&self, shard: ShardId) -> u64 {
            self.cuts.cuts.lock().unwrap().get(&shard).map_or(0, |position| position.get())
        }
    }

    #[test]
    fn relays_are_let_in_where_the_log_beneath_lets_them_in() {
        let logs = World::new().logs;
        assert!(logs.is_tight() && !logs.is_full());
    }

    #[test]
    fn nothing_is_given_up_before_it_is_published() {
        let world = World::new();
        world.flushed(SHARD, 50);
        assert_eq!(world.cut(SHARD), 0, "nobody knows yet how far it was published");
        world.published(20, None);
        assert_eq!(world.cut(SHARD), 20);
        world.published(90, None);
        assert_eq!(world.cut(SHARD), 50, "nor is anything before it is flushed");
        world.flushed(SHARD, 80);
        assert_eq!(world.cut(SHARD), 80);
        world.flushed(ShardId::CONTROL, 7);
        assert_eq!(world.cut(ShardId::CONTROL), 7, "nothing of it is published");
    }

    #[test]
    fn what_is_unpublished_for_too_long_lets_go() {
        let world = World::new();
        world.holds.begin(SHARD);
        world.flushed(SHARD, 50);
        world.resumed(0);
        world.clock.0.store(1_060_000, Ordering::Relaxed);
        world.flushed(SHARD, 60);
        assert_eq!(world.cut(SHARD), 0, "a minute is not more than a minute");
        world.clock.0.store(1_060_001, Ordering::Relaxed);
        world.flushed(SHARD, 61);
        assert_eq!(world.cut(SHARD), 61, "Kafka was away from the start on");
        world.published(70, Some(1_060));
        world.flushed(SHARD, 90);
        assert_eq!(world.cut(SHARD), 70, "it holds again");
        world.clock.0.store(1_200_000, Ordering::Relaxed);
        // Whoever flushes lets go for all shards.
        world.flushed(ShardId::wallet(1), 1);
        assert_eq!(world.cut(SHARD), 90);
    }

    #[test]
    fn nothing_is_let_go_while_nobody_could_name_it() {
        let world = World::new();
        world.holds.begin(SHARD);
        world.clock.0.store(9_000_000, Ordering::Relaxed);
        world.cuts.used.store(51, Ordering::Relaxed);
        world.flushed(SHARD, 50);
        assert_eq!(world.cut(SHARD), 0, "from where on it is unpublished is not known yet");
        world.resumed(20);
        assert_eq!(world.cut(SHARD), 50);
    }

    /// Positions that can be read and not written, say: each attempt goes on where the last did, and nothing gets out.
    #[test]
    fn beginning_again_makes_nothing_younger() {
        let world = World::new();
        world.holds.begin(SHARD);
        world.resumed(10);
        world.clock.0.store(1_060_001, Ordering::Relaxed);
        world.flushed(SHARD, 40);
        assert_eq!(world.cut(SHARD), 40);
        world.holds.begin(SHARD);
        world.resumed(40);
        world.flushed(SHARD, 70);
        assert_eq!(world.cut(SHARD), 70, "it lets go as it did");
        world.published(70, None);
        world.flushed(SHARD, 90);
        assert_eq!(world.cut(SHARD), 70, "once something got out it holds again");
    }

    #[test]
    fn a_log_that_is_half_full_lets_go() {
        let world = World::new();
        world.published(10, Some(1_000));
        world.flushed(SHARD, 40);
        assert_eq!(world.cut(SHARD), 10);
        world.cuts.used.store(51, Ordering::Relaxed);
        world.flushed(ShardId::wallet(1), 1);
        assert_eq!(world.cut(SHARD), 40, "gifts come first");
    }

    #[test]
    fn another_owner_s_hold_counts() {
        let world = World::new();
        world.holds.begin(SHARD);
        world.published(10, Some(1_000));
        world.holds.end(SHARD);
        world.clock.0.store(9_000_000, Ordering::Relaxed);
        world.flushed(SHARD, 40);
        assert_eq!(world.cut(SHARD), 10, "how far the other has published is not known here");
    }
}
