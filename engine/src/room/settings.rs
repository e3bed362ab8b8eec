//! What is set of a room at run time.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::units::{Amount, AssetId, GiftId, RoomId, Seq, Time, UserId};

/// Rooms of a ledger, at most.
pub const ROOMS_MAX: usize = 10_000;
/// Hosts of one room, at most.
pub const HOSTS_MAX: usize = 100;
/// Gifts in a room's own set, at most.
pub const GIFT_SET_MAX: usize = 1_000;
pub const PLUGINS_MAX: usize = 8;

/// As it is configured, or set through the service's API; written as JSON, which may get new fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Room {
    pub id: RoomId,
    pub hosts: Vec<UserId>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_closed: bool,
    /// The gifts that are sold here; without it all of the catalog are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gifts: Option<Vec<GiftId>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub plugins: Vec<PluginSettings>,
    /// The event of the control shard that set this; none of rooms in the configuration.
    #[serde(skip)]
    pub version: Seq,
}

/// A plug-in that is switched on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PluginSettings {
    /// A bar that fills with what is given.
    Goal { asset: AssetId, target: Amount },
    /// Two hosts against each other: who is given more. Without an end it goes on until it is switched off.
    Pk {
        hosts: [UserId; 2],
        asset: AssetId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Time>,
    },
}

/// Why a room stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoomRefusal {
    #[error("0 is neither a room nor a user")]
    Zero,
    #[error("a room has 1 to {HOSTS_MAX} hosts, each once")]
    Hosts,
    #[error("a room's own set has 1 to {GIFT_SET_MAX} gifts; leave it out to sell all of the catalog")]
    GiftSet,
    #[error("a room has at most {PLUGINS_MAX} plug-ins")]
    TooManyPlugins,
    #[error("a goal needs a target above 0")]
    GoalTarget,
    #[error("a PK is between two hosts of the room")]
    PkHosts,
    #[error("there are {ROOMS_MAX} rooms already")]
    TooMany,
}

impl Room {
    /// An open room that sells all of the catalog.
    pub fn new(id: RoomId, hosts: Vec<UserId>) -> Room {
        Room { id, hosts, is_closed: false, gifts: None, plugins: Vec::new(), version: Seq::NONE }
    }

    pub fn check(&self) -> Result<(), RoomRefusal> {
        if self.id == RoomId(0) || self.hosts.contains(&UserId::NOBODY) {
            return Err(RoomRefusal::Zero);
        }
        let is_repeated = (1..self.hosts.len()).any(|place| self.hosts[..place].contains(&self.hosts[place]));
        if self.hosts.is_empty() || self.hosts.len() > HOSTS_MAX || is_repeated {
            return Err(RoomRefusal::Hosts);
        }
        if self.gifts.as_ref().is_some_and(|gifts| gifts.is_empty() || gifts.len() > GIFT_SET_MAX) {
            return Err(RoomRefusal::GiftSet);
        }
        if self.plugins.len() > PLUGINS_MAX {
            return Err(RoomRefusal::TooManyPlugins);
        }
        self.plugins.iter().try_for_each(|plugin| match plugin {
            PluginSettings::Goal { target, .. } if target.is_zero() => Err(RoomRefusal::GoalTarget),
            PluginSettings::Pk { hosts: [one, other], .. }
                if one == other || !self.hosts.contains(one) || !self.hosts.contains(other) =>
            {
                Err(RoomRefusal::PkHosts)
            }
            PluginSettings::Goal { .. } | PluginSettings::Pk { .. } => Ok(()),
        })
    }

    /// Tells two settings of one version apart: those in the configuration have none.
    pub fn fingerprint(&self) -> u64 {
        use sha2::Digest;
        let json = serde_json::to_vec(self).expect("settings are plain data");
        let digest = sha2::Sha256::digest(&json);
        u64::from_le_bytes(digest[..8].try_into().expect("a digest has 32 bytes"))
    }
}
