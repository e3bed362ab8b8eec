//! Many nodes as one: membership, the ring that places shards on nodes, claims and hand-off between them, messages from
//! node to node, and the protocol of the cluster's administrators.
//!
//! Nothing of this exists yet: one process owns every shard. What will be here implements the remote side of
//! [`largesse_engine::handle::Wallets`].
