//! A ledger: one set of shards with its logs and its store, and the fixed rule of who lives where.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::{RoomId, ShardId, ShardKind, UserId};

/// Name of a ledger: lower-case letters, digits and `_`, starting with a letter, at most 32. It prefixes topics, tables,
/// folders and keys, so that two ledgers (real and shadow traffic, say) can never touch each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LedgerName(String);

impl LedgerName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Name of the log of one kind of shard: `main.wallet`.
    pub fn log_name(&self, kind: ShardKind) -> String {
        let kind = match kind {
            ShardKind::Control => "control",
            ShardKind::Wallet => "wallet",
            ShardKind::Room => "room",
        };
        format!("{}.{kind}", self.0)
    }
}

impl Default for LedgerName {
    fn default() -> Self {
        LedgerName("main".into())
    }
}

impl FromStr for LedgerName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let starts_well = name.starts_with(|first: char| first.is_ascii_lowercase());
        let all_allowed = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if starts_well && all_allowed && name.len() <= 32 {
            Ok(LedgerName(name.into()))
        } else {
            Err(format!("`{name}` cannot name a ledger: use a-z, 0-9 and _, a letter first, at most 32"))
        }
    }
}

impl TryFrom<String> for LedgerName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl From<LedgerName> for String {
    fn from(name: LedgerName) -> Self {
        name.0
    }
}

impl fmt::Display for LedgerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is fixed when a ledger is created: how many shards, and by which hash users are spread over them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerShape {
    pub wallet_shards: u16,
    /// Which spreading rule; 1 is the only one so far.
    pub hash_version: u16,
}

impl LedgerShape {
    pub const WALLET_SHARDS_MAX: u16 = 4096;

    pub fn new(wallet_shards: u16) -> LedgerShape {
        assert!((1..=Self::WALLET_SHARDS_MAX).contains(&wallet_shards), "a ledger has 1 to 4096 wallet shards");
        LedgerShape { wallet_shards, hash_version: 1 }
    }

    /// The wallet shard that owns this user's money, for ever.
    pub fn wallet_of(&self, user: UserId) -> ShardId {
        ShardId::wallet(self.spread(user.get()))
    }

    pub fn wallet_shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.wallet_shards).map(ShardId::wallet)
    }

    /// A ledger has as many shards for rooms as for wallets.
    pub fn room_shards(&self) -> u16 {
        self.wallet_shards
    }

    /// The room shard that counts what is given in this room, for ever.
    pub fn room_of(&self, room: RoomId) -> ShardId {
        ShardId::room(self.spread(room.get()))
    }

    pub fn all_rooms(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.room_shards()).map(ShardId::room)
    }

    #[allow(clippy::cast_possible_truncation, reason = "a remainder of a u16")]
    fn spread(&self, id: u64) -> u16 {
        let (spread, shards) = (spread_v1(id), u64::from(self.wallet_shards));
        // The usual numbers of shards are powers of two, for which the remainder needs no division.
        if shards.is_power_of_two() { (spread & (shards - 1)) as u16 } else { (spread % shards) as u16 }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn spread_v1(id: u64) -> u64 {
    let mut z = id.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_never_move() {
        let shape = LedgerShape::new(16);
        let places: Vec<u16> = [1, 2, 3, 2001, 3001, u64::MAX].map(|id| shape.wallet_of(UserId(id)).index).into();
        // These are written into every ledger there is. If this test fails, money is looked for in the wrong place.
        assert_eq!(places, [1, 14, 13, 12, 1, 0], "hash version 1 must never change");
    }

    #[test]
    fn two_ledgers_share_no_log() {
        let shadow: LedgerName = "shadow".parse().unwrap();
        assert_eq!(LedgerName::default().log_name(ShardKind::Wallet), "main.wallet");
        assert_eq!(shadow.log_name(ShardKind::Wallet), "shadow.wallet");
    }

    #[test]
    fn a_ledger_name_is_safe_in_every_store() {
        for good in ["main", "shadow_2", "a"] {
            assert!(good.parse::<LedgerName>().is_ok(), "{good}");
        }
        for bad in ["", "Main", "2nd", "a-b", "a.b", "_x", &"x".repeat(33)] {
            assert!(bad.parse::<LedgerName>().is_err(), "{bad}");
        }
    }
}
