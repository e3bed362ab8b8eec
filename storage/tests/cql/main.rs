//! The CQL store against a real server, which `scripts/services up cassandra` starts.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod failing;
mod history;
mod ledger;
mod schema;
mod server;
mod world;
mod writes;

mod conformance {
    use super::server::Keyspace;

    largesse_storage::store_conformance!(match Keyspace::new().await {
        Some(keyspace) => keyspace,
        None => return,
    });
}
