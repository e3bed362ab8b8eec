//! Shards under random commands and random trouble against an obvious model: a map of balances, folded from the logs with
//! arithmetic of its own, that knows at every event who had how much and whose id that was.

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use crate::codec;
use crate::event_id::EventId;
use crate::fold::{Fold, Verdict};
use crate::shard::ShardLimits;
use crate::units::{Amount, AssetId, CatalogVersion, GiftCount, GiftId, RoomId, Seq, ShardId, Time, UserId};
use crate::wallet::command::{
    CreditTerm, GiftSaid, GiftTerms, Recharge, RechargeSaid, SendGift, Transfer, TransferCredit, TransferSaid,
    WalletCommand,
};
use crate::wallet::event::{Channel, Payee, WalletEvent};
use crate::wallet::outcome::{Refusal, WalletOutcome};
use crate::wallet::tests::script::{COIN, POINT};
use crate::wallet::tests::world::{Setup, World};
use crate::wallet::window::{ID_AHEAD_MILLIS, WindowLimits};

const SHARDS: u16 = 3;
const USERS: u64 = 9;
const HISTORY_MILLIS: u64 = 200_000;
const NEVER: Time = Time(u64::MAX);

#[derive(Clone, Debug)]
enum Step {
    Ask(Ask),
    /// Several of one sender at once.
    Batch(Vec<Ask>),
    Tick(u64),
    Flush(usize),
    /// The process of a shard dies after so many of its records under way have become durable.
    Crash(usize, usize),
    Hold {
        log: bool,
        store: bool,
        wire: bool,
        acks: bool,
    },
    /// A little of what is held goes on.
    Trickle(usize),
    LosePart(usize),
    RepeatPart(usize),
    ReorderParts(usize, usize),
    LoseAnswers,
}

#[derive(Clone, Debug)]
enum Ask {
    Gift { sender: u64, receivers: Vec<u64>, count: u64, price: u64, id: u8, points: u64 },
    Recharge { user: u64, amount: u64, transaction: u8 },
    Transfer { user: u64, amount: u64, to: u64, id: u8, issued: u64 },
    Read { user: u64 },
}

fn any_ask() -> impl Strategy<Value = Ask> {
    let gift = (1..=USERS, vec(1..=USERS, 1..4), 1..4u64, 1..40u64, any::<u8>(), 0..3u64).prop_map(
        |(sender, mut receivers, count, price, id, points)| {
            receivers.sort_unstable();
            receivers.dedup();
            receivers.retain(|receiver| *receiver != sender);
            if receivers.is_empty() {
                receivers.push(sender % USERS + 1);
            }
            Ask::Gift { sender, receivers, count, price, id: id % 48, points }
        },
    );
    let limit = Amount::MAX.get() / u64::from(SHARDS);
    let amount = prop_oneof![6 => 1..200u64, 1 => limit - 300..=limit];
    let recharge = (1..=USERS, amount, 0..24u8).prop_map(|(user, amount, transaction)| Ask::Recharge {
        user,
        amount,
        transaction,
    });
    let transfer = (1..=USERS, 1..60u64, 1..=USERS, any::<u8>(), 0..3u64)
        .prop_map(|(user, amount, to, id, issued)| Ask::Transfer { user, amount, to, id: id % 48, issued });
    let read = (1..=USERS).prop_map(|user| Ask::Read { user });
    prop_oneof![6 => gift, 3 => recharge, 1 => transfer, 1 => read]
}

fn any_step() -> impl Strategy<Value = Step> {
    let shard = 0..usize::from(SHARDS);
    prop_oneof![
        30 => any_ask().prop_map(Step::Ask),
        4 => vec(any_ask(), 1..6).prop_map(Step::Batch),
        4 => prop_oneof![4 => 0..600u64, 1 => 0..90_000u64].prop_map(Step::Tick),
        3 => shard.clone().prop_map(Step::Flush),
        2 => (shard, 0..3usize).prop_map(|(shard, landed)| Step::Crash(shard, landed)),
        4 => any::<(bool, bool, bool, bool)>().prop_map(|(log, store, wire, acks)| Step::Hold { log, store, wire, acks }),
        4 => (0..4usize).prop_map(Step::Trickle),
        1 => (0..4usize).prop_map(Step::LosePart),
        1 => (0..4usize).prop_map(Step::RepeatPart),
        1 => (0..4usize, 0..4usize).prop_map(|(one, other)| Step::ReorderParts(one, other)),
        1 => Just(Step::LoseAnswers),
    ]
}

/// A client: what it asked, of whom, and what it was told. It asks again, with the same id, until it is told something.
struct Client {
    shard: u16,
    commands: Vec<WalletCommand>,
    told: Option<Vec<WalletOutcome>>,
}

struct Run {
    world: World,
    clients: Vec<Client>,
}

impl Run {
    fn new(is_accumulated: bool) -> Run {
        let mut setup = Setup { shards: SHARDS, ..Setup::default() };
        // Small, so that panes and wallets leave memory all the time.
        setup.wallets.window = WindowLimits { bytes_max: 4_000, age_millis: 20_000 };
        setup.wallets.wallets_max = 2;
        setup.wallets.history_millis = HISTORY_MILLIS;
        setup.shard = ShardLimits { record_bytes: 200, ..ShardLimits::default() };
        let mut world = World::new(setup);
        world.is_accumulated = is_accumulated;
        Run { world, clients: Vec::new() }
    }

    fn step(&mut self, step: Step) {
        let world = &mut self.world;
        match step {
            Step::Ask(ask) => self.ask(vec![ask]),
            Step::Batch(asks) => self.ask(asks),
            Step::Tick(millis) => world.tick(millis),
            Step::Flush(shard) => drop(world.flush(shard)),
            Step::Crash(shard, landed) => {
                world.land(shard, landed);
                self.listen();
                self.world.restart(shard);
                self.ask_again(shard);
            }
            Step::Hold { log, store, wire, acks } => {
                let holds = &mut world.holds;
                (holds.log, holds.store, holds.wire, holds.acks) = (log, store, wire, acks);
            }
            Step::Trickle(count) => {
                for shard in 0..usize::from(SHARDS) {
                    world.land(shard, count);
                    world.serve(shard, count);
                }
                world.carry(count);
                world.acknowledge(count);
            }
            Step::LosePart(place) => drop(world.wire.remove(place)),
            Step::RepeatPart(place) => {
                let copy = world.wire.get(place).cloned();
                world.wire.extend(copy);
            }
            Step::ReorderParts(one, other) if one.max(other) < world.wire.len() => world.wire.swap(one, other),
            Step::ReorderParts(..) => {}
            Step::LoseAnswers => world.acks.clear(),
        }
        self.world.run();
        self.listen();
    }

    /// One batch goes to one shard, so it has what is asked there.
    fn ask(&mut self, asks: Vec<Ask>) {
        let mut by_shard: HashMap<u16, Vec<WalletCommand>> = HashMap::new();
        for ask in asks {
            let (user, command) = self.command(&ask);
            by_shard.entry(self.world.shape.wallet_of(user).index).or_default().push(command);
        }
        for shard in 0..SHARDS {
            if let Some(commands) = by_shard.remove(&shard) {
                self.world.submit(shard, self.clients.len(), commands.clone());
                self.clients.push(Client { shard, commands, told: None });
            }
        }
    }

    fn listen(&mut self) {
        for (client, outcomes) in std::mem::take(&mut self.world.answers) {
            let is_first = self.clients[client].told.replace(outcomes).is_none();
            assert!(is_first, "client {client} was told twice");
        }
    }

    fn ask_again(&mut self, shard: usize) {
        for (number, client) in self.clients.iter().enumerate() {
            if client.told.is_none() && usize::from(client.shard) == shard {
                self.world.submit(client.shard, number, client.commands.clone());
            }
        }
    }

    /// Everything is well again, and all that was held or lost is made up for.
    fn heal(&mut self) {
        self.step(Step::Hold { log: false, store: false, wire: false, acks: false });
        for _ in 0..4 {
            self.step(Step::Tick(600));
        }
        let read_all = (1..=USERS).map(|user| Ask::Read { user }).collect();
        self.step(Step::Batch(read_all));
    }

    fn command(&self, ask: &Ask) -> (UserId, WalletCommand) {
        match ask {
            Ask::Gift { sender, receivers, count, price, id, points } => {
                let said = GiftSaid {
                    id: event_id(*id, self.world.now),
                    key: None,
                    sender: UserId(*sender),
                    room: RoomId(1),
                    gift: GiftId(1),
                    count: GiftCount::new(*count).unwrap(),
                    receivers: receivers.iter().copied().map(UserId).collect(),
                    combo: None,
                    anonymous: false,
                };
                let each = Amount::new(price * count).unwrap();
                let credit = |place| CreditTerm { payee: Payee::Receiver(place), amount: each, spread: 0 };
                let resolved = Ok(GiftTerms {
                    catalog: CatalogVersion(1),
                    unit_price: Amount::new(*price).unwrap(),
                    asset: COIN,
                    credits: (0u8..).take(receivers.len()).map(credit).collect(),
                    points: Amount::new(*points).filter(|points| !points.is_zero()).map(|points| (POINT, points)),
                });
                let gift = SendGift { said, resolved, deadline: NEVER, trace: None };
                (UserId(*sender), WalletCommand::SendGift(gift))
            }
            Ask::Recharge { user, amount, transaction } => {
                let said = RechargeSaid {
                    channel: Channel::Manual,
                    transaction: transaction.to_string().into(),
                    user: UserId(*user),
                    asset: COIN,
                    amount: Amount::new(*amount).unwrap(),
                };
                let recharge = Recharge { said, deadline: NEVER, trace: None };
                (UserId(*user), WalletCommand::Recharge(Box::new(recharge)))
            }
            Ask::Transfer { user, amount, to, id, issued } => {
                let credited = Amount::new(amount + issued - 1).unwrap();
                let said = TransferSaid {
                    id: event_id(*id, self.world.now),
                    key: None,
                    user: UserId(*user),
                    debits: [(COIN, Amount::new(*amount).unwrap())].into_iter().collect(),
                    credits: [TransferCredit { user: UserId(*to), asset: COIN, amount: credited }]
                        .into_iter()
                        .filter(|credit| !credit.amount.is_zero())
                        .collect(),
                    reference: None,
                };
                let transfer = Transfer { said, may_issue: true, deadline: NEVER, trace: None };
                (UserId(*user), WalletCommand::Transfer(Box::new(transfer)))
            }
            Ask::Read { user } => {
                let user = UserId(*user);
                (user, WalletCommand::Read { user, after: None, wait_until: NEVER })
            }
        }
    }
}

/// Few ids, so that they repeat: a quarter without time, the rest with a time that is the same whenever it is named,
/// between long ago and far ahead of the start; a few are of now.
fn event_id(number: u8, now: Time) -> EventId {
    let start = crate::wallet::tests::world::START;
    let time = match number {
        0..12 => return EventId::hashed("model", &[&number.to_string()]),
        12..36 => start.plus_millis(u64::from(number - 12) * 10_000),
        36..42 => start.minus_millis(u64::from(number - 36) * 50_000),
        _ => now,
    };
    EventId::v7(time, [number; 10])
}

/// What the logs say, by somebody who can only add.
#[derive(Default)]
struct Model {
    /// Of each account: after which event it had how much.
    balances: HashMap<(UserId, AssetId), Vec<(Seq, u128)>>,
    events: HashMap<(ShardId, Seq), WalletEvent>,
    by_id: HashMap<(UserId, EventId), (Seq, WalletEvent)>,
    issued: HashMap<(ShardId, AssetId), i128>,
    most_issued: HashMap<(ShardId, AssetId), i128>,
    in_flight: HashMap<AssetId, i128>,
}

impl Model {
    fn fold(world: &World) -> Model {
        let mut model = Model::default();
        for host in &world.hosts {
            let mut fold = Fold::default();
            for entry in host.log.all() {
                let Verdict::Believed(header) = fold.offer(&entry) else { continue };
                let mut rest = &entry.events[..];
                for place in 0..u64::from(header.count) {
                    let (event, used) = codec::decode_front::<WalletEvent>(rest).unwrap();
                    rest = &rest[used..];
                    model.apply(world, host.id, header.first.plus(place), event);
                }
                assert!(rest.is_empty());
            }
        }
        model
    }

    fn apply(&mut self, world: &World, shard: ShardId, seq: Seq, event: WalletEvent) {
        match &event {
            WalletEvent::GiftSent(gift) => {
                let said = &gift.said;
                let each = u128::from(gift.unit_price.get()) * u128::from(said.count.get());
                let left = self.debit(seq, said.sender, gift.asset, each * said.receivers.len() as u128);
                assert_eq!(left, u128::from(gift.balance.get()), "the balance that event {seq} carries");
                said.receivers.iter().for_each(|host| self.credit(world, shard, seq, *host, gift.asset, each));
                if let Some(points) = gift.points {
                    self.issue(shard, points.asset, i128::from(points.amount.get()));
                    self.credit(world, shard, seq, said.sender, points.asset, u128::from(points.amount.get()));
                }
            }
            WalletEvent::Recharged(recharge) => {
                let said = &recharge.said;
                self.issue(shard, said.asset, i128::from(said.amount.get()));
                self.credit(world, shard, seq, said.user, said.asset, u128::from(said.amount.get()));
            }
            WalletEvent::Transferred(transfer) => {
                for (asset, amount) in &transfer.said.debits {
                    self.issue(shard, *asset, -i128::from(amount.get()));
                    self.debit(seq, transfer.said.user, *asset, u128::from(amount.get()));
                }
                for credit in &transfer.said.credits {
                    self.issue(shard, credit.asset, i128::from(credit.amount.get()));
                    self.credit(world, shard, seq, credit.user, credit.asset, u128::from(credit.amount.get()));
                }
            }
            WalletEvent::CreditsApplied(applied) => {
                for credit in &applied.credits {
                    let amount = u128::from(credit.amount.get());
                    *self.in_flight.entry(credit.asset).or_default() -= i128::from(credit.amount.get());
                    self.set(seq, credit.user, credit.asset, self.now(credit.user, credit.asset) + amount);
                }
            }
            WalletEvent::TransactionBound(_) => {}
        }
        if let Some(key) = event.key() {
            let before = self.by_id.insert(key, (seq, event.clone()));
            assert!(before.is_none(), "no id is paid twice: event {seq} of {shard} is {before:?} again");
        }
        self.events.insert((shard, seq), event);
    }

    fn now(&self, user: UserId, asset: AssetId) -> u128 {
        self.balances.get(&(user, asset)).and_then(|all| all.last()).map_or(0, |(_, balance)| *balance)
    }

    fn at(&self, user: UserId, asset: AssetId, seq: Seq) -> u128 {
        let all = self.balances.get(&(user, asset)).map_or(&[][..], |all| all);
        all.iter().rev().find(|(of, _)| *of <= seq).map_or(0, |(_, balance)| *balance)
    }

    fn had_ever(&self, user: UserId, asset: AssetId, amount: u128) -> bool {
        let all = self.balances.get(&(user, asset)).map_or(&[][..], |all| all);
        amount == 0 || all.iter().any(|(_, balance)| *balance == amount)
    }

    fn set(&mut self, seq: Seq, user: UserId, asset: AssetId, balance: u128) {
        self.balances.entry((user, asset)).or_default().push((seq, balance));
    }

    fn debit(&mut self, seq: Seq, user: UserId, asset: AssetId, amount: u128) -> u128 {
        let left = self.now(user, asset).checked_sub(amount).expect("nobody spends what has not arrived");
        self.set(seq, user, asset, left);
        left
    }

    fn credit(&mut self, world: &World, shard: ShardId, seq: Seq, user: UserId, asset: AssetId, amount: u128) {
        if world.shape.wallet_of(user) == shard {
            self.set(seq, user, asset, self.now(user, asset) + amount);
        } else {
            *self.in_flight.entry(asset).or_default() += i128::try_from(amount).unwrap();
        }
    }

    fn issue(&mut self, shard: ShardId, asset: AssetId, amount: i128) {
        let issued = self.issued.entry((shard, asset)).or_default();
        *issued += amount;
        let most = self.most_issued.entry((shard, asset)).or_default();
        *most = (*most).max(*issued);
    }

    /// The answer is one that an obvious ledger could have given.
    fn judge(&self, shard: ShardId, command: &WalletCommand, outcome: &WalletOutcome) {
        let (key, said_by) = asked(command);
        let what = || format!("{command:?} was answered {outcome:?}");
        match outcome {
            WalletOutcome::Applied(applied) => {
                let (seq, event) = self.by_id.get(&key.unwrap()).unwrap_or_else(|| panic!("undone: {}", what()));
                assert_eq!(*seq, applied.seq, "{}", what());
                assert!(said_by(event), "{}", what());
                assert_eq!(self.events.get(&(shard, *seq)), Some(event));
            }
            WalletOutcome::Refused(Refusal::IdReused) => {
                let (_, event) = self.by_id.get(&key.unwrap()).unwrap_or_else(|| panic!("never used: {}", what()));
                assert!(!said_by(event), "{}", what());
            }
            WalletOutcome::Refused(Refusal::InsufficientFunds { asset, needed, available }) => {
                assert!(available < needed, "{}", what());
                let (user, _) = key.unwrap();
                assert!(self.had_ever(user, *asset, u128::from(available.get())), "{}", what());
            }
            WalletOutcome::Refused(Refusal::IssueLimit { asset }) => {
                let limit = i128::from(Amount::MAX.get() / u64::from(SHARDS));
                let most = self.most_issued.get(&(shard, *asset)).copied().unwrap_or_default();
                assert!(most + i128::from(issues(command)) > limit, "{}", what());
            }
            WalletOutcome::Refused(Refusal::IdTimeAhead { now }) => {
                assert!(key.unwrap().1.time().unwrap() > now.plus_millis(ID_AHEAD_MILLIS), "{}", what());
            }
            WalletOutcome::Refused(Refusal::IdTooOld { oldest }) => {
                assert!(key.unwrap().1.time().unwrap() < *oldest, "{}", what());
            }
            WalletOutcome::Balances(balances) => {
                let WalletCommand::Read { user, .. } = command else { panic!("{}", what()) };
                for asset in [COIN, POINT] {
                    let held = balances.amounts.iter().find(|(held, _)| *held == asset);
                    let held = held.map_or(0, |(_, amount)| u128::from(amount.get()));
                    assert_eq!(held, self.at(*user, asset, balances.seq), "{}", what());
                }
            }
            WalletOutcome::Refused(_)
            | WalletOutcome::Receipt { .. }
            | WalletOutcome::Credits(_)
            | WalletOutcome::Bound => panic!("{}", what()),
        }
    }
}

/// Under which key a command is known, and whether an event is what it asked for.
#[allow(clippy::type_complexity)]
fn asked(command: &WalletCommand) -> (Option<(UserId, EventId)>, Box<dyn Fn(&WalletEvent) -> bool + '_>) {
    match command {
        WalletCommand::SendGift(gift) => (
            Some((gift.said.sender, gift.said.id)),
            Box::new(|event| matches!(event, WalletEvent::GiftSent(first) if first.said == gift.said)),
        ),
        WalletCommand::Recharge(recharge) => (
            Some((recharge.said.user, recharge.said.id())),
            Box::new(|event| matches!(event, WalletEvent::Recharged(first) if first.said == recharge.said)),
        ),
        WalletCommand::Transfer(transfer) => (
            Some((transfer.said.user, transfer.said.id)),
            Box::new(|event| matches!(event, WalletEvent::Transferred(first) if first.said == transfer.said)),
        ),
        WalletCommand::Read { .. }
        | WalletCommand::FindReceipt { .. }
        | WalletCommand::ApplyCredits(_)
        | WalletCommand::BindTransaction(_) => (None, Box::new(|_| false)),
    }
}

fn issues(command: &WalletCommand) -> u64 {
    match command {
        WalletCommand::Recharge(recharge) => recharge.said.amount.get(),
        WalletCommand::Transfer(_) | WalletCommand::SendGift(_) => 2,
        WalletCommand::Read { .. }
        | WalletCommand::FindReceipt { .. }
        | WalletCommand::ApplyCredits(_)
        | WalletCommand::BindTransaction(_) => 0,
    }
}

fn check(steps: Vec<Step>, is_accumulated: bool) {
    let mut run = Run::new(is_accumulated);
    steps.into_iter().for_each(|step| run.step(step));
    run.heal();
    for shard in 0..usize::from(SHARDS) {
        run.step(Step::Crash(shard, 0));
    }
    run.heal();

    let world = &run.world;
    let model = Model::fold(world);
    for client in &run.clients {
        let told = client.told.as_ref().expect("everybody is told in the end");
        assert_eq!(told.len(), client.commands.len());
        for (command, outcome) in client.commands.iter().zip(told) {
            model.judge(ShardId::wallet(client.shard), command, outcome);
        }
    }
    for host in &world.hosts {
        assert_eq!(host.stopped, None, "{}", host.id);
        assert_eq!(host.shard.machine().outbox().waiting(), 0, "{} has settled", host.id);
    }
    for asset in [COIN, POINT] {
        assert_eq!(model.in_flight.get(&asset).copied().unwrap_or_default(), 0, "all has arrived");
        let issued: i128 = world.hosts.iter().filter_map(|host| model.issued.get(&(host.id, asset))).sum();
        let held: u128 = (1..=USERS).map(|user| model.now(UserId(user), asset)).sum();
        assert_eq!(issued, i128::try_from(held).unwrap(), "what was issued is what is held");
    }
}

proptest! {
    // A case takes less than a millisecond, so there can be many.
    #![proptest_config(ProptestConfig { cases: 16 * ProptestConfig::default().cases, ..ProptestConfig::default() })]

    #[test]
    fn shards_relays_and_window_agree_with_the_obvious_model(
        steps in vec(any_step(), 1..120),
        is_accumulated in any::<bool>(),
    ) {
        check(steps, is_accumulated);
    }
}
