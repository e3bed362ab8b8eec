//! Moves what waits into Redis, notices what Redis has lost, and reads that from the store again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use largesse_engine::catalog::CatalogDraft;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::node::backoff::{Backoff, Ladder};
use largesse_engine::room::settings::Room;
use largesse_engine::store::{BalanceRow, Checkpoint, Store};
use largesse_engine::units::{CatalogVersion, Seq, ShardId, Time, UserId};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};

use super::catalog::put_lists;
use super::connection::{Connection, Written};
use super::entry::{AsOf, Entry, Keys};
use super::feed::{Feed, News, Waiting};
use super::guards::Guards;
use super::names::{AssetNames, catalog};
use super::refresh::{Refresh, Step, as_of};
use super::{MirrorError, MirrorOptions};

/// Between attempts to reach Redis again.
const TRY_AGAIN: Ladder =
    Ladder { first: Duration::from_millis(100), longest: Duration::from_secs(5), ..Ladder::ENDLESS };

pub(super) struct Worker {
    options: MirrorOptions,
    feed: Arc<Feed>,
    store: Arc<dyn Store>,
    shape: LedgerShape,
    rooms: Vec<Room>,
    stopping: watch::Receiver<bool>,
    keys: Keys,
    guards: Guards,
    refresh: Refresh,
    names: AssetNames,
    control: Option<ControlSeen>,
    /// Whether it was found out what this process has missed before it began.
    is_compared: bool,
    lists_written: Instant,
}

/// The control shard as it was last seen.
struct ControlSeen {
    as_of: AsOf,
    catalog: Option<(CatalogVersion, CatalogDraft)>,
}

impl Worker {
    pub fn new(
        options: MirrorOptions,
        feed: Arc<Feed>,
        store: Arc<dyn Store>,
        shape: LedgerShape,
        rooms: Vec<Room>,
        stopping: watch::Receiver<bool>,
    ) -> Worker {
        let keys = Keys::new(&options);
        let guards = Guards::new(&keys, &options);
        Worker {
            options,
            feed,
            store,
            shape,
            rooms,
            stopping,
            keys,
            guards,
            refresh: Refresh::default(),
            names: AssetNames::default(),
            control: None,
            is_compared: false,
            lists_written: Instant::now(),
        }
    }

    /// Until it is told to stop; Redis may be away for as long as it likes.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(TRY_AGAIN);
        loop {
            let began = Instant::now();
            let ended = self.serve().await;
            metrics::gauge!("largesse_mirror_connected").set(0.0);
            let Err(error) = ended else { return };
            tracing::warn!(%error, "the mirror cannot be written; gifts go on without it");
            metrics::counter!("largesse_mirror_failures_total").increment(1);
            self.feed.tell();
            if *self.stopping.borrow() {
                return;
            }
            if began.elapsed() > TRY_AGAIN.longest {
                backoff.reset();
            }
            let _in_time = tokio::time::timeout(backoff.wait(), stopped(&mut self.stopping)).await;
        }
    }

    /// Over one connection, until that fails or everything was written that there was at a stop.
    async fn serve(&mut self) -> Result<(), MirrorError> {
        let connection = Connection::open(&self.options).await?;
        self.check(&connection).await?;
        self.compare(&connection).await?;
        tracing::info!(at = %self.options.topology, "the mirror is connected");
        metrics::gauge!("largesse_mirror_connected").set(1.0);
        let mut ticks = tokio::time::interval(self.options.check_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let feed = Arc::clone(&self.feed);
        loop {
            let is_last = *self.stopping.borrow();
            self.write_waiting(&connection).await?;
            if is_last {
                return Ok(());
            }
            tokio::select! {
                () = stopped(&mut self.stopping) => {}
                _ = ticks.tick() => self.check(&connection).await?,
                () = feed.arrived() => {}
                () = std::future::ready(()), if self.has_names() && !self.refresh.is_idle() => self.refresh_step(&connection).await?,
            }
        }
    }

    fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        // The control shard first: it knows what assets are called.
        std::iter::once(ShardId::CONTROL).chain(self.shape.wallet_shards())
    }

    /// Whether it is known what assets are called. Shards are flushed in any order, and the first may be one of wallets.
    fn has_names(&self) -> bool {
        self.control.as_ref().is_some_and(|control| control.catalog.is_some())
    }

    fn refresh_all(&mut self, reason: &'static str) {
        tracing::info!(reason, "the mirror is made again from the store");
        metrics::counter!("largesse_mirror_refreshes_total", "reason" => reason).increment(1);
        let shards = self.shards();
        self.refresh.want_all(shards);
    }

    async fn check(&mut self, connection: &Connection) -> Result<(), MirrorError> {
        if !self.guards.check(connection).await? {
            self.refresh_all("lost");
        }
        // Gifts and rooms may not change for longer than they live.
        let lives = self.options.ttls.gift.min(self.options.ttls.room);
        if self.lists_written.elapsed() > lives / 4 {
            self.write_lists(connection).await?;
        }
        metrics::gauge!("largesse_mirror_refresh_shards_left").set(self.refresh.left() as f64);
        Ok(())
    }

    /// Once: finds out of which shards Redis is not as far as the store. Where it has lost one, it may have lost anything.
    async fn compare(&mut self, connection: &Connection) -> Result<(), MirrorError> {
        if self.is_compared {
            return Ok(());
        }
        if let Some(checkpoint) = self.store.checkpoint(ShardId::CONTROL).await? {
            self.see_control(as_of(&checkpoint), &checkpoint.state)?;
        }
        let shards: Vec<ShardId> = self.shards().collect();
        let keys: Vec<String> = shards.iter().map(|shard| self.keys.position(*shard)).collect();
        let mirrored = connection.standings(&keys).await?;
        let mut behind = Vec::new();
        for (shard, mirrored) in shards.into_iter().zip(mirrored) {
            match (self.store.checkpoint(shard).await?.as_ref().map(as_of), mirrored) {
                (None, _) => {}
                (Some(_), None) => {
                    self.refresh_all("start");
                    behind.clear();
                    break;
                }
                (Some(stored), Some(mirrored)) if stored == mirrored => {}
                (Some(_), Some(_)) => behind.push(shard),
            }
        }
        behind.into_iter().for_each(|shard| self.refresh.want(shard));
        // Rooms are configured, and may be others than before.
        self.write_lists(connection).await?;
        self.is_compared = true;
        Ok(())
    }

    fn see_control(&mut self, as_of: AsOf, state: &[u8]) -> Result<(), MirrorError> {
        let catalog = catalog(state)?;
        let names = catalog.as_ref().map(|(_, draft)| AssetNames::of(draft)).unwrap_or_default();
        self.control = Some(ControlSeen { as_of, catalog });
        if names != self.names {
            self.names = names;
            if self.is_compared {
                // Balances lie under other keys from now on, or have waited until it is known under which.
                self.refresh_all("renamed");
            }
        }
        Ok(())
    }

    async fn write_lists(&mut self, connection: &Connection) -> Result<(), MirrorError> {
        let Some(control) = &self.control else { return Ok(()) };
        put_lists(connection, &self.keys, control.as_of, control.catalog.as_ref(), &self.rooms).await?;
        self.lists_written = Instant::now();
        Ok(())
    }

    async fn refresh_step(&mut self, connection: &Connection) -> Result<(), MirrorError> {
        match self.refresh.next(&*self.store).await? {
            None => {}
            Some(Step::Rows { shard, as_of, rows }) => {
                self.put(connection, &self.entries(shard, as_of.at, rows.iter().copied())).await?;
                self.refresh.written(rows.last());
            }
            Some(Step::Done { shard, checkpoint }) => {
                let done = self.refreshed(connection, shard, &checkpoint).await;
                if done.is_err() {
                    self.refresh.undone(shard);
                }
                done?;
                if self.refresh.is_idle() {
                    tracing::info!("the mirror is as the store again");
                }
            }
        }
        Ok(())
    }

    async fn refreshed(
        &mut self,
        connection: &Connection,
        shard: ShardId,
        checkpoint: &Checkpoint,
    ) -> Result<(), MirrorError> {
        if shard == ShardId::CONTROL {
            self.see_control(as_of(checkpoint), &checkpoint.state)?;
            self.write_lists(connection).await?;
        }
        self.put(connection, &[self.keys.standing(shard, as_of(checkpoint))]).await
    }

    /// What was flushed since the last time. What cannot be written waits again.
    async fn write_waiting(&mut self, connection: &Connection) -> Result<(), MirrorError> {
        let waiting = self.feed.take();
        if waiting.is_lost {
            self.refresh_all("overflow");
        }
        if waiting.shards.is_empty() {
            return Ok(());
        }
        let Waiting { shards, since, .. } = waiting;
        let began = Instant::now();
        let mut left = shards.into_iter();
        while let Some((shard, news)) = left.next() {
            if let Err(error) = self.write_news(connection, shard, &news).await {
                self.feed.give_back(since, std::iter::once((shard, news)).chain(left));
                return Err(error);
            }
        }
        metrics::histogram!("largesse_mirror_write_seconds").record(began.elapsed().as_secs_f64());
        Ok(())
    }

    async fn write_news(&mut self, connection: &Connection, shard: ShardId, news: &News) -> Result<(), MirrorError> {
        if let Some(state) = &news.state {
            self.see_control(news.as_of, state)?;
            self.write_lists(connection).await?;
        }
        if !self.has_names() {
            // Once they are known everything is read from the store.
            return Ok(());
        }
        let rows = news.balances.iter().map(|(&(user, asset), &(amount, seq))| BalanceRow { user, asset, amount, seq });
        self.put(connection, &self.entries(shard, news.as_of.at, rows)).await?;
        // What is not there yet must not look as if it were, should this process end now.
        if self.refresh.wants(shard) {
            return Ok(());
        }
        self.put(connection, &[self.keys.standing(shard, news.as_of)]).await
    }

    /// Rows in order of user, and each user's own key behind them.
    fn entries(&self, shard: ShardId, at: Time, rows: impl Iterator<Item = BalanceRow>) -> Vec<Entry> {
        let mut users: BTreeMap<UserId, Seq> = BTreeMap::new();
        let mut entries = Vec::new();
        for BalanceRow { user, asset, amount, seq } in rows {
            let last = users.entry(user).or_default();
            *last = seq.max(*last);
            entries.push(self.keys.balance(shard, user, &self.names.name(asset), amount, AsOf { at, seq }));
        }
        entries.extend(users.into_iter().map(|(user, seq)| self.keys.wallet(shard, user, AsOf { at, seq })));
        entries
    }

    async fn put(&self, connection: &Connection, entries: &[Entry]) -> Result<(), MirrorError> {
        let Written { entries, older, foreign } = connection.put(entries).await?;
        metrics::counter!("largesse_mirror_writes_total", "outcome" => "written").increment(entries as u64);
        if older > 0 {
            metrics::counter!("largesse_mirror_writes_total", "outcome" => "older").increment(older as u64);
        }
        if foreign > 0 {
            tracing::warn!(keys = foreign, "keys of the mirror hold something else; set mirror.prefix, or delete them");
            metrics::counter!("largesse_mirror_writes_total", "outcome" => "foreign").increment(foreign as u64);
        }
        Ok(())
    }
}

/// Resolves when the process stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone stops it too.
    let _gone = stopping.wait_for(|is_stopping| *is_stopping).await;
}
