//! The callers: each sends a batch, waits until all of it is durable, and sends the next.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use largesse_engine::clock::{Clock, SystemClock};
use largesse_engine::codec::Few;
use largesse_engine::event_id::EventId;
use largesse_engine::handle::CallError;
use largesse_engine::units::{Amount, CatalogVersion, GiftCount, GiftId, RoomId, Seq, ShardId, UserId};
use largesse_engine::wallet::command::{CreditTerm, GiftSaid, GiftTerms, SendGift, WalletCommand};
use largesse_engine::wallet::event::Payee;
use largesse_engine::wallet::outcome::WalletOutcome;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

use super::PRICE;
use super::world::{COIN, World};

/// What callers were told, all together.
pub struct Told {
    pub gifts: u64,
    pub paid: u64,
    pub refused: u64,
    pub overloaded: u64,
    pub unknown: u64,
    pub late: u64,
    pub latency: Histogram<u64>,
    shards: usize,
    /// By source and destination shard: the last event with a credit there.
    last_to: Vec<Seq>,
}

/// Latencies in microseconds, to three digits. Longer ones count as the longest.
const LONGEST_US: u64 = 600_000_000;
/// A gift is late when it begins this much after it should.
const LATE: Duration = Duration::from_millis(1);

impl Told {
    fn new(shards: usize) -> Told {
        let latency = Histogram::new_with_bounds(1, LONGEST_US, 3).expect("these bounds are valid");
        let last_to = vec![Seq::NONE; shards * shards];
        Told { gifts: 0, paid: 0, refused: 0, overloaded: 0, unknown: 0, late: 0, latency, shards, last_to }
    }

    pub fn last_to(&self, source: u16, destination: u16) -> Seq {
        self.last_to[usize::from(source) * self.shards + usize::from(destination)]
    }

    fn add(&mut self, other: &Told) {
        self.gifts += other.gifts;
        self.paid += other.paid;
        self.refused += other.refused;
        self.overloaded += other.overloaded;
        self.unknown += other.unknown;
        self.late += other.late;
        self.latency.add(&other.latency).expect("all have the same bounds");
        self.last_to.iter_mut().zip(&other.last_to).for_each(|(last, other)| *last = (*last).max(*other));
    }
}

/// Lets all callers run for the bench's time.
pub async fn run(world: &World) -> Told {
    let began = Instant::now();
    let callers = (0..world.bench.callers).map(|number| Caller::new(world, number, began).run());
    // Callers borrow the world, so they take turns on this task: what they do between two answers is short.
    let told = futures::future::join_all(callers).await;
    let mut all = Told::new(usize::from(world.bench.wallet_shards));
    told.iter().for_each(|one| all.add(one));
    all
}

struct Caller<'a> {
    world: &'a World,
    random: SmallRng,
    told: Told,
    began: Instant,
    number: usize,
}

impl<'a> Caller<'a> {
    fn new(world: &'a World, number: usize, began: Instant) -> Caller<'a> {
        let random = SmallRng::seed_from_u64(number as u64 + 1);
        Caller { world, random, told: Told::new(usize::from(world.bench.wallet_shards)), began, number }
    }

    async fn run(mut self) -> Told {
        let bench = &self.world.bench;
        let end = self.began + bench.duration;
        // With a rate, each caller has a beat of its own, and they are spread over it.
        let beat = bench.rate.map(|rate| Duration::from_secs_f64((bench.batch * bench.callers) as f64 / rate as f64));
        let mut intended = match beat {
            Some(beat) => self.began + beat.mul_f64(self.number as f64 / bench.callers as f64),
            None => self.began,
        };
        while intended < end && Instant::now() < end {
            if beat.is_some() {
                tokio::time::sleep_until(intended.into()).await;
                if intended.elapsed() > LATE {
                    self.told.late += bench.batch as u64;
                }
            }
            self.send(intended).await;
            intended = beat.map_or_else(Instant::now, |beat| intended + beat);
        }
        self.told
    }

    async fn send(&mut self, intended: Instant) {
        let (shard, hosts, commands) = self.batch();
        let count = commands.len() as u64;
        match self.world.service.wallets.execute(shard, commands).await {
            Ok(outcomes) => {
                let micros = u64::try_from(intended.elapsed().as_micros()).unwrap_or(LONGEST_US);
                self.told.latency.saturating_record_n(micros.max(1), count);
                for (outcome, host) in outcomes.iter().zip(hosts) {
                    self.note(shard, outcome, host);
                }
            }
            Err(CallError::Overloaded { retry_after }) => {
                self.told.overloaded += count;
                tokio::time::sleep(retry_after).await;
            }
            Err(CallError::ShardUnavailable) => {
                self.told.refused += count;
                tokio::time::sleep(LATE).await;
            }
            Err(CallError::OutcomeUnknown) => self.told.unknown += count,
        }
    }

    fn note(&mut self, shard: ShardId, outcome: &WalletOutcome, host: UserId) {
        let WalletOutcome::Applied(applied) = outcome else {
            self.told.refused += 1;
            return;
        };
        self.told.gifts += 1;
        self.told.paid += applied.total.get();
        let destination = self.world.shape.wallet_of(host).index;
        let last = &mut self.told.last_to[usize::from(shard.index) * self.told.shards + usize::from(destination)];
        *last = (*last).max(applied.seq);
    }

    /// Gifts of one shard's viewers, with the terms that the edge would have resolved.
    fn batch(&mut self) -> (ShardId, Vec<UserId>, Vec<WalletCommand>) {
        let (world, random) = (self.world, &mut self.random);
        let index = world.shards.draw(random);
        let shard = ShardId::wallet(u16::try_from(index).expect("there are at most 4096 shards"));
        let senders = world.senders[index].as_ref().expect("only shards with senders are drawn");
        let now = SystemClock.now();
        let price = Amount::new(PRICE).expect("a small number");
        let mut hosts = Vec::with_capacity(world.bench.batch);
        let commands = (0..world.bench.batch).map(|_| {
            let sender = world.viewers[index][senders.draw(random)];
            let host = world.hosts[random.random_range(0..world.hosts.len())];
            hosts.push(host);
            let mut bytes = [0; 10];
            random.fill_bytes(&mut bytes);
            let said = GiftSaid {
                id: EventId::v7(now, bytes),
                key: None,
                sender,
                room: RoomId(1_001),
                gift: GiftId(1),
                count: GiftCount::new(1).expect("one is a count"),
                receivers: Few::from_iter([host]),
                combo: None,
            };
            let credit = CreditTerm { payee: Payee::Receiver(0), amount: price, spread: 0 };
            let terms = GiftTerms {
                catalog: CatalogVersion(1),
                unit_price: price,
                asset: COIN,
                credits: Few::from_iter([credit]),
                points: None,
            };
            let deadline = now.plus_millis(60_000);
            WalletCommand::SendGift(SendGift { said, resolved: Ok(terms), deadline, trace: None })
        });
        let commands = commands.collect();
        (shard, hosts, commands)
    }
}
