//! What the owner of rooms is told of this process's sockets: who came, who is gone, and how many watch. Ticks wait for none
//! of it, and what is not told is made up for by time.

use std::sync::Arc;
use std::time::Duration;

use largesse_engine::units::{RoomId, UserId};

use crate::ws::channel::Channel;
use crate::ws::crowd::{ROOMS_MAX, TOLD_EVERY};
use crate::ws::hub::Running;
use crate::ws::later::Later;

/// Who enters within so long is told of together.
const CAME_AFTER: Duration = Duration::from_millis(10);
/// How long after somebody left that is told. What they sent last is shown by then, and who comes right back never left.
const GONE_AFTER: Duration = Duration::from_millis(200);
/// Answers that may be missing before it is forgotten how many watch elsewhere.
const MISSED_MAX: u32 = 3;

#[derive(Default)]
pub struct Notices {
    came: Later<UserId>,
    gone: Later<(RoomId, UserId)>,
}

impl Notices {
    /// Somebody enters a room, and may send something in a moment.
    pub fn came(&self, user: UserId) {
        self.came.add(user);
    }

    /// Somebody who sent something to this room has no socket there any more.
    pub fn gone(&self, room: RoomId, user: UserId) {
        self.gone.add((room, user));
    }
}

impl Running {
    pub(super) async fn tell_came(self: Arc<Self>) {
        loop {
            let mut users = self.notices.came.next(CAME_AFTER).await;
            // A client that enters some rooms at once is one user.
            users.sort_unstable();
            users.dedup();
            let Ok(edge) = self.edge() else { return };
            edge.warm(users).await;
        }
    }

    pub(super) async fn tell_gone(self: Arc<Self>) {
        loop {
            let mut gone = self.notices.gone.next(GONE_AFTER).await;
            gone.retain(|(room, user)| !self.is_here(*room, *user));
            let Ok(edge) = self.edge() else { return };
            if !gone.is_empty() {
                edge.leave(gone).await;
            }
        }
    }

    fn is_here(&self, room: RoomId, user: UserId) -> bool {
        let channel = self.channels().get(&room).cloned();
        channel.is_some_and(|channel| channel.present().has(user))
    }

    /// Tells how many watch here, and learns how many do elsewhere.
    pub(super) async fn keep_counts(self: Arc<Self>) {
        let (mut has_told, mut missed) = (false, 0);
        loop {
            tokio::time::sleep(TOLD_EVERY).await;
            let channels = self.watched();
            // That nobody watches any more is told once.
            if channels.is_empty() && !has_told {
                continue;
            }
            has_told = !channels.is_empty();
            let Ok(edge) = self.edge() else { return };
            let here = channels.iter().map(|(channel, viewers)| (channel.room, *viewers)).collect();
            let elsewhere = edge.watched(here).await;
            missed = if elsewhere.is_some() { 0 } else { missed + 1 };
            let nobody = (missed >= MISSED_MAX).then(|| vec![0; channels.len()]);
            for ((channel, _), count) in channels.iter().zip(elsewhere.or(nobody).unwrap_or_default()) {
                channel.state().elsewhere = count;
            }
        }
    }

    /// The rooms that somebody watches here, with how many.
    fn watched(&self) -> Vec<(Arc<Channel>, u32)> {
        let viewers = |channel: &Channel| u32::try_from(channel.state().viewers).unwrap_or(u32::MAX);
        let counted = self.all().into_iter().map(|channel| {
            let viewers = viewers(&channel);
            (channel, viewers)
        });
        counted.filter(|(_, viewers)| *viewers > 0).take(ROOMS_MAX).collect()
    }
}
