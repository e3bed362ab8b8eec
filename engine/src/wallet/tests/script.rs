//! A small language for what happens to wallet shards; the one place that knows the API.
//!
//! Steps are parted by `;` or the end of a line, `&` joins commands to one batch. Users whose name begins with a, c, e, …
//! live on shard 0, the others on shard 1.
//!
//! ```text
//! recharge t1 ann 100 [diamond]                bind t1 ann 100
//! gift g1 ann x3 @10 > gus bob [points=5] [share=plat:300] [why=closed] [by=50] [room=2] [kind=9] [combo=4]
//! move m1 ann coin:5 > gus:coin:3 bob:coin:2 [issue] [ref=why]
//! read ann [after=1:7] [until=500]             find ann g1
//! hold log|store|wire|acks                     go log|store|wire|acks [how many]
//! away; back                                   the store cannot be reached; can be again
//! clock 100; tick 500                          time passes; and everybody does what is due
//! flush 0; crash 0; restart 0                  `crash` loses what was not durable
//! wire; drop 0; copy 0; swap 0 1               the parts under way: show, lose, repeat, reorder
//! lose acks; say a word
//! ```
//!
//! An id is made when it is first named. `g2+60001` has a time that is ahead of the clock, `g3-5` is from before, and
//! a name that begins with `v4` has none.

use std::collections::HashMap;

use expect_test::Expect;

use crate::codec::Few;
use crate::event_id::EventId;
use crate::ledger::LedgerShape;
use crate::relay::RelayPart;
use crate::units::{Amount, AssetId, CatalogVersion, GiftCount, GiftId, RoomId, Seq, UserId};
use crate::wallet::command::{
    BindTransaction, CreditTerm, GiftSaid, GiftTerms, Recharge, RechargeSaid, SendGift, Transfer, TransferCredit,
    TransferSaid, Unresolved, WalletCommand,
};
use crate::wallet::event::{Channel, Payee};
use crate::wallet::outcome::{Applied, WalletOutcome};
use crate::wallet::tests::world::{Setup, World};

pub const COIN: AssetId = AssetId(1);
pub const DIAMOND: AssetId = AssetId(2);
pub const POINT: AssetId = AssetId(3);

#[track_caller]
pub fn check(script: &str, want: Expect) {
    check_with(Setup::default(), script, want);
}

#[track_caller]
pub fn check_with(setup: Setup, script: &str, want: Expect) {
    let mut teller = Teller::new(setup);
    teller.run(script);
    want.assert_eq(&teller.told);
}

pub struct Teller {
    pub world: World,
    pub told: String,
    ids: HashMap<String, EventId>,
    /// By caller: what each command of the batch is called.
    labels: Vec<Vec<String>>,
}

pub fn user(shape: LedgerShape, name: &str) -> UserId {
    let shard = u16::from(name.as_bytes()[0] - b'a') % shape.wallet_shards;
    let first = name.bytes().fold(0, |sum, byte| sum * 31 + u64::from(byte));
    (first..).map(UserId).find(|user| shape.wallet_of(*user).index == shard).unwrap()
}

fn amount(text: &str) -> Amount {
    let units = match text {
        "max" => Amount::MAX.get(),
        "half" => Amount::MAX.get() / 2,
        number => number.parse().unwrap_or_else(|_| panic!("`{number}` is no amount")),
    };
    Amount::new(units).unwrap()
}

fn asset(name: &str) -> AssetId {
    match name {
        "coin" => COIN,
        "diamond" => DIAMOND,
        "point" => POINT,
        other => panic!("`{other}` is no asset"),
    }
}

fn asset_name(asset: AssetId) -> &'static str {
    ["?", "coin", "diamond", "point"][usize::from(asset.get())]
}

/// `key=value` among the words.
fn option<'a>(words: &[&'a str], key: &str) -> Option<&'a str> {
    words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no number"))
}

impl Teller {
    pub fn new(setup: Setup) -> Teller {
        Teller { world: World::new(setup), told: String::new(), ids: HashMap::new(), labels: Vec::new() }
    }

    #[track_caller]
    pub fn run(&mut self, script: &str) {
        for step in script.split([';', '\n']).map(str::trim).filter(|step| !step.is_empty()) {
            self.step(step);
            self.world.run();
            self.tell_answers();
        }
    }

    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        let shard = |place: usize| words.get(place).map_or(0, |word| usize::try_from(number(word)).unwrap());
        let count = || usize::try_from(number(words[2])).unwrap();
        let holds = &mut self.world.holds;
        match words[0] {
            "hold" => *hold(holds, words[1]) = true,
            "go" if words.len() == 2 => *hold(holds, words[1]) = false,
            "go" => drop(match words[1] {
                "log" => (0..self.world.hosts.len()).map(|place| self.world.land(place, count())).sum::<usize>(),
                "store" => (0..self.world.hosts.len()).map(|place| self.world.serve(place, count())).sum(),
                "wire" => self.world.carry(count()),
                _ => self.world.acknowledge(count()),
            }),
            "away" => holds.store_is_away = true,
            "back" => holds.store_is_away = false,
            "clock" => self.world.now = self.world.now.plus_millis(number(words[1])),
            "tick" => self.world.tick(number(words[1])),
            "flush" => drop(self.world.flush(shard(1))),
            "crash" | "restart" => self.restart(shard(1), words[0] == "crash"),
            "wire" => self.tell_wire(),
            "drop" => drop(self.world.wire.remove(shard(1))),
            "copy" => {
                let copied = self.world.wire[shard(1)].clone();
                self.world.wire.push_back(copied);
            }
            "swap" => self.world.wire.swap(shard(1), shard(2)),
            "lose" => self.world.acks.clear(),
            "say" => self.told += &format!("-- {}\n", words[1..].join(" ")),
            _ => self.submit(step),
        }
    }

    fn restart(&mut self, place: usize, loses: bool) {
        if !loses {
            self.world.land(place, usize::MAX);
            self.tell_answers();
        }
        self.world.restart(place);
    }

    fn submit(&mut self, step: &str) {
        let (mut labels, mut commands, mut shard) = (Vec::new(), Vec::new(), 0);
        for command in step.split('&') {
            let words: Vec<&str> = command.split_whitespace().collect();
            let (who, label, command) = self.command(&words);
            shard = self.world.shape.wallet_of(who).index;
            labels.push(label);
            commands.push(command);
        }
        self.labels.push(labels);
        self.world.submit(shard, self.labels.len() - 1, commands);
    }

    fn user(&self, name: &str) -> UserId {
        user(self.world.shape, name)
    }

    pub fn id(&mut self, name: &str) -> EventId {
        let now = self.world.now;
        *self.ids.entry(name.into()).or_insert_with(|| {
            let hashed = EventId::hashed("test", &[name]);
            let mut random = [0; 10];
            random.copy_from_slice(&hashed.as_bytes()[..10]);
            match name {
                timeless if timeless.starts_with("v4") => hashed,
                _ => match (name.split_once('+'), name.split_once('-')) {
                    (Some((_, ahead)), _) => EventId::v7(now.plus_millis(number(ahead)), random),
                    (_, Some((_, ago))) => EventId::v7(now.minus_millis(number(ago)), random),
                    (None, None) => EventId::v7(now, random),
                },
            }
        })
    }

    /// Whose shard it goes to, what it is called in answers, and the command itself.
    fn command(&mut self, words: &[&str]) -> (UserId, String, WalletCommand) {
        let now = self.world.now;
        let by = option(words, "by").map_or(now.plus_millis(10_000), |millis| now.plus_millis(number(millis)));
        match words[0] {
            "recharge" | "bind" => {
                let said = RechargeSaid {
                    channel: option(words, "via").map_or(Channel::Manual, |_| Channel::Apple),
                    transaction: words[1].into(),
                    user: self.user(words[2]),
                    asset: words.get(4).filter(|word| !word.contains('=')).map_or(COIN, |name| asset(name)),
                    amount: amount(words[3]),
                };
                let label = words[1].to_owned();
                if words[0] == "bind" {
                    // A real one goes to the shard of the transaction; shard 0 stands for it.
                    let command = BindTransaction { said, deadline: by };
                    return (self.user("ann"), label, WalletCommand::BindTransaction(Box::new(command)));
                }
                let command = Recharge { said, deadline: by, trace: None };
                (command.said.user, label, WalletCommand::Recharge(Box::new(command)))
            }
            "gift" => {
                let said = self.gift_said(words);
                let resolved = self.resolve(&said, words);
                let sender = said.sender;
                let gift = SendGift { said, resolved, deadline: by, trace: None };
                (sender, words[1].into(), WalletCommand::SendGift(gift))
            }
            "move" => {
                let said = self.transfer_said(words);
                let (user, may_issue) = (said.user, words.contains(&"issue"));
                let transfer = Transfer { said, may_issue, deadline: by, trace: None };
                (user, words[1].into(), WalletCommand::Transfer(Box::new(transfer)))
            }
            "read" => {
                let user = self.user(words[1]);
                let after = option(words, "after").map(|place| {
                    let (source, seq) = place.split_once(':').unwrap();
                    (u16::try_from(number(source)).unwrap(), Seq(number(seq)))
                });
                let wait_until = now.plus_millis(option(words, "until").map_or(1_000, number));
                (user, format!("read {}", words[1]), WalletCommand::Read { user, after, wait_until })
            }
            "find" => {
                let (user, id) = (self.user(words[1]), self.id(words[2]));
                (user, format!("find {}", words[2]), WalletCommand::FindReceipt { user, id })
            }
            other => panic!("`{other}` is no command"),
        }
    }

    fn gift_said(&mut self, words: &[&str]) -> GiftSaid {
        let arrow = words.iter().position(|word| *word == ">").expect("a gift has receivers");
        let names = words[arrow + 1..].iter().filter(|word| !word.contains('='));
        GiftSaid {
            id: self.id(words[1]),
            key: option(words, "key").map(Into::into),
            sender: self.user(words[2]),
            room: RoomId(option(words, "room").map_or(1, number)),
            gift: GiftId(u32::try_from(option(words, "kind").map_or(1, number)).unwrap()),
            count: GiftCount::new(number(words[3].strip_prefix('x').unwrap())).unwrap(),
            receivers: names.map(|name| self.user(name)).collect(),
            combo: option(words, "combo").map(number),
            anonymous: option(words, "as") == Some("nobody"),
        }
    }

    /// As the catalog would: shares in thousandths of each receiver's part, rounded down.
    fn resolve(&self, said: &GiftSaid, words: &[&str]) -> Result<GiftTerms, Unresolved> {
        let unit_price = amount(words[4].strip_prefix('@').unwrap());
        let (room, gift) = (said.room, said.gift);
        match option(words, "why") {
            Some("closed") => return Err(Unresolved::RoomClosed(room)),
            Some("withdrawn") => return Err(Unresolved::GiftUnknown(gift)),
            Some("left") => return Err(Unresolved::HostNotInRoom { host: said.receivers[0], room }),
            Some("price") => return Err(Unresolved::PriceChanged { seen: unit_price, now: Amount::MAX }),
            Some(other) => panic!("`{other}` is no reason"),
            None => {}
        }
        let share = option(words, "share").map(|share| {
            let (name, permille) = share.split_once(':').unwrap();
            crate::catalog::Share { account: self.user(name), permille: u16::try_from(number(permille)).unwrap() }
        });
        let each = unit_price.get() * u64::from(said.count.get());
        let part = share.map_or(0, |share| each * u64::from(share.permille) / 1_000);
        let mut credits: Few<CreditTerm> = (0u8..)
            .take(said.receivers.len())
            .map(|place| CreditTerm {
                payee: Payee::Receiver(place),
                amount: Amount::new(each - part).unwrap(),
                spread: 0,
            })
            .collect();
        if let Some(share) = share {
            let amount = Amount::new(part * said.receivers.len() as u64).unwrap();
            credits.push(CreditTerm { payee: Payee::Account(share.account), amount, spread: 0 });
        }
        let points = option(words, "points").map(|points| (POINT, amount(points)));
        let asset = option(words, "in").map_or(COIN, asset);
        Ok(GiftTerms { catalog: CatalogVersion(1), unit_price, asset, credits, points })
    }

    fn transfer_said(&mut self, words: &[&str]) -> TransferSaid {
        let arrow = words.iter().position(|word| *word == ">").expect("a transfer has credits");
        let pair = |word: &str| word.split_once(':').map(|(of, units)| (asset(of), amount(units))).unwrap();
        let debits = words[3..arrow].iter().map(|word| pair(word)).collect();
        let credits = words[arrow + 1..].iter().filter(|word| word.contains(':')).map(|word| {
            let (name, rest) = word.split_once(':').unwrap();
            let (asset, amount) = pair(rest);
            TransferCredit { user: self.user(name), asset, amount }
        });
        let (credits, user) = (credits.collect(), self.user(words[2]));
        let reference = option(words, "ref").map(Into::into);
        TransferSaid { id: self.id(words[1]), key: None, user, debits, credits, reference }
    }

    fn tell_answers(&mut self) {
        for (caller, outcomes) in std::mem::take(&mut self.world.answers) {
            for (label, outcome) in self.labels[caller].iter().zip(&outcomes) {
                self.told += &format!("{label} {}\n", outcome_text(outcome));
            }
        }
        for host in &mut self.world.hosts {
            if let Some(stop) = host.stopped.take() {
                self.told += &format!("{} stops: {stop}\n", host.id);
            }
        }
    }

    fn tell_wire(&mut self) {
        for (destination, part) in &self.world.wire {
            self.told += &format!("{} to {destination}: {}\n", part.source, part_text(part));
        }
    }
}

fn hold<'a>(holds: &'a mut crate::wallet::tests::world::Holds, what: &str) -> &'a mut bool {
    match what {
        "log" => &mut holds.log,
        "store" => &mut holds.store,
        "wire" => &mut holds.wire,
        "acks" => &mut holds.acks,
        other => panic!("`{other}` cannot be held"),
    }
}

pub fn part_text(part: &RelayPart) -> String {
    let list = |sums: Vec<(AssetId, u128)>| {
        let texts: Vec<_> = sums.into_iter().map(|(asset, sum)| format!("{} {sum}", asset_name(asset))).collect();
        if texts.is_empty() { "nothing".into() } else { texts.join(", ") }
    };
    let before = list(part.before.iter().map(|(asset, sum)| (asset, *sum)).collect());
    let sums = list(part.sums.iter().map(|(asset, sum)| (asset, *sum)).collect());
    format!("({}, {}] brings {sums} after {before}", part.after, part.up_to)
}

pub fn outcome_text(outcome: &WalletOutcome) -> String {
    match outcome {
        WalletOutcome::Applied(Applied { seq, total, balance, replayed, .. }) => {
            let word = if *replayed { "again" } else { "ok" };
            format!("{word}: event {seq}, total {total}, balance {balance}")
        }
        WalletOutcome::Refused(refusal) => format!("refused: {refusal}"),
        WalletOutcome::Balances(balances) => {
            let held = balances.amounts.iter().map(|(asset, amount)| format!("{} {amount}", asset_name(*asset)));
            let held = held.collect::<Vec<_>>().join(", ");
            format!("as of {}: {}", balances.seq, if held.is_empty() { "nothing" } else { &held })
        }
        WalletOutcome::Receipt { found: Some(found), .. } => format!("found: event {}", found.seq),
        WalletOutcome::Receipt { found: None, now } => format!("not found at {now}"),
        WalletOutcome::Credits(all) => format!("credits of {} sources", all.len()),
        WalletOutcome::Bound => "bound".into(),
    }
}
