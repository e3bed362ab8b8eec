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
use crate::outbox::{Entry, Intent, OutboxError};
use crate::problem::{Code, Problem};
use crate::wire::Receipt;

/// How far ahead of its attempts an entry's horizon is kept, so that most need no second write.
const HORIZON: Duration = Duration::from_secs(60);
/// Keys that the server's clock may ask for, and passes for rooms, before its answer is believed.
const REPLACED_MAX: u32 = 3;

/// Whoever holds it works on the entry. Dropped without an outcome, it leaves the entry to be resumed.
pub struct Drive<'a> {
    client: &'a Client,
    entry: Option<Entry>,
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
        drive.entry_mut().horizon = drive.deadline() + millis(HORIZON);
        match client.outbox.put(drive.entry()).await {
            Ok(()) => Ok(drive),
            Err(error) => {
                let id = drive.entry().id.clone();
                drive.settle_entry();
                match error {
                    OutboxError::Full(_) | OutboxError::InUse | OutboxError::Damaged { .. } => {
                        Err(Failure::NotKept(error))
                    }
                    // Nothing was sent, but if it is there after all, it will be when the outbox is opened again.
                    OutboxError::Io(_) | OutboxError::Failed => Err(Failure::Pending { id, why: error.to_string() }),
                }
            }
        }
    }

    /// Takes up one that was left open: whether anything was sent is not known.
    pub fn resume(client: &'a Client, entry: Entry) -> Drive<'a> {
        let horizon = entry.horizon;
        Drive::new(client, entry, Some(horizon))
    }

    fn new(client: &'a Client, entry: Entry, doubt: Option<u64>) -> Drive<'a> {
        let (min, max) = client.options.backoff;
        let ends = Instant::now() + client.options.patience;
        let backoff = Backoff::new(min, max);
        let why = "it was not sent yet".into();
        Drive { client, entry: Some(entry), doubt, doubt_before: doubt, backoff, ends, replaced: 0, why }
    }

    pub fn entry(&self) -> &Entry {
        self.entry.as_ref().expect("it is only taken when the drive ends")
    }

    fn entry_mut(&mut self) -> &mut Entry {
        self.entry.as_mut().expect("it is only taken when the drive ends")
    }

    /// Goes on until there is an outcome or patience ends. `first` is what an attempt made elsewhere came to.
    pub async fn run(mut self, first: Option<Attempt>) -> Result<Receipt, Failure> {
        let outcome = self.reach(first).await;
        match &outcome {
            Ok(_) => self.end(),
            Err(failure) if failure.is_certain() => self.end(),
            Err(_) => {}
        }
        outcome
    }

    fn end(&mut self) {
        self.client.outbox.remove(&self.entry().id);
        self.settle_entry();
    }

    fn settle_entry(&mut self) {
        if let Some(entry) = self.entry.take() {
            self.client.put_down(&entry.id, None);
        }
    }

    async fn reach(&mut self, mut first: Option<Attempt>) -> Result<Receipt, Failure> {
        self.client.ask_the_time().await;
        loop {
            let attempt = match first.take() {
                Some(attempt) => attempt,
                None => {
                    if let Some(receipt) = self.look_once().await {
                        return Ok(receipt);
                    }
                    if self.entry().give_up_at.is_some_and(|at| self.client.clock.now() > at) {
                        return self.conclude(Failure::GivenUp).await;
                    }
                    self.attempt().await?
                }
            };
            let wait = match attempt {
                Attempt::Applied(receipt) => return Ok(receipt),
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

    /// One attempt, with its deadline. What is unknown of it is in doubt until then.
    async fn attempt(&mut self) -> Result<Attempt, Failure> {
        let deadline = self.deadline();
        if deadline > self.entry().horizon {
            self.entry_mut().horizon = deadline + millis(HORIZON);
            self.keep().await?;
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
                self.entry_mut().key = key::mint(now);
                self.keep().await?;
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

    /// A receipt that is there already; nothing is waited for.
    async fn look_once(&mut self) -> Option<Receipt> {
        let final_after = self.doubt?;
        match self.client.look(&self.lookup(final_after)).await {
            Look::Found(receipt) => self.ours(receipt),
            Look::Nothing(true) => {
                self.doubt = None;
                None
            }
            Look::Nothing(false) | Look::Unclear(..) => None,
        }
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
        if self.entry().intent.is_told_by(&receipt) {
            return Some(receipt);
        }
        self.doubt = None;
        None
    }

    fn lookup(&self, final_after: u64) -> String {
        self.entry().intent.lookup(&self.entry().key, final_after)
    }

    async fn keep(&mut self) -> Result<(), Failure> {
        let kept = self.client.outbox.put(self.entry()).await;
        // It is kept as it was, with attempts that are told about there; it just cannot go on.
        kept.map_err(|error| self.pending(error.to_string()))
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
        self.ask_the_time().await;
        let horizon = entries.iter().map(|entry| entry.horizon).min().unwrap_or_default();
        let deadline = self.clock.now() + millis(self.options.attempt + SLACK);
        if deadline > horizon {
            // They waited so long for the outbox that each has to be kept anew.
            let why = "it was not sent yet";
            return entries.iter().map(|_| Attempt::NotSent(why.into())).collect();
        }
        self.attempt_batch(entries, deadline).await
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
