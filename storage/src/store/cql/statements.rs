//! Every statement there is, prepared once.
//!
//! Each write carries the number of its event as its timestamp, so that a late or repeated one changes nothing: of two
//! values the database keeps the one with the higher timestamp, and of two with the same the larger.

use scylla::client::execution_profile::ExecutionProfileHandle;
use scylla::client::session::Session;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

use super::connect::Connected;
use super::error::OpenError;
use super::schema::Tables;

/// Most rows in one batch, which is of one partition.
pub const BATCH_ROWS_MAX: usize = 64;
/// Rows of a read that travel at once.
const PAGE_ROWS: i32 = 256;
/// Packed rows have up to some twenty thousand bytes each.
pub const PAGE_PACKED_ROWS: i32 = 32;
/// Rows of a room's state have some fifty bytes each, and all of them are wanted.
const PAGE_STATE_ROWS: i32 = 4_096;

pub struct Statements {
    pub balance: RowBatches,
    pub sent: RowBatches,
    pub pointer: RowBatches,
    pub received: RowBatches,
    pub hour: RowBatches,
    /// Two statements of one row, each with a timestamp of its own.
    pub checkpoint: Batch,
    pub rooms: RoomStatements,
    pub wallets: PreparedStatement,
    pub balances: PreparedStatement,
    pub receipts: PreparedStatement,
    pub pointers: PreparedStatement,
    pub sent_page: PreparedStatement,
    pub received_page: PreparedStatement,
    pub hours: PreparedStatement,
    pub stored_checkpoint: PreparedStatement,
}

pub struct RoomStatements {
    pub feed: RowBatches,
    pub state: RowBatches,
    pub delete: RowBatches,
    /// Deletes all rows of a group in one partition.
    pub end: RowBatches,
    pub load: PreparedStatement,
    /// Which entries the rows hold, without what is in them.
    pub feed_rows: PreparedStatement,
    pub feed_page: PreparedStatement,
}

/// One statement, as many times as there are rows.
pub struct RowBatches(Vec<Batch>);

impl RowBatches {
    fn new(statement: &PreparedStatement, profile: &ExecutionProfileHandle) -> RowBatches {
        let of = |rows: usize| batch(&vec![statement; rows], profile);
        RowBatches((1..=BATCH_ROWS_MAX).map(of).collect())
    }

    /// `rows` is 1 to [`BATCH_ROWS_MAX`].
    pub fn of(&self, rows: usize) -> &Batch {
        &self.0[rows - 1]
    }
}

fn batch(statements: &[&PreparedStatement], profile: &ExecutionProfileHandle) -> Batch {
    let mut batch = Batch::new(BatchType::Unlogged);
    batch.set_is_idempotent(true);
    batch.set_execution_profile_handle(Some(profile.clone()));
    for statement in statements {
        batch.append_statement((*statement).clone());
    }
    batch
}

impl Statements {
    pub async fn prepare(connected: &Connected, tables: &Tables) -> Result<Statements, OpenError> {
        let preparing = Preparing { session: &connected.session, tables };
        let insert = async |text: &str| Ok(RowBatches::new(&preparing.write(text).await?, &connected.writes));
        let read = async |text: &str, page| preparing.read(text, &connected.reads, page).await;
        let rows = preparing
            .write(
                "UPDATE {checkpoint} USING TIMESTAMP ? SET next_seq = ?, position = ?, at = ?, state = ? \
                 WHERE shard = ?",
            )
            .await?;
        let relays = preparing
            .write(
                "UPDATE {checkpoint} USING TIMESTAMP ? SET relay_next_seq = ?, relay_position = ?, relay_state = ? \
                 WHERE shard = ?",
            )
            .await?;
        Ok(Statements {
            balance: insert(
                "INSERT INTO {balance} (shard, sub, user_id, asset, amount, seq) VALUES (?, ?, ?, ?, ?, ?) \
                 USING TIMESTAMP ?",
            )
            .await?,
            sent: insert(
                "INSERT INTO {sent} (shard, sub, hour, user_id, event_id, id_head, seq, at, event) \
                 VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            pointer: insert(
                "INSERT INTO {receipt_pointer} (shard, sub, user_id, event_id, stored_as) VALUES (?, ?, ?, ?, ?) \
                 USING TIMESTAMP ?",
            )
            .await?,
            received: insert(
                "INSERT INTO {received} (shard, sub, hour, spread, user_id, slot, source, first_seq, last_seq, \
                 packed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            hour: insert(
                "INSERT INTO {history_hour} (shard, sub, user_id, side, hour, spreads) VALUES (?, ?, ?, ?, ?, ?) \
                 USING TIMESTAMP ?",
            )
            .await?,
            checkpoint: batch(&[&rows, &relays], &connected.writes),
            rooms: RoomStatements::prepare(&preparing, connected).await?,
            wallets: read(
                "SELECT user_id, asset, amount, seq FROM {balance} WHERE shard = ? AND sub = ? AND user_id IN ?",
                PAGE_ROWS,
            )
            .await?,
            balances: read(
                "SELECT user_id, asset, amount, seq FROM {balance} WHERE shard = ? AND sub = ? \
                 AND (user_id, asset) > (?, ?) AND (user_id, asset) <= (?, ?)",
                PAGE_ROWS,
            )
            .await?,
            receipts: read(
                "SELECT user_id, event_id, id_head, seq, at, event FROM {sent} WHERE shard = ? AND sub = ? \
                 AND hour = ? AND (user_id, event_id, id_head) IN ?",
                PAGE_ROWS,
            )
            .await?,
            pointers: read(
                "SELECT user_id, event_id, stored_as FROM {receipt_pointer} WHERE shard = ? AND sub = ? \
                 AND (user_id, event_id) IN ?",
                PAGE_ROWS,
            )
            .await?,
            sent_page: read(
                "SELECT event_id, id_head, seq, at, event FROM {sent} WHERE shard = ? AND sub = ? AND hour = ? \
                 AND (user_id, event_id, id_head) < (?, ?, ?) AND (user_id, event_id, id_head) >= (?, ?, ?) LIMIT ?",
                PAGE_ROWS,
            )
            .await?,
            received_page: read(
                "SELECT slot, source, first_seq, last_seq, packed FROM {received} WHERE shard = ? AND sub = ? \
                 AND hour = ? AND spread = ? AND (user_id, slot, source, first_seq) <= (?, ?, ?, ?) \
                 AND (user_id, slot, source, first_seq) >= (?, ?, ?, ?)",
                PAGE_PACKED_ROWS,
            )
            .await?,
            hours: read(
                "SELECT hour, spreads FROM {history_hour} WHERE shard = ? AND sub = ? AND user_id = ? AND side = ? \
                 AND hour <= ? AND hour >= ? LIMIT ?",
                PAGE_ROWS,
            )
            .await?,
            stored_checkpoint: read("SELECT state, relay_state FROM {checkpoint} WHERE shard = ?", PAGE_ROWS).await?,
        })
    }
}

impl RoomStatements {
    async fn prepare(preparing: &Preparing<'_>, connected: &Connected) -> Result<RoomStatements, OpenError> {
        let write = async |text: &str| Ok(RowBatches::new(&preparing.write(text).await?, &connected.writes));
        let read = async |text: &str, page| preparing.read(text, &connected.reads, page).await;
        Ok(RoomStatements {
            feed: write(
                "INSERT INTO {room_feed} (shard, room, bucket, first_seq, last_seq, packed) VALUES (?, ?, ?, ?, ?, ?) \
                 USING TIMESTAMP ?",
            )
            .await?,
            state: write(
                "INSERT INTO {room_state} (shard, room, sub, row_group, row_key, value, seq) \
                 VALUES (?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?",
            )
            .await?,
            delete: write(
                "DELETE FROM {room_state} USING TIMESTAMP ? WHERE shard = ? AND room = ? AND sub = ? \
                 AND row_group = ? AND row_key = ?",
            )
            .await?,
            end: write(
                "DELETE FROM {room_state} USING TIMESTAMP ? WHERE shard = ? AND room = ? AND sub = ? \
                 AND row_group = ?",
            )
            .await?,
            load: read(
                "SELECT row_group, row_key, value, seq FROM {room_state} WHERE shard = ? AND room = ? AND sub = ?",
                PAGE_STATE_ROWS,
            )
            .await?,
            feed_rows: read(
                "SELECT first_seq, last_seq FROM {room_feed} WHERE shard = ? AND room = ? AND bucket = ? \
                 AND first_seq >= ? AND first_seq <= ?",
                PAGE_ROWS,
            )
            .await?,
            feed_page: read(
                "SELECT first_seq, last_seq, packed FROM {room_feed} WHERE shard = ? AND room = ? AND bucket = ? \
                 AND first_seq >= ?",
                PAGE_PACKED_ROWS,
            )
            .await?,
        })
    }
}

struct Preparing<'a> {
    session: &'a Session,
    tables: &'a Tables,
}

impl Preparing<'_> {
    /// Idempotent because of its timestamp.
    async fn write(&self, text: &str) -> Result<PreparedStatement, OpenError> {
        self.prepare(text).await
    }

    async fn read(
        &self,
        text: &str,
        profile: &ExecutionProfileHandle,
        page_rows: i32,
    ) -> Result<PreparedStatement, OpenError> {
        let mut statement = self.prepare(text).await?;
        statement.set_page_size(page_rows);
        statement.set_execution_profile_handle(Some(profile.clone()));
        Ok(statement)
    }

    async fn prepare(&self, text: &str) -> Result<PreparedStatement, OpenError> {
        let (before, rest) = text.split_once('{').expect("a statement names its table");
        let (table, after) = rest.split_once('}').expect("a statement names its table");
        let text = format!("{before}{}{after}", self.tables.name(table));
        let prepared = self.session.prepare(text.as_str()).await;
        let mut statement = prepared.map_err(|error| OpenError::of_statement(&text, &error))?;
        statement.set_is_idempotent(true);
        Ok(statement)
    }
}
