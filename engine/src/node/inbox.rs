//! The mailbox of a shard: filled one message at a time, emptied all at once.
//!
//! Whatever came while the actor was busy or asleep is one batch: it is decided together and shares a record. And only
//! the message that finds the inbox empty has to wake the actor, which costs more than all the rest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ractor::ActorRef;
use tokio::sync::Notify;

use crate::machine::Machine;
use crate::node::actor::ShardMsg;

/// What the actor itself is sent: look into the inbox, and at the clock.
#[derive(Clone, Copy, Debug)]
pub struct Wake;

/// Has no bound of its own: whatever a caller puts in here holds a permit of the door.
pub struct Inbox<M: Machine> {
    waiting: Mutex<Waiting<M>>,
}

struct Waiting<M: Machine> {
    messages: Vec<ShardMsg<M>>,
    is_closed: bool,
}

/// The actor has ended; the message was not delivered.
#[derive(Debug)]
pub struct Closed;

impl<M: Machine> Default for Inbox<M> {
    fn default() -> Self {
        Inbox { waiting: Mutex::new(Waiting { messages: Vec::new(), is_closed: false }) }
    }
}

impl<M: Machine> Inbox<M> {
    /// Moves everything that waits into `messages`, which must be empty.
    pub fn take(&self, messages: &mut Vec<ShardMsg<M>>) {
        debug_assert!(messages.is_empty(), "what was taken before has been handled");
        std::mem::swap(&mut self.waiting().messages, messages);
    }

    /// The actor is gone. Whoever waits for an answer to what is still in here learns that there will be none.
    pub fn close(&self) {
        let unread = {
            let mut waiting = self.waiting();
            waiting.is_closed = true;
            std::mem::take(&mut waiting.messages)
        };
        drop(unread);
    }

    /// Whether it was empty before.
    fn push(&self, message: ShardMsg<M>) -> Result<bool, Closed> {
        let mut waiting = self.waiting();
        if waiting.is_closed {
            return Err(Closed);
        }
        waiting.messages.push(message);
        Ok(waiting.messages.len() == 1)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting<M>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An actor with its inbox.
pub struct ShardRef<M: Machine> {
    pub inbox: Arc<Inbox<M>>,
    pub actor: ActorRef<Wake>,
    pub alarm: Arc<Alarm>,
}

impl<M: Machine> Clone for ShardRef<M> {
    fn clone(&self) -> Self {
        ShardRef { inbox: Arc::clone(&self.inbox), actor: self.actor.clone(), alarm: Arc::clone(&self.alarm) }
    }
}

impl<M: Machine> ShardRef<M> {
    pub fn send(&self, message: ShardMsg<M>) -> Result<(), Closed> {
        if self.inbox.push(message)? {
            // Should the actor be dead, whoever looks after it closes the inbox.
            self.alarm.ring(self.actor.clone());
        }
        Ok(())
    }
}

/// Wakes the actors that share one thread. The first that has to be woken wakes the thread, and by the time it is awake
/// others have joined; waking it once for each would cost more than what they then do.
#[derive(Default)]
pub struct Alarm {
    ready: Mutex<Vec<ActorRef<Wake>>>,
    rung: Notify,
}

impl Alarm {
    fn ring(&self, actor: ActorRef<Wake>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        ready.push(actor);
        let is_first = ready.len() == 1;
        drop(ready);
        if is_first {
            self.rung.notify_one();
        }
    }

    /// To be run on the thread of those it wakes, for as long as they live.
    pub async fn run(self: Arc<Self>) {
        let mut ready = Vec::new();
        loop {
            self.rung.notified().await;
            std::mem::swap(&mut *self.ready.lock().unwrap_or_else(PoisonError::into_inner), &mut ready);
            for actor in ready.drain(..) {
                let _dead = actor.cast(Wake);
            }
        }
    }
}
