//! A few wallet shards with their logs, one store, and the wires between them, driven by hand: nothing happens by itself
//! and everything can be held back, lost or repeated.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use futures::executor::block_on;

use crate::accumulator::{Accumulator, AccumulatorLimits};
use crate::flush::{FlushLimits, Flusher, Settled};
use crate::ledger::LedgerShape;
use crate::log::{Fencing, ShardLog};
use crate::relay::{Acknowledged, RelayPart};
use crate::shard::recover::recover;
use crate::shard::{Effect, Shard, ShardLimits, Stop};
use crate::store::Store;
use crate::units::{Seq, ShardId, ShardKind, Time};
use crate::wallet::books::Neighbour;
use crate::wallet::command::WalletCommand;
use crate::wallet::outbox::Outgoing;
use crate::wallet::outcome::WalletOutcome;
use crate::wallet::rows::WalletRows;
use crate::wallet::tests::disk::{ListLog, ListStore, claim};
use crate::wallet::wallets::{AcknowledgedBy, WalletLimits, WalletNeed, WalletRow, Wallets};
use crate::wallet::window::WindowLimits;

pub const START: Time = Time(1_000_000_000);

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub shards: u16,
    pub fencing: Fencing,
    pub wallets: WalletLimits,
    pub shard: ShardLimits,
}

impl Default for Setup {
    fn default() -> Self {
        let window = WindowLimits { bytes_max: 1 << 20, age_millis: 120_000 };
        Setup {
            shards: 2,
            fencing: Fencing::ByLog,
            wallets: WalletLimits { window, wallets_max: 1_000, history_millis: 3_600_000, hash_seed: 7 },
            shard: ShardLimits::default(),
        }
    }
}

/// Who is told: a caller by number, or the relay that brought credits here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    Caller(usize),
    Relay,
}

pub struct World {
    pub setup: Setup,
    pub shape: LedgerShape,
    pub now: Time,
    pub hosts: Vec<Host>,
    pub store: ListStore,
    /// Parts under way, with their destination.
    pub wire: VecDeque<(u16, RelayPart)>,
    /// Rooms that take whatever comes next and say so at once: what each source told each of them.
    rooms: HashMap<(u16, ShardId), Neighbour>,
    /// Answers to parts under way, with the source that they go to.
    pub acks: VecDeque<(u16, AcknowledgedBy)>,
    /// Parts go through an accumulator per destination, as on a real node; otherwise each goes alone.
    pub is_accumulated: bool,
    pub holds: Holds,
    /// Everybody who was answered, in order.
    pub answers: Vec<(usize, Vec<WalletOutcome>)>,
}

/// What does not happen by itself for now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Holds {
    pub log: bool,
    pub store: bool,
    pub wire: bool,
    pub acks: bool,
    /// The store answers, but only that it cannot be reached.
    pub store_is_away: bool,
}

pub struct Host {
    pub id: ShardId,
    pub shard: Shard<Wallets, Asker>,
    pub log: ListLog,
    pub appends: VecDeque<(u64, Bytes)>,
    pub fetches: VecDeque<WalletNeed>,
    pub flusher: Flusher<WalletRows>,
    pub settled: Settled,
    pub stopped: Option<Stop>,
    /// How often the store was asked for anything.
    pub fetched: usize,
    inbound: Accumulator,
    is_sending: bool,
    claims: u8,
}

impl World {
    pub fn new(setup: Setup) -> World {
        let shape = LedgerShape::new(setup.shards);
        let store = ListStore::default();
        let hosts = shape.wallet_shards().map(|id| Host::start(id, &setup, ListLog::default(), &store, 1)).collect();
        let mut world = World {
            setup,
            shape,
            now: START,
            hosts,
            store,
            wire: VecDeque::new(),
            rooms: HashMap::new(),
            acks: VecDeque::new(),
            is_accumulated: false,
            holds: Holds::default(),
            answers: Vec::new(),
        };
        world.tick(0);
        world
    }

    pub fn submit(&mut self, shard: u16, caller: usize, commands: Vec<WalletCommand>) {
        self.hosts[usize::from(shard)].shard.submit(Asker::Caller(caller), commands);
    }

    /// Lets everything happen that is not held back.
    pub fn run(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("the world never comes to rest");
    }

    fn step(&mut self) -> bool {
        let mut moved = false;
        for place in 0..self.hosts.len() {
            moved |= self.pump(place);
            if !self.holds.log {
                moved |= self.land(place, usize::MAX) > 0;
            }
            if !self.holds.store {
                moved |= self.serve(place, usize::MAX) > 0;
            }
        }
        if !self.holds.wire {
            moved |= self.carry(usize::MAX) > 0;
        }
        moved |= self.send_gathered();
        if !self.holds.acks {
            moved |= self.acknowledge(usize::MAX) > 0;
        }
        moved
    }

    fn pump(&mut self, place: usize) -> bool {
        let now = self.now;
        let host = &mut self.hosts[place];
        if host.stopped.is_some() {
            return false;
        }
        host.shard.pump(now);
        host.settled.store(host.shard.machine().settled().get(), Ordering::Release);
        let effects = host.shard.take_effects();
        let moved = !effects.is_empty();
        for effect in effects {
            let host = &mut self.hosts[place];
            match effect {
                Effect::Append { number, record, .. } => host.appends.push_back((number, record)),
                Effect::Fetch(needs) => host.fetches.extend(needs),
                Effect::Answer(Asker::Caller(caller), outcomes) => self.answers.push((caller, outcomes)),
                Effect::Answer(Asker::Relay, outcomes) => self.relayed(place, outcomes),
                Effect::Output(outgoing) => self.hand_on(place, outgoing),
                Effect::ReadBack(from) => {
                    let entries: Vec<_> = host.log.all().into_iter().filter(|entry| entry.position >= from).collect();
                    host.shard.read_back(&entries, true, now);
                }
                Effect::Stop(stop) => {
                    host.stopped = Some(stop);
                    return true;
                }
            }
        }
        moved
    }

    fn hand_on(&mut self, place: usize, outgoing: Outgoing) {
        for (destination, part) in outgoing {
            if destination.kind == ShardKind::Wallet {
                self.wire.push_back((destination.index, part));
                continue;
            }
            let room = self.rooms.entry((part.source, destination)).or_default();
            if part.after == room.up_to && part.up_to > part.after {
                assert_eq!(part.before, room.total, "what a room was told adds up");
                (room.up_to, room.total) = (part.up_to, part.after_total());
            }
            let answer = Acknowledged { source: part.source, watermark: room.up_to, received: room.total.clone() };
            self.hosts[place].shard.signal(AcknowledgedBy { destination, answer }, self.now);
        }
    }

    fn relayed(&mut self, place: usize, outcomes: Vec<WalletOutcome>) {
        let host = &mut self.hosts[place];
        host.is_sending = false;
        let destination = host.id;
        for outcome in outcomes {
            if let WalletOutcome::Credits(all) = outcome {
                let acks = all.into_iter().map(|answer| (answer.source, AcknowledgedBy { destination, answer }));
                self.acks.extend(acks);
            }
        }
    }

    /// Makes records durable; returns how many.
    pub fn land(&mut self, place: usize, count: usize) -> usize {
        let now = self.now;
        let host = &mut self.hosts[place];
        let mut landed = 0;
        while landed < count
            && host.stopped.is_none()
            && let Some((number, record)) = host.appends.pop_front()
        {
            let position = host.log.put(&record);
            host.shard.appended(number, Ok(position), now);
            landed += 1;
        }
        landed
    }

    /// The store answers; returns how many needs.
    pub fn serve(&mut self, place: usize, count: usize) -> usize {
        let is_away = self.holds.store_is_away;
        let mut served = 0;
        while served < count
            && let Some(need) = self.hosts[place].fetches.pop_front()
        {
            let row = (!is_away).then(|| self.look_up(place, &need));
            self.hosts[place].fetched += 1;
            self.hosts[place].shard.arrived(&need, row);
            served += 1;
        }
        served
    }

    pub fn look_up(&self, place: usize, need: &WalletNeed) -> WalletRow {
        let shard = self.hosts[place].id;
        match need {
            WalletNeed::Wallet(user) => WalletRow::Balances(self.store.balances(shard, *user)),
            WalletNeed::Receipt(user, id) => WalletRow::Receipt(self.store.receipt(shard, *user, *id)),
        }
    }

    /// Brings parts to their destination, or into its accumulator; returns how many.
    pub fn carry(&mut self, count: usize) -> usize {
        let mut carried = 0;
        while carried < count
            && let Some((destination, part)) = self.wire.pop_front()
        {
            let host = &mut self.hosts[usize::from(destination)];
            if self.is_accumulated {
                host.inbound.push(part, self.now);
            } else {
                host.shard.submit(Asker::Relay, vec![WalletCommand::ApplyCredits(vec![part])]);
            }
            carried += 1;
        }
        carried
    }

    fn send_gathered(&mut self) -> bool {
        let mut moved = false;
        for host in &mut self.hosts {
            if !host.is_sending && host.inbound.is_due(self.now).is_some() {
                host.is_sending = true;
                let batch = vec![WalletCommand::ApplyCredits(host.inbound.take())];
                host.shard.submit(Asker::Relay, batch);
                moved = true;
            }
        }
        moved
    }

    /// Takes answers back to their sources; returns how many.
    pub fn acknowledge(&mut self, count: usize) -> usize {
        let now = self.now;
        let mut told = 0;
        while told < count
            && let Some((source, by)) = self.acks.pop_front()
        {
            self.hosts[usize::from(source)].shard.signal(by, now);
            told += 1;
        }
        told
    }

    /// Time passes and everybody does what is due.
    pub fn tick(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        for host in &mut self.hosts {
            host.shard.tick(self.now);
        }
    }

    /// Moves all that is durable into the store. True if there was something.
    pub fn flush(&mut self, place: usize) -> bool {
        let mut moved = false;
        let host = &mut self.hosts[place];
        while let Some(flushed) = block_on(host.flusher.step()).unwrap() {
            host.shard.flushed(flushed.seq, self.now);
            moved = true;
        }
        moved
    }

    /// The process of one shard is gone, with all that was under way in it; a new one recovers from log and store.
    pub fn restart(&mut self, place: usize) {
        let Host { id, log, claims, .. } = &self.hosts[place];
        self.hosts[place] = Host::start(*id, &self.setup, log.clone(), &self.store, claims + 1);
        self.hosts[place].shard.tick(self.now);
    }

    pub fn last(&self, place: usize) -> Seq {
        self.hosts[place].shard.last()
    }
}

impl Host {
    fn start(id: ShardId, setup: &Setup, log: ListLog, store: &ListStore, claims: u8) -> Host {
        let shape = LedgerShape::new(setup.shards);
        let mut machine = Wallets::new(id, shape, setup.wallets);
        let owner = block_on(recover(id, &mut machine, &log, store, claim(claims))).unwrap();
        let settled = Settled::default();
        let (rows, limits) = (WalletRows::new(id, shape), FlushLimits::default());
        let (shared, stored) = (Arc::new(log.clone()) as Arc<dyn ShardLog>, Arc::new(store.clone()) as Arc<dyn Store>);
        let flusher = block_on(Flusher::start(id, shared, stored, rows, Arc::clone(&settled), limits)).unwrap();
        Host {
            id,
            shard: Shard::new(id, machine, setup.shard, setup.fencing, owner),
            log,
            appends: VecDeque::new(),
            fetches: VecDeque::new(),
            flusher,
            settled,
            stopped: None,
            fetched: 0,
            inbound: Accumulator::new(AccumulatorLimits { age_millis: 0, ..AccumulatorLimits::default() }),
            is_sending: false,
            claims,
        }
    }
}
