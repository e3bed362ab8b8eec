//! A whole ledger with its rows in a database: recovered, audited, made again from the log, or refused.

use std::sync::Arc;

use largesse_engine::audit::{AuditOptions, Report, StoreAudit};
use largesse_engine::store::{ReceivedEntry, SentQuery, Store, StoredEvent};
use largesse_engine::units::UserId;
use largesse_storage::audit::{DataDirError, data_dir_with_cql};
use largesse_storage::store::cql::OpenError;
use largesse_storage::store::gap::{self, GapError};

use crate::server::{Keyspace, SHAPE};
use crate::world::{HOSTS, VIEWERS, World, logs};

async fn start(dir: &std::path::Path, keyspace: &Keyspace) -> World {
    World::start(dir, Arc::new(keyspace.store().await)).await.unwrap()
}

async fn audited(dir: &std::path::Path, keyspace: &Keyspace) -> Result<Report, DataDirError> {
    data_dir_with_cql(dir, keyspace.options.clone(), AuditOptions::default()).await
}

#[track_caller]
fn assert_clean(report: &Report) {
    assert!(report.is_clean, "{:#?}", report.problems);
    let StoreAudit::Compared { balances, checkpoints, .. } = report.store else {
        panic!("{:?}", report.store);
    };
    assert!(balances >= 8 && checkpoints > 0, "{:?}", report.store);
}

/// Wallets, own history and what was received, of everyone.
async fn rows(store: &dyn Store) -> Vec<(UserId, Vec<(u16, u64, u64)>, Vec<StoredEvent>, Vec<ReceivedEntry>)> {
    let mut all = Vec::new();
    for user in VIEWERS.into_iter().chain(HOSTS) {
        let shard = SHAPE.wallet_of(user);
        let wallet = store.load_wallets(shard, vec![user]).await.unwrap().remove(0);
        let wallet = wallet.iter().map(|row| (row.asset.get(), row.amount.get(), row.seq.get())).collect();
        let query = SentQuery { shard, user, since: None, until: None, cursor: None, limit: 1_000 };
        let sent = store.page_sent(query.clone()).await.unwrap();
        let SentQuery { shard, user, since, until, cursor, limit } = query;
        let query = largesse_engine::store::ReceivedQuery { shard, user, since, until, cursor, limit };
        let received = store.page_received(query).await.unwrap();
        assert!(sent.next.is_none() && received.next.is_none(), "there are few rows");
        all.push((user, wallet, sent.items, received.items));
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_deleted_is_made_again_from_a_whole_log() {
    let Some(keyspace) = Keyspace::new().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let world = start(dir.path(), &keyspace).await;
    world.open().await;
    world.roses(1, 12).await;
    let beside = audited(dir.path(), &keyspace).await.unwrap();
    assert!(beside.is_clean && matches!(&beside.store, StoreAudit::NotCompared(why) if why.contains("stop")));
    world.stop().await;
    assert_clean(&audited(dir.path(), &keyspace).await.unwrap());
    // Recovered from checkpoint and log.
    let world = start(dir.path(), &keyspace).await;
    world.roses(2, 4).await;
    world.stop().await;
    assert_clean(&audited(dir.path(), &keyspace).await.unwrap());
    let before = rows(&keyspace.store().await).await;
    assert!(before.iter().any(|(_, _, _, received)| received.len() >= 20), "hosts got something");

    let session = keyspace.session().await;
    session.query_unpaged(format!("DROP KEYSPACE {}", keyspace.options.keyspace), ()).await.unwrap();
    let refused = audited(dir.path(), &keyspace).await.unwrap_err();
    assert!(matches!(refused, DataDirError::Cql(OpenError::Missing { .. })), "{refused}");
    keyspace.migrate().await;
    let world = start(dir.path(), &keyspace).await;
    world.drain().await;
    world.stop().await;
    assert_eq!(rows(&keyspace.store().await).await, before);
    assert_clean(&audited(dir.path(), &keyspace).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_deleted_after_the_log_was_cut_is_refused_by_name() {
    let Some(keyspace) = Keyspace::new().await else { return };
    let dir = tempfile::tempdir().unwrap();
    // Nobody but the log's first segment knows the beginning, until it is full and flushed.
    let mut round = 0;
    let is_cut = async || {
        let logs = logs(dir.path(), 2 << 20);
        let store = keyspace.store().await;
        gap::check(&logs, &store, SHAPE).await.unwrap();
        let shard = largesse_engine::log::Logs::shard(&logs, SHAPE.wallet_of(VIEWERS[0]));
        shard.read(largesse_engine::units::Position::START, 1).await.is_err()
    };
    while round == 0 || !is_cut().await {
        let world = start(dir.path(), &keyspace).await;
        if round == 0 {
            world.open().await;
        }
        round += 1;
        assert!(round < 40, "the log is never cut");
        for turn in 0..8 {
            world.roses(round * 8 + turn, 250).await;
        }
        world.stop().await;
    }
    assert_clean(&audited(dir.path(), &keyspace).await.unwrap());
    let session = keyspace.session().await;
    session.query_unpaged(format!("DROP KEYSPACE {}", keyspace.options.keyspace), ()).await.unwrap();
    keyspace.migrate().await;
    let (logs, store) = (logs(dir.path(), 2 << 20), keyspace.store().await);
    let refused = gap::check(&logs, &store, SHAPE).await.unwrap_err();
    assert!(matches!(refused, GapError::StoreLost { .. }), "{refused}");
    assert!(refused.to_string().contains("restore the store from a backup"), "it says what to do: {refused}");
}
