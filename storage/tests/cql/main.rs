//! The CQL store against a real server, which `scripts/services up cassandra` starts.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod server;

use server::Keyspace;

mod conformance {
    use super::Keyspace;

    largesse_storage::store_conformance!(Keyspace::new().await);
}
