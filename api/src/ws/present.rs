//! Who is in a room over sockets of this process, so that it is known when somebody's last one goes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use largesse_engine::units::UserId;

/// The sockets of each user in one room. It takes some twenty bytes per user.
#[derive(Debug, Default)]
pub struct Present {
    users: HashMap<UserId, Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    count: u32,
    /// A gift was sent to this room over one of them.
    has_sent: bool,
}

impl Present {
    pub fn enter(&mut self, user: UserId) {
        self.users.entry(user).or_default().count += 1;
    }

    /// Somebody who is here has sent a gift.
    pub fn sent(&mut self, user: UserId) {
        if let Some(sockets) = self.users.get_mut(&user) {
            sockets.has_sent = true;
        }
    }

    /// Whether that was the last socket of somebody who had sent something.
    pub fn leave(&mut self, user: UserId) -> bool {
        let Entry::Occupied(mut sockets) = self.users.entry(user) else { return false };
        sockets.get_mut().count -= 1;
        sockets.get().count == 0 && sockets.remove().has_sent
    }

    pub fn has(&self, user: UserId) -> bool {
        self.users.contains_key(&user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_is_gone_with_the_last_socket_and_whoever_only_watched_is_not_told_of() {
        let (ann, bob) = (UserId(1), UserId(2));
        let mut present = Present::default();
        [ann, ann, bob].into_iter().for_each(|user| present.enter(user));
        present.sent(ann);
        present.sent(UserId(3));
        assert!(!present.leave(ann), "the other socket is there");
        assert!(present.has(ann) && !present.has(UserId(3)));
        assert!(present.leave(ann));
        assert!(!present.leave(bob), "nothing was sent");
        present.enter(ann);
        assert!(!present.leave(ann), "that was before");
        assert!(present.users.is_empty());
    }
}
