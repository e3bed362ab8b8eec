//! One key of the mirror, and the script by which it only goes forward.

use std::time::Duration;

use largesse_engine::units::{Amount, Seq, ShardId, ShardKind, Time, UserId};

use super::{MirrorOptions, Ttls};

/// From when something is: everything up to this time of its shard is in it, and this event changed it last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AsOf {
    pub at: Time,
    pub seq: Seq,
}

/// What a key shall hold from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub key: String,
    pub as_of: AsOf,
    /// Zero takes the key away.
    pub ttl: Duration,
    pub fields: Vec<(&'static str, String)>,
}

/// KEYS: the key. ARGV: at, seq, milliseconds to live, then names and values. 1 when it was written, 0 when what is there
/// is newer.
pub(super) const PUT: &str = "\
local at, seq = unpack(redis.call('HMGET', KEYS[1], 'at', 'seq'))
if at and seq then
  at, seq = tonumber(at), tonumber(seq)
  local new_at, new_seq = tonumber(ARGV[1]), tonumber(ARGV[2])
  if at > new_at or (at == new_at and seq > new_seq) then return 0 end
end
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[1])
  return 1
end
redis.call('HSET', KEYS[1], 'at', ARGV[1], 'seq', ARGV[2], unpack(ARGV, 4))
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
";

/// Long enough for a process that was stopped over a holiday.
const POSITION_TTL: Duration = Duration::from_secs(7 * 86_400);

/// The names of keys.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    prefix: String,
    ttls: Ttls,
}

impl Keys {
    pub fn new(options: &MirrorOptions) -> Keys {
        Keys { prefix: options.prefix.clone(), ttls: options.ttls }
    }

    pub fn asset(&self, user: UserId, asset: &str) -> String {
        format!("{}I.asset.{user}.{asset}", self.prefix)
    }

    pub fn user(&self, user: UserId) -> String {
        format!("{}I.user.{user}", self.prefix)
    }

    pub fn position(&self, shard: ShardId) -> String {
        format!("{}I.position.{shard}", self.prefix)
    }

    /// `I.gifts` and `I.gift.7`, `I.rooms` and `I.room.1001`.
    pub fn list(&self, kind: Listed) -> String {
        format!("{}I.{}s", self.prefix, kind.name())
    }

    pub fn listed(&self, kind: Listed, id: u64) -> String {
        format!("{}I.{}.{id}", self.prefix, kind.name())
    }

    pub fn guard(&self, token: &str, number: usize) -> String {
        format!("{}I.guard.{token}.{number}", self.prefix)
    }

    pub fn ttl(&self, kind: Listed) -> Duration {
        match kind {
            Listed::Gift => self.ttls.gift,
            Listed::Room => self.ttls.room,
        }
    }

    pub fn balance(&self, shard: ShardId, user: UserId, asset: &str, amount: Amount, as_of: AsOf) -> Entry {
        let fields = vec![("amount", amount.to_string()), ("shard", shard_field(shard))];
        Entry { key: self.asset(user, asset), as_of, ttl: self.ttls.asset, fields }
    }

    pub fn wallet(&self, shard: ShardId, user: UserId, as_of: AsOf) -> Entry {
        Entry { key: self.user(user), as_of, ttl: self.ttls.user, fields: vec![("shard", shard_field(shard))] }
    }

    pub fn standing(&self, shard: ShardId, as_of: AsOf) -> Entry {
        Entry { key: self.position(shard), as_of, ttl: POSITION_TTL, fields: vec![("shard", shard_field(shard))] }
    }
}

/// What has a list of all that are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listed {
    Gift,
    Room,
}

impl Listed {
    fn name(self) -> &'static str {
        match self {
            Listed::Gift => "gift",
            Listed::Room => "room",
        }
    }
}

/// A wallet shard is its number, as in every position that the API tells.
pub(super) fn shard_field(shard: ShardId) -> String {
    match shard.kind {
        ShardKind::Wallet => shard.index.to_string(),
        ShardKind::Control | ShardKind::Room => shard.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_others_know_and_other_ledgers_keep_away() {
        let keys = Keys::new(&MirrorOptions::default());
        assert_eq!(keys.asset(UserId(3001), "coin"), "I.asset.3001.coin");
        assert_eq!(keys.user(UserId(3001)), "I.user.3001");
        assert_eq!(keys.listed(Listed::Gift, 7), "I.gift.7");
        assert_eq!(keys.listed(Listed::Room, 1001), "I.room.1001");
        assert_eq!(keys.list(Listed::Gift), "I.gifts");
        let prefix = MirrorOptions::prefix_of(&"shadow".parse().unwrap());
        let keys = Keys::new(&MirrorOptions { prefix, ..MirrorOptions::default() });
        assert_eq!(keys.asset(UserId(3001), "coin"), "shadow:I.asset.3001.coin");
        assert_eq!(keys.position(ShardId::wallet(3)), "shadow:I.position.wallet-3");
    }

    #[test]
    fn time_decides_before_the_number_of_the_event() {
        let as_of = |at, seq| AsOf { at: Time(at), seq: Seq(seq) };
        assert!(as_of(2, 1) > as_of(1, 900), "a ledger that was begun anew counts from 1 again");
        assert!(as_of(2, 2) > as_of(2, 1));
    }
}
