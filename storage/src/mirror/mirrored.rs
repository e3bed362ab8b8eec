//! A store whose flushed rows are mirrored. It is that store in everything else.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use largesse_engine::event_id::EventId;
use largesse_engine::store::{
    BalanceRow, Checkpoint, FeedQuery, FeedRow, FlushBatch, Page, ReceivedEntry, ReceivedQuery, RoomRow, SentQuery,
    Store, StoreError, StoredEvent,
};
use largesse_engine::units::{AssetId, RoomId, ShardId, UserId};

use super::feed::{Feed, News};

pub struct Mirrored {
    store: Arc<dyn Store>,
    feed: Arc<Feed>,
}

impl Mirrored {
    pub(super) fn new(store: Arc<dyn Store>, feed: Arc<Feed>) -> Mirrored {
        Mirrored { store, feed }
    }
}

impl Store for Mirrored {
    /// The mirror never runs ahead of the store: whatever it loses can be read there.
    fn write(&self, batch: FlushBatch) -> BoxFuture<'_, Result<(), StoreError>> {
        let (shard, news) = (batch.shard, News::of(&batch));
        async move {
            self.store.write(batch).await?;
            if let Some(news) = news {
                self.feed.push(shard, news);
            }
            Ok(())
        }
        .boxed()
    }

    fn load_wallets(
        &self,
        shard: ShardId,
        users: Vec<UserId>,
    ) -> BoxFuture<'_, Result<Vec<Vec<BalanceRow>>, StoreError>> {
        self.store.load_wallets(shard, users)
    }

    fn load_receipts(
        &self,
        shard: ShardId,
        keys: Vec<(UserId, EventId)>,
    ) -> BoxFuture<'_, Result<Vec<Option<StoredEvent>>, StoreError>> {
        self.store.load_receipts(shard, keys)
    }

    fn forgets_for(&self) -> Duration {
        self.store.forgets_for()
    }

    fn checkpoint(&self, shard: ShardId) -> BoxFuture<'_, Result<Option<Checkpoint>, StoreError>> {
        self.store.checkpoint(shard)
    }

    fn page_sent(&self, query: SentQuery) -> BoxFuture<'_, Result<Page<StoredEvent>, StoreError>> {
        self.store.page_sent(query)
    }

    fn page_received(&self, query: ReceivedQuery) -> BoxFuture<'_, Result<Page<ReceivedEntry>, StoreError>> {
        self.store.page_received(query)
    }

    fn load_room(&self, shard: ShardId, room: RoomId) -> BoxFuture<'_, Result<Vec<RoomRow>, StoreError>> {
        self.store.load_room(shard, room)
    }

    fn page_feed(&self, query: FeedQuery) -> BoxFuture<'_, Result<Vec<FeedRow>, StoreError>> {
        self.store.page_feed(query)
    }

    fn scan_balances(
        &self,
        shard: ShardId,
        after: Option<(UserId, AssetId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BalanceRow>, StoreError>> {
        self.store.scan_balances(shard, after, limit)
    }
}
