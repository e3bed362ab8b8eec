//! The door of a shard: bounded, timed, honest about the unknown. Everything that enters an actor's mailbox for a caller
//! holds permits until its answer goes out, since the mailbox itself has no bound.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::flush::{Flushed, Settled};
use crate::handle::{Answered, CallError};
use crate::log::Logs;
use crate::machine::Machine;
use crate::node::actor::ShardMsg;
use crate::node::inbox::ShardRef;
use crate::units::{Seq, ShardId, Time};

/// How long a caller should stay away when the door is shut.
const RETRY_AFTER: Duration = Duration::from_millis(200);

pub struct Door<M: Machine> {
    pub shard: ShardId,
    actor: RwLock<Option<ShardRef<M>>>,
    permits: Arc<Permits>,
    /// Relayed credits and other internal traffic, so that callers cannot starve it.
    internal_permits: Arc<Permits>,
    logs: Arc<dyn Logs>,
    /// The machine cannot remember more until the store has caught up.
    pub is_full: AtomicBool,
    /// Nothing new is admitted: the node is stopping.
    pub is_closing: AtomicBool,
    /// Last decided event, and a time that no later event is before.
    standing: Mutex<Standing>,
    /// How far the store is, as the flusher last said.
    flushed: Mutex<Flushed>,
    /// For the flusher: what every destination has acknowledged.
    pub settled: Settled,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    pub last: Seq,
    pub time: Time,
}

#[derive(Debug)]
pub struct Permits {
    used: AtomicUsize,
    max: usize,
}

/// Given back when dropped: right before the answer, or with the actor that died with it.
#[derive(Debug)]
pub struct Permit {
    of: Arc<Permits>,
    count: usize,
}

impl Permits {
    fn new(max: usize) -> Arc<Permits> {
        Arc::new(Permits { used: AtomicUsize::new(0), max })
    }

    fn take(self: &Arc<Self>, count: usize) -> Option<Permit> {
        let taken = self.used.fetch_add(count, Ordering::AcqRel) + count;
        let permit = Permit { of: Arc::clone(self), count };
        // One batch may be larger than all permits together; it gets in when it is alone.
        if taken <= self.max || taken == count { Some(permit) } else { None }
    }

    pub fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.count, Ordering::AcqRel);
    }
}

/// Where an answer goes.
#[derive(Debug)]
pub struct Reply<O> {
    sender: oneshot::Sender<Answered<O>>,
    permit: Permit,
    pub lane: Lane,
    pub entered: Instant,
}

impl<O> Reply<O> {
    pub fn send(self, outcomes: Vec<O>, answered: Instant) {
        // First, so that whoever has an answer also has room for its next command.
        drop(self.permit);
        // A caller that went away is no longer interested, and finds its receipt by its id.
        let _gone = self.sender.send(Answered { outcomes, entered: self.entered, answered });
    }
}

/// On whose behalf something enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Caller,
    Internal,
}

impl<M: Machine> Door<M> {
    pub fn new(shard: ShardId, logs: Arc<dyn Logs>, permits: usize, internal_permits: usize) -> Door<M> {
        Door {
            shard,
            actor: RwLock::new(None),
            permits: Permits::new(permits),
            internal_permits: Permits::new(internal_permits),
            logs,
            is_full: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            standing: Mutex::new(Standing::default()),
            flushed: Mutex::new(Flushed::default()),
            settled: Arc::default(),
        }
    }

    /// Enters a batch; the receiver gets one outcome per command, or nothing if the shard died with it.
    pub fn enter(
        &self,
        lane: Lane,
        commands: Vec<M::Command>,
    ) -> Result<oneshot::Receiver<Answered<M::Outcome>>, CallError> {
        let overloaded = CallError::Overloaded { retry_after: RETRY_AFTER };
        let has_full_log = match lane {
            Lane::Caller => self.logs.is_tight(),
            Lane::Internal => self.logs.is_full(),
        };
        let is_out_of_room = self.is_full.load(Ordering::Acquire) || has_full_log;
        if is_out_of_room && !commands.iter().all(M::is_read) {
            return Err(overloaded);
        }
        if lane == Lane::Caller && self.is_closing.load(Ordering::Acquire) {
            return Err(CallError::ShardUnavailable);
        }
        let permits = match lane {
            Lane::Caller => &self.permits,
            Lane::Internal => &self.internal_permits,
        };
        let permit = permits.take(commands.len()).ok_or(overloaded)?;
        let (sender, receiver) = oneshot::channel();
        let reply = Reply { sender, permit, lane, entered: Instant::now() };
        let actor = self.actor();
        let actor = actor.as_ref().ok_or(CallError::ShardUnavailable)?;
        actor.send(ShardMsg::Commands(reply, commands)).map_err(|_| CallError::ShardUnavailable)?;
        Ok(receiver)
    }

    /// Tells the actor something; if there is none, it will find out when it starts.
    pub fn tell(&self, message: ShardMsg<M>) {
        if let Some(actor) = self.actor().as_ref() {
            let _dead = actor.send(message);
        }
    }

    pub fn open(&self, actor: ShardRef<M>) {
        *self.actor.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(actor);
    }

    /// Takes the actor, which has ended, off the door.
    pub fn shut(&self) {
        let actor = self.actor.write().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        if let Some(actor) = actor {
            actor.inbox.close();
        }
    }

    pub fn is_open(&self) -> bool {
        self.actor().is_some()
    }

    pub fn in_use(&self) -> usize {
        self.permits.used() + self.internal_permits.used()
    }

    pub fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn flushed(&self) -> Flushed {
        *self.flushed.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn set_flushed(&self, flushed: Flushed) {
        *self.flushed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = flushed;
    }

    pub fn set_standing(&self, standing: Standing) {
        *self.standing.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = standing;
    }

    fn actor(&self) -> std::sync::RwLockReadGuard<'_, Option<ShardRef<M>>> {
        self.actor.read().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use ractor::{Actor, ActorProcessingErr, ActorRef};

    use super::*;
    use crate::event_id::EventId;
    use crate::log::{LogRoom, ShardLog};
    use crate::node::inbox::{Inbox, Wake};
    use crate::units::UserId;
    use crate::wallet::command::WalletCommand;
    use crate::wallet::wallets::Wallets;

    struct FullLog;

    impl Logs for FullLog {
        fn shard(&self, _shard: ShardId) -> Arc<dyn ShardLog> {
            unreachable!("a door only asks for room")
        }

        fn room(&self) -> LogRoom {
            LogRoom { bytes_used: 1, bytes_max: 1, is_tight: true }
        }

        fn is_tight(&self) -> bool {
            true
        }

        fn is_full(&self) -> bool {
            true
        }
    }

    /// Never looks into its inbox.
    struct Sleeper;

    impl Actor for Sleeper {
        type Msg = Wake;
        type State = ();
        type Arguments = ();

        async fn pre_start(&self, _myself: ActorRef<Wake>, (): ()) -> Result<(), ActorProcessingErr> {
            Ok(())
        }
    }

    fn question(user: u64) -> WalletCommand {
        WalletCommand::FindReceipt { user: UserId(user), id: EventId::from_bytes([0; 16]) }
    }

    async fn sleeping() -> (Door<Wallets>, ShardRef<Wallets>) {
        let door = Door::new(ShardId::wallet(0), Arc::new(FullLog), 10, 10);
        let (actor, _ended) = Actor::spawn(None, Sleeper, ()).await.unwrap();
        let shard = ShardRef { inbox: Arc::new(Inbox::default()), actor, alarm: Arc::default() };
        door.open(shard.clone());
        (door, shard)
    }

    #[tokio::test]
    async fn whoever_waits_behind_an_owner_that_ended_is_told() {
        let (door, shard) = sleeping().await;
        let waiting: Vec<_> = (1..=3).map(|user| door.enter(Lane::Caller, vec![question(user)]).unwrap()).collect();
        assert_eq!(door.in_use(), 3);
        door.shut();
        for answer in waiting {
            answer.await.expect_err("nobody is left to answer");
        }
        assert_eq!(door.in_use(), 0, "what they held is given back");
        // Somebody who found the door open a moment ago.
        shard.send(ShardMsg::Flushed(Seq(1))).expect_err("it is closed");
    }

    #[tokio::test]
    async fn what_was_sent_first_is_taken_first() {
        let (door, shard) = sleeping().await;
        let _waiting: Vec<_> = (1..=4).map(|user| door.enter(Lane::Caller, vec![question(user)]).unwrap()).collect();
        let mut taken = Vec::new();
        shard.inbox.take(&mut taken);
        let user = |message: &ShardMsg<Wallets>| {
            let ShardMsg::Commands(_, commands) = message else { return None };
            let [WalletCommand::FindReceipt { user, .. }] = &commands[..] else { return None };
            Some(user.get())
        };
        assert_eq!(taken.iter().map(user).collect::<Vec<_>>(), [1, 2, 3, 4].map(Some));
    }

    /// Looks, at the moment an answer is there, at how much room the door has.
    struct Watcher {
        permits: Arc<Permits>,
        seen: AtomicUsize,
    }

    impl std::task::Wake for Watcher {
        fn wake(self: Arc<Self>) {
            self.seen.store(self.permits.used(), Ordering::Release);
        }
    }

    #[tokio::test]
    async fn whoever_has_an_answer_has_room_for_the_next_command() {
        let (door, shard) = sleeping().await;
        let mut answer = door.enter(Lane::Caller, vec![question(1)]).unwrap();
        let watcher = Arc::new(Watcher { permits: Arc::clone(&door.permits), seen: AtomicUsize::new(usize::MAX) });
        let waker = std::task::Waker::from(Arc::clone(&watcher));
        let mut context = std::task::Context::from_waker(&waker);
        assert!(answer.poll_unpin(&mut context).is_pending());
        let mut taken = Vec::new();
        shard.inbox.take(&mut taken);
        let Some(ShardMsg::Commands(reply, _)) = taken.pop() else { panic!("a batch was sent") };
        reply.send(Vec::new(), Instant::now());
        assert_eq!(watcher.seen.load(Ordering::Acquire), 0, "as seen by the one who is woken");
    }

    #[test]
    fn a_full_log_keeps_events_out_and_lets_questions_in() {
        let door: Door<Wallets> = Door::new(ShardId::wallet(0), Arc::new(FullLog), 10, 10);
        let enter = |command| door.enter(Lane::Caller, vec![command]).expect_err("there is no actor behind it");
        assert_eq!(enter(question(1)), CallError::ShardUnavailable, "it got past the log");
        assert!(matches!(enter(WalletCommand::ApplyCredits(Vec::new())), CallError::Overloaded { .. }));
    }

    /// Near its limit, and able to take more.
    struct TightLog;

    impl Logs for TightLog {
        fn shard(&self, _shard: ShardId) -> Arc<dyn ShardLog> {
            unreachable!("a door only asks for room")
        }

        fn room(&self) -> LogRoom {
            FullLog.room()
        }

        fn is_tight(&self) -> bool {
            true
        }

        fn is_full(&self) -> bool {
            false
        }
    }

    #[test]
    fn credits_arrive_near_the_limit_or_the_log_could_never_be_cut() {
        let door: Door<Wallets> = Door::new(ShardId::wallet(0), Arc::new(TightLog), 10, 10);
        let enter = |lane| door.enter(lane, vec![WalletCommand::ApplyCredits(Vec::new())]);
        assert_eq!(enter(Lane::Internal).err(), Some(CallError::ShardUnavailable), "it got past the log");
        assert!(matches!(enter(Lane::Caller).err(), Some(CallError::Overloaded { .. })));
    }
}
