//! The logs and the stores: what was asked of them is done, late, or not at all.

use super::*;

impl World {
    pub(super) fn append(&mut self, node: usize, shard: ShardId, owner: u64, number: u64, epoch: Epoch, record: Bytes) {
        self.check_record(shard, record.len());
        let faults = self.faults();
        let is_down = self.log_down_until > self.now;
        let (land_after, answer_after) = (self.latency(self.swarm.log_micros), self.latency(self.swarm.log_micros));
        let late = self.rng.between(1, 5_000_000);
        let mut chance = self.rng.between(0, 999);
        let mut is = |permille: u64| {
            let is = chance < permille;
            chance = chance.wrapping_sub(permille);
            is
        };
        let (mut lands, mut copies, mut is_late, mut answer) = (true, false, false, Told::Position);
        if is(faults.append_lost) || is_down {
            (lands, answer) = (false, Told::Failed);
        } else if is(faults.append_lost_unknown) {
            (lands, answer) = (false, Told::Unknown);
        } else if is(faults.append_landed_unknown) {
            answer = Told::Unknown;
        } else if is(faults.append_landed_failed) {
            answer = Told::Failed;
        } else if is(faults.append_late) {
            (is_late, answer) = (true, Told::Unknown);
        } else if is(faults.append_copied) {
            copies = true;
        }
        let now = self.now;
        let by_log = self.swarm.fencing == Fencing::ByLog;
        let chain = self.chains.entry((shard, epoch)).or_default();
        if chain.is_broken && by_log {
            // A log that vouches for what it accepts takes nothing behind a record that it lost.
            (lands, copies, is_late, answer) = (false, false, false, Told::Failed);
        }
        chain.is_broken |= answer != Told::Position;
        let land = if is_late { now + late } else { chain.land.max(now + land_after) };
        if !is_late {
            chain.land = land;
        }
        chain.answer = chain.answer.max(if is_late { now } else { land } + answer_after);
        let answer_at = chain.answer;
        let append = self.number();
        let life = self.life(node);
        self.trace.note(now, || {
            format!("n{node} {shard} appends record {number} of epoch {epoch}: lands {lands}, told {answer:?}")
        });
        self.appends.insert(append, Append { life, shard, epoch, owner, number, record, landed: None, answer });
        if lands {
            self.schedule(land - now, Event::Land(append));
            if copies {
                self.schedule(land - now + late / 10, Event::Land(append));
            }
        }
        self.schedule(answer_at - now, Event::AppendAnswered(append));
    }

    pub(super) fn land(&mut self, number: u64) {
        let Some(append) = self.appends.get_mut(&number) else { return };
        let (shard, epoch) = (append.shard, append.epoch);
        let current = self.disk.partition(shard).epoch;
        if self.swarm.fencing == Fencing::ByLog && current != Some(epoch) {
            append.answer = Told::Fenced(current.unwrap_or(epoch));
            return;
        }
        let position = self.disk.partition(shard).push(&append.record);
        append.landed.get_or_insert(position);
        self.landed(shard, position);
    }

    pub(super) fn landed(&mut self, shard: ShardId, position: Position) {
        let place = usize::try_from(position.get()).expect("positions are few");
        let entry = self.disk.partition(shard).entries[place].clone();
        let told = self.truth.land(shard, &entry);
        self.truth.check_conserved();
        self.trace.note(self.now, || format!("{shard} @{position} {told}"));
    }

    pub(super) fn append_answered(&mut self, number: u64) {
        let Some(append) = self.appends.get(&number) else { return };
        let answer = match (&append.answer, append.landed) {
            (Told::Position, Some(position)) => Ok(position),
            (Told::Position | Told::Unknown, _) => Err(AppendError::Unknown),
            (Told::Failed, _) => Err(AppendError::Failed(LogError::Unavailable("a fault".into()))),
            (Told::Fenced(epoch), _) => Err(AppendError::Fenced(*epoch)),
        };
        let (life, shard, owner, of_record) = (append.life, append.shard, append.owner, append.number);
        if !self.is_alive(life) {
            return;
        }
        if self.nodes[life.node].asleep_until > self.now {
            let wait = self.nodes[life.node].asleep_until - self.now;
            self.schedule(wait, Event::AppendAnswered(number));
            return;
        }
        let now = self.clock(life.node);
        let seat = &mut self.nodes[life.node].seats[place_of(shard)];
        if let Some(serving) = seat.owner.serving().filter(|serving| serving.number == owner) {
            serving.shard.appended(of_record, answer, now);
            self.pump(life.node, shard);
        }
    }

    // ---- requests to log and store ----

    /// Decides when what was asked for is carried out, when it is answered, and whether it goes wrong.
    pub(super) fn take_asked(&mut self) {
        for (call, life, request) in self.calls.take_asked() {
            let (log, store) = (self.swarm.log_micros, self.swarm.store_micros);
            let mut wait = match &request {
                Request::Sleep(_, micros) => *micros,
                Request::Claim(..) | Request::Read(..) | Request::Truncate(..) => self.latency(log),
                Request::LoadWallets(..)
                | Request::LoadReceipts(..)
                | Request::LoadRoom(..)
                | Request::Write(_)
                | Request::Checkpoint(_) => self.latency(store),
            };
            let is_store =
                !matches!(request, Request::Sleep(..) | Request::Claim(..) | Request::Read(..) | Request::Truncate(..));
            if is_store && self.rng.chance(self.faults().store_slow) {
                wait += self.rng.between(1, 3_000_000);
            }
            self.requests.insert(call, (life, request));
            self.schedule(wait, Event::Execute(call));
        }
    }

    pub(super) fn execute(&mut self, call: CallId) {
        let Some((life, request)) = self.requests.remove(&call) else { return };
        let faults = self.faults();
        let unreachable = || StoreError::Unavailable("a fault".into());
        let (log_down, store_down) = (self.log_down_until > self.now, self.store_down_until > self.now);
        let answer_after;
        let answer = match request {
            Request::Sleep(..) => {
                answer_after = 0;
                Answer::Slept
            }
            Request::Claim(shard, claim) => {
                answer_after = self.latency(self.swarm.log_micros);
                self.execute_claim(shard, claim, log_down)
            }
            Request::Read(..) | Request::Truncate(..) => {
                answer_after = self.latency(self.swarm.log_micros);
                if log_down || self.rng.chance(faults.log_read_failed) {
                    let error = LogError::Unavailable("a fault".into());
                    if matches!(request, Request::Truncate(..)) {
                        Answer::Truncated(Err(error))
                    } else {
                        Answer::Entries(Err(error))
                    }
                } else {
                    if let Request::Truncate(shard, position) = &request {
                        let stored = self.disk.checkpoint(*shard);
                        self.truth.check_truncation(*shard, *position, stored.as_ref());
                        self.trace.note(self.now, || format!("{shard} is cut to {position}"));
                    }
                    self.disk.execute(request)
                }
            }
            Request::LoadWallets(..)
            | Request::LoadReceipts(..)
            | Request::LoadRoom(..)
            | Request::Checkpoint(_)
            | Request::Write(_) => {
                answer_after = self.latency(self.swarm.store_micros);
                let is_write = matches!(request, Request::Write(_));
                if store_down || self.rng.chance(faults.store_failed) {
                    failed(&request, unreachable())
                } else if is_write && self.rng.chance(faults.store_torn) {
                    let told = failed(&request, unreachable());
                    if let Request::Write(batch) = request {
                        self.truth.check_batch(&batch);
                        let (disk, rng) = (&self.disk, &mut self.rng);
                        disk.write_torn(*batch, || rng.chance(500));
                    }
                    told
                } else if is_write && self.rng.chance(faults.store_late) {
                    // Its writer is told now, and it is carried out some time later, after newer ones perhaps.
                    let told = failed(&request, unreachable());
                    let late = u64::MAX - call;
                    self.requests.insert(late, (life, request));
                    let wait = self.rng.between(1, 4_000_000);
                    self.schedule(wait, Event::Execute(late));
                    told
                } else {
                    let fails = is_write && self.rng.chance(faults.store_unanswered);
                    let told = fails.then(|| failed(&request, unreachable()));
                    if let Request::Write(batch) = &request {
                        self.truth.check_batch(batch);
                        self.trace.note(self.now, || {
                            let at = &batch.checkpoint;
                            format!(
                                "{} is stored up to {} ({}/{})",
                                at.shard, at.fold.next, at.relay_position, at.position
                            )
                        });
                    }
                    let answer = self.disk.execute(request);
                    told.unwrap_or(answer)
                }
            }
        };
        self.pending_answers.insert(call, answer);
        self.schedule(answer_after, Event::Answer(call));
    }

    pub(super) fn execute_claim(&mut self, shard: ShardId, claim: Claim, is_down: bool) -> Answer {
        let faults = self.faults();
        let refused = Answer::Claimed(Err(LogError::Unavailable("a fault".into())));
        if is_down || self.rng.chance(faults.claim_lost) {
            return refused;
        }
        if self.rng.chance(faults.claim_late) {
            self.append_claim_later(shard, claim);
            return refused;
        }
        let position = self.disk.partition(shard).push(&encode_claim(claim));
        self.landed(shard, position);
        if self.rng.chance(faults.claim_copied) {
            self.append_claim_later(shard, claim);
        }
        let epoch = self.disk.partition(shard).find_claim(claim).expect("it has just landed");
        Answer::Claimed(Ok(epoch))
    }

    /// Nobody waits for it any more, or its first copy is in the log already.
    pub(super) fn append_claim_later(&mut self, shard: ShardId, claim: Claim) {
        let append = self.number();
        let (life, epoch) = (Life { node: 0, number: u64::MAX }, Epoch(0));
        let record = encode_claim(claim);
        let answer = Told::Unknown;
        let late = Append { life, shard, epoch, owner: 0, number: 0, record, landed: None, answer };
        self.appends.insert(append, late);
        let wait = self.rng.between(1, 3_000_000);
        self.schedule(wait, Event::Land(append));
    }
}

fn failed(request: &Request, error: StoreError) -> Answer {
    match request {
        Request::LoadWallets(..) => Answer::Wallets(Err(error)),
        Request::LoadReceipts(..) => Answer::Receipts(Err(error)),
        Request::LoadRoom(..) => Answer::Room(Err(error)),
        Request::Checkpoint(_) => Answer::Checkpoint(Err(error)),
        Request::Write(_) => Answer::Written(Err(error)),
        Request::Claim(..) | Request::Read(..) | Request::Truncate(..) | Request::Sleep(..) => {
            unreachable!("only the store fails like this")
        }
    }
}
