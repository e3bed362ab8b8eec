//! One entry on its way to an outcome.
//!
//! What makes it safe: an attempt that got no answer may be decided until the deadline that it carried. While there is
//! such an attempt, the entry is in doubt, and nothing that another attempt is told proves anything about it: a refusal
//! is only passed on, and another key only made, once a lookup has said that no attempt up to that deadline can be
//! decided any more.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::client::{Client, Failure};
use crate::clock::SLACK;
use crate::exchange::{Attempt, Heard, Look};
use crate::key;
use crate::outbox::{Entry, Intent, NEVER_SENT, OutboxError};
use crate::problem::{Code, Problem};
use crate::wire::Receipt;

/// How far ahead of its attempts an entry's horizon is kept, so that most need no second write.
const HORIZON: Duration = Duration::from_secs(60);
/// Keys that the server's clock may ask for, and passes for rooms, before its answer is believed.
const REPLACED_MAX: u32 = 3;

/// Whoever holds it works on the entry. Dropped without an outcome, it leaves the entry to be resumed.
pub struct Drive<'a> {
    client: &'a Client,
    /// As it is kept.
    entry: Option<Entry>,
    /// Whether it is certain that the outbox has just this entry. Nothing is sent before.
    is_kept: bool,
    /// Until when an attempt without an answer may be decided.
    doubt: Option<u64>,
    /// The same, without the last attempt.
    doubt_before: Option<u64>,
    backoff: Backoff,
    ends: Instant,
    replaced: u32,
    /// What stood in the way last.
    why: String,
}

/// What a refusal of one attempt means for the entry.
enum Next {
    Done(Receipt),
    Again,
    AfterPause,
    End(Failure),
}

impl<'a> Drive<'a> {
    /// Keeps a new entry.
    pub async fn begin(client: &'a Client, entry: Entry) -> Result<Drive<'a>, Failure> {
        let mut drive = Drive::new(client, entry, None);
        match client.outbox.put(drive.entry()).await {
            Ok(()) => {
                drive.is_kept = true;
                Ok(drive)
            }
            Err(error) => {
                let id = drive.entry().id.clone();
                drive.settle_entry();
                match error {
                    OutboxError::Full(_)
                    | OutboxError::InUse
                    | OutboxError::OtherAccount(_)
                    | OutboxError::Damaged { .. } => Err(Failure::NotKept(error)),
                    // Nothing was sent, but if it is there after all, it will be when the outbox is opened again.
                    OutboxError::Io(_) | OutboxError::Failed => Err(Failure::Pending { id, why: error.to_string() }),
                }
            }
        }
    }

    /// Takes up one that was left open: whether anything was sent is not known, nor whether a change of it that could
    /// not be written, or was dropped on its way, is in the outbox nevertheless.
    pub fn resume(client: &'a Client, entry: Entry) -> Drive<'a> {
        let doubt = Some(entry.horizon).filter(|horizon| *horizon != NEVER_SENT);
        Drive::new(client, entry, doubt)
    }

    fn new(client: &'a Client, entry: Entry, doubt: Option<u64>) -> Drive<'a> {
        let (min, max) = client.options.backoff;
        let ends = Instant::now();
        let backoff = Backoff::new(min, max);
        let why = "it was not sent yet".into();
        let (entry, is_kept, replaced) = (Some(entry), false, 0);
        Drive { client, entry, is_kept, doubt, doubt_before: doubt, backoff, ends, replaced, why }
    }

    /// Whether it was kept just now, and nothing was sent for it before.
    pub fn is_new(&self) -> bool {
        self.is_kept && self.doubt.is_none()
    }

    pub fn entry(&self) -> &Entry {
        self.entry.as_ref().expect("it is only taken when the drive ends")
    }

    /// Goes on until there is an outcome or patience ends. `first` is what an attempt made elsewhere came to.
    pub async fn run(mut self, first: Option<Attempt>) -> Result<Receipt, Failure> {
        // Not before: it may have waited for its turn.
        self.ends = Instant::now() + self.client.options.patience;
        let outcome = self.reach(first).await;
        match &outcome {
            Ok(_) => self.client.outbox.remove_soon(&self.entry().id),
            Err(failure) if failure.is_certain() => {
                // What is still kept may be sent again after a crash, and be applied then: it is not refused yet.
                if let Err(error) = self.client.outbox.remove(&self.entry().id).await {
                    return Err(self.pending(format!("{failure}, but that could not be kept: {error}")));
                }
            }
            Err(_) => return outcome,
        }
        self.settle_entry();
        outcome
    }

    fn settle_entry(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.client.put_down(&entry.id, None);
        }
    }

    async fn reach(&mut self, mut first: Option<Attempt>) -> Result<Receipt, Failure> {
        loop {
            let attempt = match first.take() {
                Some(attempt) => attempt,
                None => {
                    if let Err(why) = self.client.ask_the_time().await {
                        self.why = why;
                        self.pause(None).await?;
                        continue;
                    }
                    if self.entry().horizon == NEVER_SENT {
                        self.keep(self.dated()).await?;
                    }
                    if let Some(receipt) = self.look_once().await? {
                        return Ok(receipt);
                    }
                    if self.entry().give_up_at.is_some_and(|at| self.client.clock.now() > at) {
                        return self.conclude(Failure::GivenUp).await;
                    }
                    self.attempt().await?
                }
            };
            let wait = match attempt {
                Attempt::Applied(receipt) if self.entry().intent.is_of_kind(&receipt) => return Ok(receipt),
                Attempt::Applied(_) => {
                    // It has said nothing about what was asked for.
                    self.why = "the server answered with the receipt of something else".into();
                    self.doubt = self.doubt.max(Some(self.entry().horizon));
                    None
                }
                Attempt::NotSent(why) => {
                    self.why = why;
                    None
                }
                Attempt::Refused(problem, retry_after) => match self.judge(*problem).await? {
                    Next::Done(receipt) => return Ok(receipt),
                    Next::End(failure) => return self.conclude(failure).await,
                    Next::Again => continue,
                    Next::AfterPause => retry_after,
                },
                Attempt::Unknown { why, problem } => {
                    self.why = why;
                    match self.wait_for_the_server(problem.as_deref()).await? {
                        Some(Next::Done(receipt)) => return Ok(receipt),
                        Some(_) => continue,
                        None => None,
                    }
                }
            };
            self.pause(wait).await?;
        }
    }

    /// The entry with the server's times in the place of this machine's. A key that is off is made again: the server
    /// would refuse one from the future, or from before all history, and nothing was ever sent under it.
    fn dated(&self) -> Entry {
        let clock = &self.client.clock;
        let made_at = clock.made_at(self.entry());
        let Entry { id, key, minted, intent, give_up_at, .. } = self.entry().clone();
        let give_up_at = give_up_at.map(|at| at.saturating_add_signed(clock.ahead()));
        let key = if minted && clock.off() != 0 { key::mint(made_at) } else { key };
        let horizon = clock.now() + self.client.horizon();
        Entry { id, key, minted, intent, made_at, give_up_at, horizon }
    }

    /// One attempt, with its deadline. What is unknown of it is in doubt until then.
    async fn attempt(&mut self) -> Result<Attempt, Failure> {
        let deadline = self.deadline();
        let horizon = self.entry().horizon;
        if deadline > horizon {
            self.keep(Entry { horizon: deadline + millis(HORIZON), ..self.entry().clone() }).await?;
        } else if !self.is_kept {
            self.keep(self.entry().clone()).await?;
        }
        let pass = match &self.entry().intent {
            Intent::Gift { room, .. } => self.client.pass_of(*room),
            Intent::Recharge { .. } | Intent::Transfer { .. } => None,
        };
        // Whoever drops this call in the middle leaves an attempt behind.
        self.doubt_before = self.doubt;
        self.doubt = self.doubt.max(Some(deadline));
        let attempt = self.client.attempt(self.entry(), deadline, pass.as_deref()).await;
        if !matches!(attempt, Attempt::Unknown { .. }) {
            self.doubt = self.doubt_before;
        }
        Ok(attempt)
    }

    /// The server said itself that it does not know: it is asked until it does. `None`: it said nothing of the kind.
    async fn wait_for_the_server(&mut self, problem: Option<&Problem>) -> Result<Option<Next>, Failure> {
        match problem.and_then(Problem::final_after) {
            Some(final_after) => {
                self.doubt = self.doubt_before.max(Some(final_after));
                Ok(Some(self.settle().await?.map_or(Next::Again, Next::Done)))
            }
            None => {
                // Set already, unless the attempt was made elsewhere.
                self.doubt = self.doubt.or(Some(self.entry().horizon));
                Ok(None)
            }
        }
    }

    #[allow(clippy::wildcard_enum_match_arm, reason = "codes grow, and all others mean the same here")]
    async fn judge(&mut self, problem: Problem) -> Result<Next, Failure> {
        self.why = problem.to_string();
        match problem.code {
            Code::DeadlinePassed => {
                self.saw_time(&problem);
                Ok(Next::AfterPause)
            }
            Code::IdTimeAhead if self.entry().minted && self.may_replace() => {
                self.saw_time(&problem);
                if let Some(receipt) = self.settle().await? {
                    return Ok(Next::Done(receipt));
                }
                let now = self.client.clock.now();
                self.keep(Entry { key: key::mint(now), ..self.entry().clone() }).await?;
                Ok(Next::Again)
            }
            Code::RoomPassInvalid if self.may_replace() => match &self.entry().intent {
                Intent::Gift { room, .. } if self.client.fetch_pass(*room).await => Ok(Next::Again),
                _ => Ok(Next::End(Failure::Refused(Box::new(problem)))),
            },
            _ if problem.retryable => Ok(Next::AfterPause),
            _ => Ok(Next::End(Failure::Refused(Box::new(problem)))),
        }
    }

    fn may_replace(&mut self) -> bool {
        self.replaced += 1;
        self.replaced <= REPLACED_MAX
    }

    fn saw_time(&self, problem: &Problem) {
        if let Some(now) = problem.server_time() {
            self.client.clock.saw(now);
        }
    }

    /// Passes a failure on once it is proven.
    async fn conclude(&mut self, failure: Failure) -> Result<Receipt, Failure> {
        match self.settle().await? {
            Some(receipt) => Ok(receipt),
            None => Err(failure),
        }
    }

    /// A receipt that is there already. Nothing is waited for, unless the server asks to be left in peace for a while.
    async fn look_once(&mut self) -> Result<Option<Receipt>, Failure> {
        let Some(final_after) = self.doubt else { return Ok(None) };
        match self.client.look(&self.lookup(final_after)).await {
            Look::Found(receipt) => return Ok(self.ours(receipt)),
            Look::Nothing(true) => self.doubt = None,
            Look::Unclear(why, retry_after @ Some(_)) => {
                self.why = why;
                self.pause(retry_after).await?;
            }
            Look::Nothing(false) | Look::Unclear(_, None) => {}
        }
        Ok(None)
    }

    /// Asks until it is certain: the receipt, or `None` when no attempt can be decided any more.
    async fn settle(&mut self) -> Result<Option<Receipt>, Failure> {
        let (min, max) = self.client.options.backoff;
        let mut backoff = Backoff::new(min, max);
        while let Some(final_after) = self.doubt {
            let wait = match self.client.look(&self.lookup(final_after)).await {
                Look::Found(receipt) => return Ok(self.ours(receipt)),
                Look::Nothing(true) => {
                    self.doubt = None;
                    return Ok(None);
                }
                Look::Nothing(false) => {
                    let left = final_after.saturating_sub(self.client.clock.now());
                    backoff.wait(None).min(Duration::from_millis(left).max(min))
                }
                Look::Unclear(why, retry_after) => {
                    self.why = why;
                    backoff.wait(retry_after)
                }
            };
            self.sleep(wait).await?;
        }
        Ok(None)
    }

    /// A receipt under this key. Of something else, it proves that this can never be applied under it.
    fn ours(&mut self, receipt: Receipt) -> Option<Receipt> {
        if self.entry().intent.is_told_by(self.entry().minted, &receipt) {
            return Some(receipt);
        }
        self.doubt = None;
        None
    }

    fn lookup(&self, final_after: u64) -> String {
        self.entry().intent.lookup(&self.entry().key, final_after)
    }

    /// Changes the entry when the change is kept. Until then, and if that fails, it is as it was, and nothing is sent.
    async fn keep(&mut self, changed: Entry) -> Result<(), Failure> {
        self.is_kept = false;
        let kept = self.client.outbox.put(&changed).await;
        kept.map_err(|error| self.pending(error.to_string()))?;
        self.entry = Some(changed);
        self.is_kept = true;
        Ok(())
    }

    async fn pause(&mut self, retry_after: Option<Duration>) -> Result<(), Failure> {
        let wait = self.backoff.wait(retry_after);
        self.sleep(wait).await
    }

    async fn sleep(&mut self, wait: Duration) -> Result<(), Failure> {
        if Instant::now() + wait >= self.ends {
            return Err(self.pending(self.why.clone()));
        }
        tokio::time::sleep(wait).await;
        Ok(())
    }

    fn pending(&self, why: String) -> Failure {
        Failure::Pending { id: self.entry().id.clone(), why }
    }

    fn deadline(&self) -> u64 {
        self.client.clock.now() + millis(self.client.options.attempt + SLACK)
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            let id = entry.id.clone();
            self.client.put_down(&id, Some(entry));
        }
    }
}

impl Client {
    /// Sends transfers together, each with the same deadline.
    pub(crate) async fn first_round(&self, entries: &[Entry]) -> Vec<Attempt> {
        let horizon = entries.iter().map(|entry| entry.horizon).min().unwrap_or_default();
        let deadline = self.clock.now() + millis(self.options.attempt + SLACK);
        if deadline > horizon {
            // They waited so long for the outbox that each has to be kept anew.
            let why = "it was not sent yet";
            return entries.iter().map(|_| Attempt::NotSent(why.into())).collect();
        }
        self.attempt_batch(entries, deadline).await
    }

    /// From the time when an entry is kept to the end of its first attempts.
    pub(crate) fn horizon(&self) -> u64 {
        millis(self.options.attempt + SLACK + HORIZON)
    }

    fn pass_of(&self, room: u64) -> Option<String> {
        self.passes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).get(&room).cloned()
    }

    /// Gets a pass for a room whose gifts need one.
    async fn fetch_pass(&self, room: u64) -> bool {
        let request = self.request(reqwest::Method::POST, &format!("/v1/rooms/{room}/pass"));
        let Heard::Json(answer) = self.hear(request).await else { return false };
        let Some(pass) = answer["pass"].as_str() else { return false };
        let mut passes = self.passes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if passes.len() >= PASSES_MAX {
            passes.clear();
        }
        passes.insert(room, pass.into());
        true
    }
}

/// Rooms whose pass is kept; a lost one is fetched again.
const PASSES_MAX: usize = 1_000;

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
