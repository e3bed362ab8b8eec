//! Who is in a room over sockets of this process, so that it is known when somebody's last one goes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::{Duration, Instant};

use largesse_engine::units::UserId;

/// The sockets of each user in one room. It takes some forty bytes per user.
#[derive(Debug, Default)]
pub struct Present {
    users: HashMap<UserId, Sockets>,
}

#[derive(Debug, Default)]
struct Sockets {
    count: u32,
    /// When a gift was last sent to this room over one of them.
    sent: Option<Instant>,
}

/// Whoever sent nothing for so long has no streak open. A socket that nobody uses any more is noticed later than this, and
/// its user may have gone on elsewhere.
const SENT_WITHIN: Duration = Duration::from_secs(60);

impl Present {
    pub fn enter(&mut self, user: UserId) {
        self.users.entry(user).or_default().count += 1;
    }

    /// Somebody who is here has sent a gift.
    pub fn sent(&mut self, user: UserId, now: Instant) {
        if let Some(sockets) = self.users.get_mut(&user) {
            sockets.sent = sockets.sent.max(Some(now));
        }
    }

    /// When something was last sent by somebody whose last socket that was, if not too long ago.
    pub fn leave(&mut self, user: UserId, now: Instant) -> Option<Instant> {
        let Entry::Occupied(mut sockets) = self.users.entry(user) else { return None };
        sockets.get_mut().count -= 1;
        if sockets.get().count > 0 {
            return None;
        }
        sockets.remove().sent.filter(|sent| now.duration_since(*sent) < SENT_WITHIN)
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
        let (ann, bob, now) = (UserId(1), UserId(2), Instant::now());
        let mut present = Present::default();
        [ann, ann, bob].into_iter().for_each(|user| present.enter(user));
        present.sent(ann, now);
        present.sent(UserId(3), now);
        assert_eq!(present.leave(ann, now), None, "the other socket is there");
        assert!(present.has(ann) && !present.has(UserId(3)));
        assert_eq!(present.leave(ann, now), Some(now));
        assert_eq!(present.leave(bob, now), None, "nothing was sent");
        present.enter(ann);
        assert_eq!(present.leave(ann, now), None, "that was before");
        assert!(present.users.is_empty());
    }

    #[test]
    fn a_socket_that_nobody_has_used_for_long_ends_no_streak() {
        let (ann, now) = (UserId(1), Instant::now());
        let mut present = Present::default();
        present.enter(ann);
        present.sent(ann, now);
        // Its user has gone on elsewhere, and this one is let go because nobody answers.
        assert_eq!(present.leave(ann, now + SENT_WITHIN), None);
        assert!(!present.has(ann));
    }
}
