//! Tables that are not there, too new, or somebody else's.

use largesse_engine::ledger::{LedgerName, LedgerShape};
use largesse_engine::store::{FeedQuery, FeedRow, Store};
use largesse_engine::units::{AssetId, RoomId, RoomSeq, ShardId, UserId};
use largesse_storage::conformance::store::Batch;
use largesse_storage::ledger_id::LedgerId;
use largesse_storage::store::cql::{CqlOptions, CqlStore, Located, OpenError, SCHEMA, locate, migrate, plan};
use scylla::client::session_builder::SessionBuilder;

use crate::server::{Keyspace, SHAPE};

const ANN: UserId = UserId(3001);

async fn open(options: &CqlOptions, ledger: &str, shape: LedgerShape) -> Result<CqlStore, OpenError> {
    CqlStore::open(&ledger.parse().unwrap(), shape, options.clone()).await
}

#[tokio::test]
async fn tables_are_made_by_migrating_and_by_nothing_else() {
    let Some(keyspace) = Keyspace::without_tables() else { return };
    let (options, ledger) = (&keyspace.options, LedgerName::default());
    let refused = open(options, "main", SHAPE).await.err().unwrap();
    assert!(matches!(refused, OpenError::Missing { .. }), "{refused}");
    assert!(refused.to_string().contains("largesse store migrate"), "it says what to do: {refused}");
    let planned = plan(options, &ledger, SHAPE).await.unwrap();
    assert_eq!((planned.from, planned.to), (0, SCHEMA));
    assert!(planned.steps[0].statements[0].starts_with("CREATE KEYSPACE"), "{planned:?}");
    assert!(open(options, "main", SHAPE).await.is_err(), "a plan changes nothing");
    assert_eq!(migrate(options, &ledger, SHAPE).await.unwrap(), planned);
    open(options, "main", SHAPE).await.unwrap();
    let again = migrate(options, &ledger, SHAPE).await.unwrap();
    assert!(again.from == SCHEMA && again.steps.is_empty(), "{again:?}");
    // Two ledgers share a keyspace and no table.
    migrate(options, &"shadow".parse().unwrap(), LedgerShape::new(1)).await.unwrap();
    open(options, "shadow", LedgerShape::new(1)).await.unwrap();
}

/// As the program of the first version made and left them, with one row.
async fn make_first_version(keyspace: &Keyspace) {
    let first = plan(&keyspace.options, &LedgerName::default(), SHAPE).await.unwrap().steps.remove(0);
    let session = SessionBuilder::new().known_nodes(&keyspace.options.nodes).build().await.unwrap();
    for statement in first.statements {
        session.query_unpaged(statement, ()).await.unwrap();
    }
    let meta =
        format!("INSERT INTO {}.main_meta (name, value) VALUES (?, ?) USING TIMESTAMP 1", keyspace.options.keyspace);
    let identity = r#"{"ledger":"main","wallet_shards":4,"hash_version":1,"partitions":1024}"#;
    for (name, value) in [("identity", identity), ("schema", "1")] {
        session.query_unpaged(meta.as_str(), (name, value)).await.unwrap();
    }
    let Located { shard, sub, .. } = locate(&keyspace.options, &LedgerName::default(), SHAPE, ANN);
    let row = format!("({shard}, {sub}, {ANN}, 1, 70, 8) USING TIMESTAMP 8");
    let columns = format!("{}.main_balance (shard, sub, user_id, asset, amount, seq)", keyspace.options.keyspace);
    session.query_unpaged(format!("INSERT INTO {columns} VALUES {row}"), ()).await.unwrap();
}

#[tokio::test]
async fn an_older_version_gets_the_tables_that_it_lacks_and_keeps_its_rows() {
    let Some(keyspace) = Keyspace::without_tables() else { return };
    let (options, ledger, shard, room) = (&keyspace.options, LedgerName::default(), ShardId::room(3), RoomId(7));
    make_first_version(&keyspace).await;
    let told = open(options, "main", SHAPE).await.err().unwrap();
    assert!(matches!(told, OpenError::Older { found: 1, needed: SCHEMA, .. }), "{told}");
    let planned = plan(options, &ledger, SHAPE).await.unwrap();
    assert_eq!(planned.steps.iter().map(|step| step.version).collect::<Vec<_>>(), [2]);
    assert!(planned.steps[0].statements.iter().all(|statement| statement.starts_with("CREATE TABLE")), "{planned:?}");
    assert_eq!(migrate(options, &ledger, SHAPE).await.unwrap(), planned);
    let store = keyspace.store().await;
    let wallets = store.load_wallets(SHAPE.wallet_of(ANN), vec![ANN]).await.unwrap();
    assert_eq!(wallets[0].iter().map(|row| row.amount.get()).collect::<Vec<_>>(), [70], "what was there is there");
    let mut batch = Batch::upto(2).0;
    (batch.shard, batch.checkpoint.shard) = (shard, shard);
    batch.feed.push(FeedRow { room, first: RoomSeq(1), last: RoomSeq(1), items: vec![7] });
    store.write(batch.clone()).await.unwrap();
    let query = FeedQuery { shard, room, after: RoomSeq::NONE, limit: 9 };
    assert_eq!(store.page_feed(query).await, Ok(batch.feed));
}

#[tokio::test]
async fn tables_of_another_kind_are_refused_and_left_alone() {
    let Some(keyspace) = Keyspace::new().await else { return };
    let options = &keyspace.options;
    let wider = LedgerShape::new(5);
    for refused in [
        open(options, "main", wider).await.err().unwrap(),
        migrate(options, &LedgerName::default(), wider).await.unwrap_err(),
    ] {
        let told = refused.to_string();
        assert!(told.contains("4 wallet shards") && told.contains("5 wallet shards"), "{told}");
    }
    let other = CqlOptions { partitions: 64, ..options.clone() };
    let told = open(&other, "main", SHAPE).await.err().unwrap().to_string();
    assert!(told.contains("1024 partitions") && told.contains("64 partitions"), "{told}");
    let session = keyspace.session().await;
    let set = "INSERT INTO main_meta (name, value) VALUES ('schema', ?)";
    for (version, want) in [("7", "use the newer program"), ("many", "is damaged")] {
        session.query_unpaged(set, (version,)).await.unwrap();
        for refused in [
            open(options, "main", SHAPE).await.err().unwrap(),
            migrate(options, &LedgerName::default(), SHAPE).await.unwrap_err(),
        ] {
            assert!(refused.to_string().contains(want), "{refused}");
        }
    }
    session.query_unpaged(set, (SCHEMA.to_string(),)).await.unwrap();
    open(options, "main", SHAPE).await.unwrap();
}

#[tokio::test]
async fn rows_belong_to_the_log_that_they_were_made_of() {
    let Some(keyspace) = Keyspace::new().await else { return };
    let (mine, other) = (LedgerId::fresh(), LedgerId::fresh());
    let store = keyspace.store().await;
    store.refuse_other_log(&mine).await.expect("nobody has served from it");
    store.belong_to(&mine).await.unwrap();
    store.belong_to(&mine).await.unwrap();
    let again = keyspace.store().await;
    for refused in [again.belong_to(&other).await, again.refuse_other_log(&other).await] {
        let told = refused.unwrap_err().to_string();
        assert!(told.contains(mine.as_str()) && told.contains(other.as_str()), "{told}");
        assert!(told.contains("another keyspace or name"), "it says what to do: {told}");
    }
    again.belong_to(&mine).await.expect("being refused changes nothing");
}

#[tokio::test]
async fn a_database_that_is_not_there_or_not_the_right_one_is_named() {
    let Some(keyspace) = Keyspace::without_tables() else { return };
    let nobody = CqlOptions { nodes: vec!["127.0.0.1:9".into()], ..keyspace.options.clone() };
    let told = open(&nobody, "main", SHAPE).await.err().unwrap();
    assert!(matches!(told, OpenError::Unreachable { .. }), "{told}");
    assert!(told.to_string().contains("127.0.0.1:9") && told.to_string().contains("store.cql.nodes"), "{told}");
    let elsewhere = CqlOptions { datacenter: Some("moon".into()), ..keyspace.options.clone() };
    let told = open(&elsewhere, "main", SHAPE).await.err().unwrap().to_string();
    assert!(told.contains("`moon`") && told.contains("datacenter1"), "{told}");
    let near = CqlOptions { datacenter: Some("datacenter1".into()), ..keyspace.options.clone() };
    migrate(&near, &LedgerName::default(), SHAPE).await.unwrap();
    CqlStore::open(&LedgerName::default(), SHAPE, near).await.unwrap();
}

#[tokio::test]
async fn a_users_rows_are_where_they_are_said_to_be() {
    let Some(keyspace) = Keyspace::new().await else { return };
    let shard: ShardId = SHAPE.wallet_of(ANN);
    let mut batch = Batch::upto(9).balance(ANN, AssetId(1), 70, 8).0;
    (batch.shard, batch.checkpoint.shard) = (shard, shard);
    keyspace.store().await.write(batch).await.unwrap();
    let located = locate(&keyspace.options, &LedgerName::default(), SHAPE, ANN);
    let found = keyspace.session().await.query_unpaged(located.statements[0].as_str(), ()).await.unwrap();
    assert_eq!(found.into_rows_result().unwrap().rows_num(), 1, "{located:?}");
}
