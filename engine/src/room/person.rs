//! Somebody as a room shows them.

use bincode::{Decode, Encode};

use crate::units::UserId;

/// Whoever gives anonymously is another person to a room than the same user by name: in streaks, on boards, in entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Person {
    Named(UserId),
    /// Who it is stays with the room's shard.
    Anonymous(UserId),
}

impl Person {
    /// Who it is, whether that may be shown or not.
    pub fn user(self) -> UserId {
        match self {
            Person::Named(user) | Person::Anonymous(user) => user,
        }
    }

    /// Who everybody may see that it is.
    pub fn shown(self) -> Option<UserId> {
        match self {
            Person::Named(user) => Some(user),
            Person::Anonymous(_) => None,
        }
    }

    pub fn is_anonymous(self) -> bool {
        self.shown().is_none()
    }
}
