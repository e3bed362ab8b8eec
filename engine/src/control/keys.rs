//! Keys of services that are made at run time. What is kept of a key proves it and cannot be turned back into it.

use std::sync::Arc;

use bincode::{Decode, Encode};

use crate::units::Time;

/// Keys at a time: a name for each service and a few to roll them over.
pub const KEYS_MAX: usize = 1_000;
/// Longest name of a key, in bytes.
pub const KEY_NAME_BYTES_MAX: usize = 64;

/// Stored for years: a field cannot be added, only a new event.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyCreated {
    /// One of its kind among the keys that are in force.
    pub name: String,
    /// Of the key as callers show it.
    pub sha256: [u8; 32],
    /// What requests are signed with, where the key was made for that.
    pub signing: Option<[u8; 32]>,
    /// What it may be used for, as the edge understands it.
    pub scopes: Vec<String>,
    pub by: String,
    pub reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyRevoked {
    pub name: String,
    pub by: String,
    pub reason: String,
}

/// A key in force, with when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct KeyInForce {
    pub created: KeyCreated,
    pub at: Time,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    Create(KeyCreated),
    Revoke(KeyRevoked),
}

/// Why keys stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefusal {
    #[error("a name has 1 to {KEY_NAME_BYTES_MAX} letters, digits, `-`, `_` or `.`")]
    Name,
    #[error("there is a key of this name; choose another, or revoke that one first")]
    Taken,
    #[error("there are {KEYS_MAX} keys already; revoke one that is not used")]
    TooMany,
    #[error("there is no key of this name")]
    Unknown,
}

/// All keys in force, shared with whoever looks at them.
pub type Keys = Arc<Vec<KeyInForce>>;

fn find(keys: &[KeyInForce], name: &str) -> Option<usize> {
    keys.iter().position(|key| key.created.name == name)
}

/// Whether a change is in force already, or may be made.
pub(super) fn judge(keys: &[KeyInForce], change: &KeyChange) -> Result<bool, KeyRefusal> {
    match change {
        KeyChange::Create(created) => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            let name = &created.name;
            if name.is_empty() || name.len() > KEY_NAME_BYTES_MAX || !name.chars().all(is_plain) {
                return Err(KeyRefusal::Name);
            }
            match find(keys, name) {
                Some(at) if keys[at].created.sha256 == created.sha256 => Ok(true),
                Some(_) => Err(KeyRefusal::Taken),
                None if keys.len() >= KEYS_MAX => Err(KeyRefusal::TooMany),
                None => Ok(false),
            }
        }
        KeyChange::Revoke(revoked) => find(keys, &revoked.name).map(|_| false).ok_or(KeyRefusal::Unknown),
    }
}

pub(super) fn created(keys: &mut Keys, created: &KeyCreated, at: Time) {
    Arc::make_mut(keys).push(KeyInForce { created: created.clone(), at });
}

pub(super) fn revoked(keys: &mut Keys, revoked: &KeyRevoked) {
    Arc::make_mut(keys).retain(|key| key.created.name != revoked.name);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str, byte: u8) -> KeyCreated {
        KeyCreated {
            name: name.into(),
            sha256: [byte; 32],
            signing: None,
            scopes: vec!["read".into()],
            by: "ops".into(),
            reason: String::new(),
        }
    }

    fn revoke(name: &str) -> KeyChange {
        KeyChange::Revoke(KeyRevoked { name: name.into(), by: "ops".into(), reason: String::new() })
    }

    #[test]
    fn a_name_stands_for_one_key_at_a_time() {
        let mut keys = Keys::default();
        let create = |name: &str, byte| KeyChange::Create(key(name, byte));
        assert_eq!(judge(&keys, &create("shop", 1)), Ok(false));
        created(&mut keys, &key("shop", 1), Time(5));
        assert_eq!(judge(&keys, &create("shop", 1)), Ok(true), "the same again is in force already");
        assert_eq!(judge(&keys, &create("shop", 2)), Err(KeyRefusal::Taken));
        assert_eq!(judge(&keys, &revoke("other")), Err(KeyRefusal::Unknown));
        assert_eq!(judge(&keys, &revoke("shop")), Ok(false));
        revoked(&mut keys, &KeyRevoked { name: "shop".into(), by: "ops".into(), reason: String::new() });
        assert!(keys.is_empty());
        assert_eq!(judge(&keys, &create("shop", 2)), Ok(false), "a name is free again after its key has gone");
        for bad in ["", "a b", "é", &"x".repeat(65)] {
            assert_eq!(judge(&keys, &create(bad, 1)), Err(KeyRefusal::Name), "{bad}");
        }
    }

    #[test]
    fn there_is_a_limit_to_how_many() {
        let mut keys = Keys::default();
        (0..KEYS_MAX).for_each(|number| created(&mut keys, &key(&format!("k{number}"), 1), Time(0)));
        assert_eq!(judge(&keys, &KeyChange::Create(key("more", 1))), Err(KeyRefusal::TooMany));
    }
}
