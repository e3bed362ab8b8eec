//! A server that is killed, and one that stops answering.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use largesse_engine::flush::{FlushError, FlushLimits, Flusher, Settled};
use largesse_engine::log::{Logs, ShardLog};
use largesse_engine::record::{Claim, EventsHeader, encode_events};
use largesse_engine::service::ServiceError;
use largesse_engine::store::{SentQuery, Store, StoreError};
use largesse_engine::units::{Amount, AssetId, Epoch, NodeId, Seq, ShardId, Time, UserId};
use largesse_engine::wallet::command::RechargeSaid;
use largesse_engine::wallet::event::{Channel, Recharged, WalletEvent};
use largesse_engine::wallet::outcome::Refusal;
use largesse_engine::wallet::rows::WalletRows;
use largesse_storage::conformance::store::{received_query, sent_query};
use largesse_storage::log::memory::MemoryLogs;
use largesse_storage::store::memory::MemoryStore;

use crate::server::{PrivateServer, SHAPE};
use crate::world::{VIEWERS, World, fresh_key};

const SHARD: ShardId = ShardId::wallet(0);
const ANN: UserId = UserId(1);
/// Far from everything that a busy machine does to somebody who waits for nothing.
const PATIENCE: Duration = Duration::from_millis(1_500);
/// Neither sends nor gets a gift.
const STRANGER: UserId = UserId(77);

/// One server for all, one after the other: it takes half a minute to start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_become_of_a_server() {
    let Some(server) = PrivateServer::start().await else { return };
    killed_under_a_flusher(&server).await;
    frozen_for_a_while(&server).await;
    frozen_under_a_node(&server).await;
}

/// A log that grows while it is flushed; every event gives Ann one coin.
struct Growing {
    /// Cut where it is flushed.
    log: Arc<dyn ShardLog>,
    /// The same, for whoever flushes it from the beginning.
    copy: Arc<dyn ShardLog>,
    epoch: Epoch,
    next: Seq,
    records: u64,
}

impl Growing {
    async fn new() -> Growing {
        let [log, copy] = [MemoryLogs::automatic(), MemoryLogs::automatic()].map(|logs| logs.shard(SHARD));
        let claim = Claim { node: NodeId(1), nonce: [1; 16] };
        let epoch = log.claim(claim).await.unwrap();
        assert_eq!(copy.claim(claim).await.unwrap(), epoch);
        Growing { log, copy, epoch, next: Seq::FIRST, records: 0 }
    }

    fn append(&mut self, events: u32) {
        let mut bytes = Vec::new();
        for place in 0..u64::from(events) {
            let number = self.next.get() + place;
            let (channel, transaction) = (Channel::Manual, number.to_string().into());
            let (asset, amount) = (AssetId(1), Amount::new(1).unwrap());
            let said = RechargeSaid { channel, transaction, user: ANN, asset, amount };
            let event = Recharged { said, balance: Amount::new(number).unwrap(), trace: None };
            largesse_engine::codec::encode_into(&WalletEvent::Recharged(event), &mut bytes);
        }
        self.records += 1;
        let time = Time(1_700_000_000_000 + self.next.get() * 1_000);
        let header = EventsHeader { epoch: self.epoch, number: self.records, first: self.next, count: events, time };
        self.next = header.next();
        for log in [&self.log, &self.copy] {
            let is_durable = |done: Result<_, _>| assert!(done.is_ok());
            log.append(self.epoch, encode_events(header, &bytes), Box::new(is_durable));
        }
    }

    async fn flusher(log: &Arc<dyn ShardLog>, store: Arc<dyn Store>) -> Result<Flusher<WalletRows>, FlushError> {
        let (settled, limits) = (Settled::default(), FlushLimits { events_max: 400, ..FlushLimits::default() });
        settled.store(u64::MAX, Ordering::Release);
        let rows = WalletRows::new(SHARD, SHAPE);
        Flusher::start(SHARD, Arc::clone(log), store, rows, settled, limits).await
    }
}

/// Everything up to the end; `false` when the store went away first.
async fn flush(log: &Arc<dyn ShardLog>, store: Arc<dyn Store>) -> bool {
    let Ok(mut flusher) = Growing::flusher(log, store).await else { return false };
    loop {
        match flusher.step().await {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(FlushError::Store(StoreError::Unavailable(_))) => return false,
            Err(other) => panic!("{other}"),
        }
    }
}

async fn killed_under_a_flusher(server: &PrivateServer) {
    let store: Arc<dyn Store> = Arc::new(server.store(PATIENCE).await);
    let mut growing = Growing::new().await;
    let mut kills = 0;
    while kills < 2 {
        for _ in 0..100 {
            growing.append(100);
        }
        // The kill comes when some of it is flushed, and some is under way.
        let behind = store.checkpoint(SHARD).await.unwrap().map_or(Seq::FIRST, |at| at.fold.next);
        let flushing = flush(&growing.log, Arc::clone(&store));
        let killing = async {
            while store.checkpoint(SHARD).await.unwrap().is_none_or(|at| at.fold.next <= behind) {
                tokio::task::yield_now().await;
            }
            server.kill();
        };
        let (is_whole, ()) = tokio::join!(flushing, killing);
        assert!(!is_whole, "it was killed in the middle of a flush");
        kills += 1;
        server.up();
        let answers = async {
            while store.checkpoint(SHARD).await.is_err() {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(Duration::from_secs(60), answers).await.expect("the session finds the server again");
    }
    let in_time = async { while !flush(&growing.log, Arc::clone(&store)).await {} };
    tokio::time::timeout(Duration::from_secs(60), in_time).await.expect("what was begun is finished");
    let model: Arc<dyn Store> = Arc::new(MemoryStore::default());
    assert!(flush(&growing.copy, Arc::clone(&model)).await);
    assert_eq!(store.checkpoint(SHARD).await, model.checkpoint(SHARD).await);
    assert_eq!(store.scan_balances(SHARD, None, 10).await, model.scan_balances(SHARD, None, 10).await);
    assert_eq!(all_sent(&*store).await, all_sent(&*model).await);
}

async fn all_sent(store: &dyn Store) -> Vec<u64> {
    let (mut seqs, mut query) = (Vec::new(), SentQuery { shard: SHARD, ..sent_query(ANN, 1_000) });
    loop {
        let page = store.page_sent(query.clone()).await.unwrap();
        seqs.extend(page.items.iter().map(|event| event.seq.get()));
        query.cursor = page.next;
        if query.cursor.is_none() {
            return seqs;
        }
    }
}

async fn frozen_for_a_while(server: &PrivateServer) {
    let store = Arc::new(server.store(PATIENCE).await);
    store.load_wallets(SHARD, vec![ANN]).await.unwrap();
    server.freeze();
    let began = Instant::now();
    let asked = (0..50).map(|user| store.load_wallets(SHARD, vec![UserId(user)]));
    let answers = futures::future::join_all(asked).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::Unavailable(_)))), "{answers:?}");
    assert!(began.elapsed() < PATIENCE * 2, "nobody waits longer than was said: {:?}", began.elapsed());
    // From now on one at a time finds out, and the others hear at once.
    let began = Instant::now();
    let mut slow = 0;
    for _ in 0..200 {
        let asked = Instant::now();
        assert!(matches!(store.load_wallets(SHARD, vec![ANN]).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(store.checkpoint(SHARD).await, Err(StoreError::Unavailable(_))));
        slow += u32::from(asked.elapsed() > Duration::from_millis(100));
    }
    assert!(slow <= 1 + u32::try_from(began.elapsed().as_millis() / 200).unwrap(), "{slow} of 200 waited");
    assert!(matches!(store.page_sent(sent_query(ANN, 5)).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.page_received(received_query(ANN, 5)).await, Err(StoreError::Unavailable(_))));
    server.thaw();
    let answers = async {
        while store.load_wallets(SHARD, vec![ANN]).await.is_err() {
            tokio::task::yield_now().await
        }
    };
    tokio::time::timeout(Duration::from_secs(30), answers).await.expect("it is noticed that the server is back");
}

/// Users in memory with keys that have a time go on; the others are told at once.
async fn frozen_under_a_node(server: &PrivateServer) {
    // The rows of the tests before belong to another log.
    largesse_storage::store::cql::migrate(&other(server), &"node".parse().unwrap(), SHAPE).await.unwrap();
    let options = largesse_storage::store::cql::CqlOptions { read_timeout: PATIENCE, ..other(server) };
    let store = largesse_storage::store::cql::CqlStore::open(&"node".parse().unwrap(), SHAPE, options).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let world = Arc::new(World::start(dir.path(), Arc::new(store)).await.unwrap());
    world.open().await;
    world.roses(1, 8).await;
    world.drain().await;
    server.freeze();
    let (is_over, began) = (Arc::new(AtomicBool::new(false)), Instant::now());
    let others = {
        let (world, is_over) = (Arc::clone(&world), Arc::clone(&is_over));
        tokio::spawn(async move {
            let (mut told, mut number) = (0, 0);
            while !is_over.load(Ordering::Acquire) {
                number += 1;
                // The key of a recharge has no time, so only the store can say that it is new. Commands of one user are
                // decided in order, so it is none of those who send.
                let refused = world.recharge(STRANGER, 1, &format!("while away {number}")).await;
                let is_told = matches!(refused, Err(ServiceError::Refused(Refusal::StoreUnavailable)));
                assert!(is_told, "{refused:?}");
                told += 1;
            }
            told
        })
    };
    let (mut sent, mut slowest) = (0u32, Duration::ZERO);
    while began.elapsed() < PATIENCE * 3 {
        let asked = Instant::now();
        let key = fresh_key(&[2, sent.to_be_bytes()[2], sent.to_be_bytes()[3]]);
        world.rose(VIEWERS[usize::try_from(sent).unwrap() % VIEWERS.len()], key, 1).await.unwrap();
        slowest = slowest.max(asked.elapsed());
        sent += 1;
    }
    is_over.store(true, Ordering::Release);
    let told = others.await.unwrap();
    println!("while the store was away: {sent} gifts, the slowest {slowest:?}; {told} others were told so");
    // Had one of them waited for the store, it would have waited for all of its patience.
    assert!(sent > 100 && slowest < PATIENCE, "{sent} gifts, the slowest took {slowest:?}");
    assert!(told > 10, "only {told} were told at once");
    server.thaw();
    let back = async {
        while world.recharge(VIEWERS[0], 1, "afterwards").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), back).await.expect("it goes on when the store is back");
    world.drain().await;
    Arc::into_inner(world).expect("nobody else has it").stop().await;
}

fn other(server: &PrivateServer) -> largesse_storage::store::cql::CqlOptions {
    server.options.clone()
}
