//! Who sends to whom, and what they send.

use largesse_engine::codec::Few;
use largesse_engine::event_id::EventId;
use largesse_engine::ledger::LedgerShape;
use largesse_engine::units::{Amount, AssetId, CatalogVersion, GiftCount, GiftId, RoomId, ShardId, Time, UserId};
use largesse_engine::wallet::command::{CreditTerm, GiftSaid, GiftTerms, SendGift, WalletCommand};
use largesse_engine::wallet::event::Payee;
use rand::rngs::SmallRng;
use rand::{Rng, RngExt};

use super::{BenchError, PRICE};
use crate::popularity::{Weighted, zipf};

/// Where all gifts are given.
pub const ROOM: RoomId = RoomId(1_001);

pub const COIN: AssetId = AssetId(1);
const FIRST_HOST: u64 = 1;
const FIRST_VIEWER: u64 = 1_000_000;
/// Far longer than any answer takes: a bench measures what is decided.
const DEADLINE_MILLIS: u64 = 60_000;

pub struct Crowd {
    pub shape: LedgerShape,
    pub hosts: Vec<UserId>,
    /// By shard: who lives there.
    pub viewers: Vec<Vec<UserId>>,
    /// By shard: who of them sends how often.
    senders: Vec<Option<Weighted>>,
    /// Which shard the next sender lives on.
    shards: Weighted,
}

/// Gifts of viewers of one shard, and whom each is for.
pub struct Batch {
    pub shard: ShardId,
    pub hosts: Vec<UserId>,
    pub commands: Vec<WalletCommand>,
}

impl Crowd {
    pub fn new(shape: LedgerShape, viewers: u64, hosts: u64) -> Result<Crowd, BenchError> {
        let shards = usize::from(shape.wallet_shards);
        let (mut living, mut weights) = (vec![Vec::new(); shards], vec![Vec::new(); shards]);
        for place in 0..viewers {
            let viewer = UserId(FIRST_VIEWER + place);
            let shard = usize::from(shape.wallet_of(viewer).index);
            living[shard].push(viewer);
            weights[shard].push(zipf(place));
        }
        let sums: Vec<f64> = weights.iter().map(|weights| weights.iter().sum()).collect();
        Ok(Crowd {
            shape,
            hosts: (FIRST_HOST..).take(usize::try_from(hosts).unwrap_or(usize::MAX)).map(UserId).collect(),
            viewers: living,
            senders: weights.iter().map(|weights| Weighted::new(weights)).collect(),
            shards: Weighted::new(&sums).ok_or(BenchError::Invalid("nobody can send".into()))?,
        })
    }

    /// Gifts with fresh ids, of senders drawn by Zipf's law.
    pub fn draw(&self, random: &mut SmallRng, gifts: usize, now: Time) -> Batch {
        let index = self.shards.draw(random);
        let senders = self.senders[index].as_ref().expect("only shards with senders are drawn");
        let mut hosts = Vec::with_capacity(gifts);
        let commands = (0..gifts).map(|_| {
            let sender = self.viewers[index][senders.draw(random)];
            let host = self.hosts[random.random_range(0..self.hosts.len())];
            hosts.push(host);
            let mut bytes = [0; 10];
            random.fill_bytes(&mut bytes);
            gift(EventId::v7(now, bytes), sender, host, now)
        });
        let commands = commands.collect();
        Batch { shard: shard(index), hosts, commands }
    }
}

pub fn shard(index: usize) -> ShardId {
    ShardId::wallet(u16::try_from(index).expect("there are at most 4096 shards"))
}

/// A gift with the terms that the edge would have resolved.
pub fn gift(id: EventId, sender: UserId, host: UserId, now: Time) -> WalletCommand {
    let price = Amount::new(PRICE).expect("a small number");
    let said = GiftSaid {
        id,
        key: None,
        sender,
        room: ROOM,
        gift: GiftId(1),
        count: GiftCount::new(1).expect("one is a count"),
        receivers: Few::from_iter([host]),
        combo: None,
        anonymous: false,
    };
    let credit = CreditTerm { payee: Payee::Receiver(0), amount: price, spread: 0 };
    let terms = GiftTerms {
        catalog: CatalogVersion(1),
        unit_price: price,
        asset: COIN,
        credits: Few::from_iter([credit]),
        points: None,
    };
    let deadline = now.plus_millis(DEADLINE_MILLIS);
    WalletCommand::SendGift(SendGift { said, resolved: Ok(terms), deadline, trace: None })
}
