//! Keys of one process by which it notices that Redis has forgotten something: each holds a count that only this process
//! raises. One that is gone, or went back, was lost together with whatever lay beside it.

use super::connection::Connection;
use super::entry::Keys;
use super::{MirrorError, MirrorOptions, Topology};

/// A cluster loses the keys of one of its nodes; so many are on every node of any cluster of a sensible size.
const GUARDS_IN_CLUSTER: usize = 64;
/// They outlive every pause of this process that is no stop, and are gone soon after one.
const TTL_SECONDS: u64 = 3_600;

pub(super) struct Guards {
    keys: Vec<String>,
    /// What all of them held at the last check that was answered; `None` before the first.
    confirmed: Option<u64>,
    last: u64,
}

impl Guards {
    pub fn new(keys: &Keys, options: &MirrorOptions) -> Guards {
        let token = uuid::Uuid::new_v4().simple().to_string();
        let count = match options.topology {
            Topology::Single { .. } => 1,
            Topology::Cluster { .. } => GUARDS_IN_CLUSTER,
        };
        Guards { keys: (0..count).map(|number| keys.guard(&token, number)).collect(), confirmed: None, last: 0 }
    }

    /// Whether everything that was there at the last check still is. The first check finds nothing missing.
    pub async fn check(&mut self, connection: &Connection) -> Result<bool, MirrorError> {
        self.last += 1;
        let before = connection.swap(&self.keys, self.last, TTL_SECONDS).await?;
        // A check that failed half way has raised some of them.
        let is_kept =
            self.confirmed.is_none_or(|confirmed| before.iter().all(|held| held.is_some_and(|held| held >= confirmed)));
        self.confirmed = Some(self.last);
        Ok(is_kept)
    }
}
