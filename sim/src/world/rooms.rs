//! What a node does around rooms: it brings them their settings, and asks each when its time has come, until it is answered.

use largesse_engine::room::board::Side;
use largesse_engine::room::command::BoardQuery;
use largesse_engine::room::event::Period;
use largesse_engine::room::person::Person;
use largesse_engine::room::rooms::RoomOutput;
use largesse_engine::room::settings::Room;
use largesse_engine::units::UserId;

use super::*;
use crate::clients::{COIN, DIAMOND};

/// After a failure, or when a shard says that nothing was due yet.
const AGAIN_MILLIS: u64 = 50;

#[derive(Default)]
pub struct NodeRooms {
    /// When which room has something to do by time.
    due: BTreeMap<RoomId, Time>,
    /// The settings that each room has acknowledged.
    followed: BTreeMap<RoomId, Room>,
    /// What was asked last and has no answer yet.
    open: BTreeMap<(RoomId, Errand), CallKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Errand {
    Time,
    Follow,
}

/// Who asked a room, and what for.
#[derive(Clone, Debug)]
pub enum Asker {
    Node(Life, RoomId, Errand),
    Reader(usize),
    /// Somebody who only looks.
    Nobody,
}

#[derive(Clone, Debug)]
pub struct Asked {
    pub asker: Asker,
    pub key: CallKey,
    pub room: RoomId,
    pub command: RoomCommand,
}

impl Asked {
    /// The node that waits for the answer, if it is one.
    pub fn node(&self) -> Option<usize> {
        match self.asker {
            Asker::Node(life, ..) => Some(life.node),
            Asker::Reader(_) | Asker::Nobody => None,
        }
    }
}

impl World {
    /// News of rooms that this node owns.
    pub(super) fn hear_of_rooms(&mut self, node: usize, shard: ShardId, output: RoomOutput) {
        for room in output.waiting {
            self.set_due(node, room, Some(Time::ZERO));
        }
        for news in output.news {
            self.truth.rooms.check_news(shard, &news);
            self.set_due(node, news.room, news.due);
        }
    }

    fn set_due(&mut self, node: usize, room: RoomId, due: Option<Time>) {
        let Some(due) = due else {
            self.nodes[node].rooms.due.remove(&room);
            return;
        };
        self.nodes[node].rooms.due.insert(room, due);
        let millis = due.get().saturating_sub(self.clock(node).get());
        let life = self.life(node);
        self.schedule(1 + millis * 1_000, Event::RoomTimes(life));
    }

    /// Asks the rooms whose time has come.
    pub(super) fn room_times(&mut self, life: Life) {
        if !self.is_alive(life) {
            return;
        }
        let now = self.clock(life.node);
        let rooms = &mut self.nodes[life.node].rooms;
        let is_open = |room: RoomId| rooms.open.contains_key(&(room, Errand::Time));
        let due: Vec<RoomId> =
            rooms.due.iter().filter(|(room, at)| **at <= now && !is_open(**room)).map(|(room, _)| *room).collect();
        for room in due {
            self.nodes[life.node].rooms.due.remove(&room);
            self.run_errand(life, room, Errand::Time, RoomCommand::Time { room });
        }
    }

    /// Brings rooms what is new in their settings, as this node knows them.
    pub(super) fn bring_settings(&mut self, node: usize) {
        let (life, view) = (self.life(node), Arc::clone(&self.nodes[node].view));
        let ids: Vec<RoomId> = self.swarm.all_rooms().collect();
        for id in ids {
            let (room, rooms) = (&view.rooms[&id], &self.nodes[node].rooms);
            if rooms.followed.get(&id) != Some(room) && !rooms.open.contains_key(&(id, Errand::Follow)) {
                self.run_errand(life, id, Errand::Follow, RoomCommand::Follow(Box::new(room.clone())));
            }
        }
    }

    fn run_errand(&mut self, life: Life, room: RoomId, errand: Errand, command: RoomCommand) {
        let key = self.ask_room(Asker::Node(life, room, errand), room, command);
        self.nodes[life.node].rooms.open.insert((room, errand), key);
    }

    /// Somebody looks at a board, or at a room.
    pub(crate) fn look_at_room(&mut self) {
        let room = RoomId(self.rng.between(1, self.swarm.rooms_max));
        let query = BoardQuery {
            period: *self.rng.pick(&Period::ALL),
            side: *self.rng.pick(&[Side::Senders, Side::Hosts]),
            asset: *self.rng.pick(&[COIN, DIAMOND]),
            limit: self.rng.index(5) + 1,
            user: self.rng.chance(700).then(|| UserId(self.rng.between(1, self.swarm.users))),
        };
        let is_board = self.rng.chance(700);
        let command = if is_board { RoomCommand::ReadBoard { room, query } } else { RoomCommand::Read { room } };
        self.ask_room(Asker::Nobody, room, command);
    }

    /// Sends a command to wherever the room seems to be. Whatever happens, the asker hears of it.
    pub(super) fn ask_room(&mut self, asker: Asker, room: RoomId, command: RoomCommand) -> CallKey {
        let key = self.number();
        let asked = Arc::new(Asked { asker, key, room, command });
        let timeout = self.rng.between(50_000, 1_000_000);
        self.schedule(timeout, Event::RoomTold { asked: Arc::clone(&asked), outcome: None });
        let faults = self.faults();
        let Some(node) = self.route(self.shape.room_of(room)) else { return key };
        let to = self.life(node);
        let copies = u64::from(!self.rng.chance(faults.net_lost)) + u64::from(self.rng.chance(faults.net_repeated));
        for _ in 0..copies {
            let wait = self.net();
            self.schedule(wait, Event::RoomArrive { to, asked: Arc::clone(&asked) });
        }
        key
    }

    pub(super) fn room_arrive(&mut self, to: Life, asked: Arc<Asked>) {
        if !self.is_alive(to) {
            return;
        }
        let shard = self.shape.room_of(asked.room);
        let before =
            self.truth.rooms.room(asked.room).map_or((RoomSeq::FIRST, Seq::NONE), |room| (room.next(), room.seq()));
        let key = self.number();
        let seat = &mut self.nodes[to.node].seats[place_of(shard)];
        let is_draining = seat.is_draining;
        let Some(serving) = seat.owner.serving().filter(|_| !is_draining) else { return };
        let owner = serving.number;
        let Some(rooms) = serving.shard.rooms() else { return };
        rooms.submit(key, vec![asked.command.clone()]);
        self.trace.note(self.now, || format!("n{} {shard} takes batch {key}: {:?}", to.node, asked.command));
        self.batches.insert(key, Batch::Room { owner, asked, before });
        self.pump(to.node, shard);
    }

    pub(super) fn room_answered(&mut self, node: usize, key: CallKey, outcomes: Vec<RoomOutcome>) {
        let batch = self.batches.remove(&key).expect("a batch is answered once");
        assert_eq!(outcomes.len(), 1, "one outcome for one command");
        for outcome in outcomes {
            match &batch {
                Batch::Relay { to, key, destination } => {
                    let is_undecided = matches!(outcome, RoomOutcome::Overloaded | RoomOutcome::StoreUnavailable);
                    let is_answer = is_undecided || matches!(outcome, RoomOutcome::Gifts(_));
                    assert!(is_answer, "gifts were answered by {outcome:?}");
                    let answer = if let RoomOutcome::Gifts(answer) = outcome { Some(answer) } else { None };
                    self.relay_answered(*to, *destination, *key, answer);
                }
                Batch::Room { asked, before, .. } => {
                    self.trace.note(self.now, || format!("n{node} answers batch {key}: {outcome:?}"));
                    self.check_room_outcome(asked, *before, &outcome);
                    if !self.rng.chance(self.faults().net_lost) {
                        let (asked, wait) = (Arc::clone(asked), self.net());
                        self.schedule(wait, Event::RoomTold { asked, outcome: Some(Box::new(outcome)) });
                    }
                }
                Batch::Clients { .. } | Batch::Admin { .. } => unreachable!("rooms are asked for neither"),
            }
        }
    }

    /// I4: what an answer may say about a room that had this next entry and this last event when it was asked.
    fn check_room_outcome(&self, asked: &Asked, (next, since): (RoomSeq, Seq), outcome: &RoomOutcome) {
        let room = asked.room;
        let truth = self.truth.rooms.room(room);
        match (&asked.command, outcome) {
            (_, RoomOutcome::StoreUnavailable | RoomOutcome::Overloaded) => {}
            (RoomCommand::Follow(settings), RoomOutcome::Followed) => {
                let followed = truth.and_then(|room| room.head().followed).map(|followed| followed.version);
                assert!(
                    followed >= Some(settings.version),
                    "I4 durable answers: room {room} does not follow {settings:?}"
                );
            }
            (RoomCommand::Time { .. }, RoomOutcome::Due(_)) => {}
            (RoomCommand::Read { .. }, RoomOutcome::Room(head)) => match truth {
                Some(truth) if head.began != Time::ZERO => truth.check_head_was(room, head, since),
                _ => assert_eq!(since, Seq::NONE, "I4 durable answers: room {room} was there before"),
            },
            (RoomCommand::ReadTail { after, .. }, RoomOutcome::Tail(tail)) => match truth {
                Some(truth) if tail.head.began != Time::ZERO => {
                    truth.check_head_was(room, &tail.head, since);
                    for chunk in tail.chunks.iter().flatten() {
                        truth.check_items(room, chunk.first, &chunk.items);
                    }
                    let first = tail.chunks.as_ref().and_then(|chunks| chunks.first()).map(|chunk| chunk.first);
                    assert!(first.is_none_or(|first| first <= after.next()), "a tail begins behind {after}");
                }
                _ => assert_eq!(next, RoomSeq::FIRST, "I4 durable answers: room {room} had entries before"),
            },
            (RoomCommand::ReadBoard { query, .. }, RoomOutcome::Board(page)) => {
                let Some(truth) = truth.filter(|room| room.seq() == since) else { return };
                let due = truth.ranking(query.period, query.side, query.asset);
                let told = page.top.iter().map(|at| (at.person, at.score.value, at.score.reached));
                let told: Vec<_> = told.collect();
                let most = due.len().min(query.limit);
                assert_eq!(told, due[..most], "I4 durable answers: a board of room {room}");
                for (own, person) in
                    [(page.own, Person::Named as fn(UserId) -> Person), (page.own_anonymous, Person::Anonymous)]
                {
                    let place = due.iter().position(|(of, ..)| Some(*of) == query.user.map(person));
                    let own = own.map(|own| own.rank);
                    assert_eq!(own, place.map(|place| place as u64 + 1), "I4 durable answers: a place in room {room}");
                }
            }
            (command, outcome) => panic!("{command:?} was answered by {outcome:?}"),
        }
    }

    pub(super) fn room_told(&mut self, asked: &Asked, outcome: Option<RoomOutcome>) {
        match asked.asker {
            Asker::Nobody => {}
            Asker::Reader(reader) => self.feed_told(reader, asked.key, outcome),
            Asker::Node(life, room, errand) => {
                let is_mine =
                    self.is_alive(life) && self.nodes[life.node].rooms.open.get(&(room, errand)) == Some(&asked.key);
                if !is_mine {
                    return; // It came twice, or too late.
                }
                self.nodes[life.node].rooms.open.remove(&(room, errand));
                let again = self.clock(life.node).plus_millis(AGAIN_MILLIS);
                match (&asked.command, outcome) {
                    (RoomCommand::Follow(settings), Some(RoomOutcome::Followed)) => {
                        self.nodes[life.node].rooms.followed.insert(room, Room::clone(settings));
                    }
                    (RoomCommand::Time { .. }, Some(RoomOutcome::Due(None))) => {}
                    (RoomCommand::Time { .. }, Some(RoomOutcome::Due(Some(due)))) => {
                        self.set_due(life.node, room, Some(due.max(again)));
                    }
                    (RoomCommand::Time { .. }, _) => self.set_due(life.node, room, Some(again)),
                    (_, _) => {}
                }
            }
        }
    }
}
