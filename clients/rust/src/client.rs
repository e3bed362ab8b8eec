//! The client: what callers ask for, and what they are told.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use reqwest::{Method, Url};

use crate::clock::ServerClock;
use crate::drive::Drive;
use crate::exchange::{Attempt, Heard};
use crate::key;
use crate::outbox::{Entry, Intent, NEVER_SENT, Outbox, OutboxError};
use crate::problem::Problem;
use crate::wire::{Gift, GiftReceipt, Receipt, Recharge, RechargeReceipt, Transfer, TransferReceipt};

/// Transfers of one request.
const BATCH_MAX: usize = 1_000;

/// How a client behaves. `new` has defaults for all but the address and the token.
#[derive(Clone)]
pub struct Options {
    /// Where the server is: `https://pay.example.com`.
    pub url: String,
    pub bearer: Bearer,
    /// Of messages for users: an `Accept-Language`. Default: none, which is English.
    pub language: Option<String>,
    /// How long one attempt may take. Default: 10 s, which is twice what the server allows itself.
    pub attempt: Duration,
    /// How long a call goes on before it answers [`Failure::Pending`]. Default: 60 s.
    pub patience: Duration,
    /// When to stop sending something that was asked for so long ago. Default: never.
    pub give_up: Option<Duration>,
    /// The first wait between attempts and the longest. Default: 100 ms and 10 s.
    pub backoff: (Duration, Duration),
    /// Entries that [`Client::resume`] works on at the same time. Default: 16.
    pub resumed_at_once: usize,
    /// This machine's clock. Default: the system's.
    pub clock: fn() -> SystemTime,
}

impl Options {
    #[allow(clippy::disallowed_methods, reason = "this is where the time comes from")]
    pub fn new(url: impl Into<String>, bearer: impl Into<Bearer>) -> Options {
        Options {
            url: url.into(),
            bearer: bearer.into(),
            language: None,
            attempt: Duration::from_secs(10),
            patience: Duration::from_secs(60),
            give_up: None,
            backoff: (Duration::from_millis(100), Duration::from_secs(10)),
            resumed_at_once: 16,
            clock: SystemTime::now,
        }
    }
}

/// What proves who is asking: a viewer's token or a service's key.
#[derive(Clone)]
pub enum Bearer {
    Fixed(String),
    /// Asked before each request, and for a fresh one when the server did not take what was given. It keeps what it has.
    Source(Arc<dyn TokenSource>),
}

/// Whether the token that was given before is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renew {
    Yes,
    No,
}

/// A token, or why there is none.
pub type Token<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

pub trait TokenSource: Send + Sync + 'static {
    fn token(&self, renew: Renew) -> Token<'_>;
}

impl Bearer {
    pub(crate) async fn token(&self, renew: Renew) -> Result<String, String> {
        match self {
            Bearer::Fixed(token) => Ok(token.clone()),
            Bearer::Source(source) => source.token(renew).await,
        }
    }

    pub(crate) fn can_renew(&self) -> bool {
        matches!(self, Bearer::Source(_))
    }
}

impl From<&str> for Bearer {
    fn from(token: &str) -> Bearer {
        Bearer::Fixed(token.into())
    }
}

impl From<String> for Bearer {
    fn from(token: String) -> Bearer {
        Bearer::Fixed(token)
    }
}

impl<S: TokenSource> From<Arc<S>> for Bearer {
    fn from(source: Arc<S>) -> Bearer {
        Bearer::Source(source)
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("`{0}` is not an address of a server; write it as https://pay.example.com")]
    Address(String),
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error("cannot start an HTTP client: {0}")]
    Http(#[from] reqwest::Error),
}

/// Why there is no receipt. Only `Pending` leaves it open whether money moved.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The server refused, and no attempt can be decided any more: no money moved and none will.
    #[error("refused: {0}")]
    Refused(Box<Problem>),
    /// It was not applied in the time it had, and no attempt can be decided any more.
    #[error("given up, and certainly not applied")]
    GivenUp,
    /// Not known yet. It is in the outbox, and [`Client::resume`] goes on with it. Do not tell anybody that it failed.
    #[error("`{id}` is still open: {why}")]
    Pending { id: String, why: String },
    /// It could not be kept, so nothing was sent.
    #[error("nothing was sent: {0}")]
    NotKept(OutboxError),
    /// The key is in use for something else: nothing was sent.
    #[error("nothing was sent: the key `{0}` is in use")]
    KeyInUse(String),
    #[error("nothing was sent: a key is 1 to 128 printable ASCII characters")]
    KeyUnusable,
}

impl Failure {
    /// Whether it is proven that nothing was applied.
    pub fn is_certain(&self) -> bool {
        match self {
            Failure::Refused(_)
            | Failure::GivenUp
            | Failure::NotKept(_)
            | Failure::KeyInUse(_)
            | Failure::KeyUnusable => true,
            Failure::Pending { .. } => false,
        }
    }

    /// The server's refusal, if it is one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Failure::Refused(problem) => Some(problem),
            Failure::GivenUp
            | Failure::Pending { .. }
            | Failure::NotKept(_)
            | Failure::KeyInUse(_)
            | Failure::KeyUnusable => None,
        }
    }
}

/// What came of an entry that was left open earlier.
#[derive(Debug)]
pub struct Settled {
    /// The key that it was first kept under.
    pub id: String,
    pub intent: Intent,
    pub outcome: Result<Receipt, Failure>,
}

/// Talks to one server in the name of one caller. Share it by reference or in an `Arc`.
pub struct Client {
    pub(crate) options: Options,
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    pub(crate) clock: ServerClock,
    pub(crate) outbox: Box<dyn Outbox>,
    /// Passes of rooms that ask for one.
    pub(crate) passes: Mutex<HashMap<u64, String>>,
    open: Mutex<Open>,
}

/// Entries of the outbox, by id.
#[derive(Default)]
struct Open {
    /// Those that a call is working on, and what for.
    driven: HashMap<String, Intent>,
    /// Those that wait for [`Client::resume`].
    left: HashMap<String, Entry>,
}

impl Client {
    /// Opens the outbox. What was left in it waits for [`Client::resume`].
    pub async fn open(options: Options, outbox: impl Outbox) -> Result<Client, ClientError> {
        let base = options.url.trim_end_matches('/').to_owned();
        match Url::parse(&base) {
            Ok(url) if url.has_host() && matches!(url.scheme(), "http" | "https") => {}
            Ok(_) | Err(_) => return Err(ClientError::Address(options.url)),
        }
        // One provider of ciphers for the process; whoever installed one before is not disturbed.
        let _there_already = rustls::crypto::ring::default_provider().install_default();
        // An answer counts from the server that was named and from no other.
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let http = http.connect_timeout(options.attempt).build()?;
        let left = outbox.entries().await?.into_iter().map(|entry| (entry.id.clone(), entry)).collect();
        let open = Mutex::new(Open { left, ..Open::default() });
        let clock = ServerClock::new(options.clock);
        let (outbox, passes) = (Box::new(outbox), Mutex::default());
        Ok(Client { options, base, http, clock, outbox, passes, open })
    }

    /// Sends a gift, and comes back when it is applied, or proven not to be, or patience ends.
    pub async fn send_gift(&self, gift: Gift) -> Result<GiftReceipt, Failure> {
        let intent = Intent::Gift { room: gift.room, body: gift.body(), sender: gift.sender };
        carry_out(self.begin(gift.key, intent).await?, None, gift_of).await
    }

    /// Reports a payment. For services.
    pub async fn recharge(&self, recharge: Recharge) -> Result<RechargeReceipt, Failure> {
        let intent = Intent::Recharge { user: recharge.user, body: recharge.body() };
        let id = key::of_payment(&recharge.channel, &recharge.transaction);
        carry_out(self.begin(Some(id), intent).await?, None, recharge_of).await
    }

    /// Carries out one transfer. For services.
    pub async fn transfer(&self, transfer: Transfer) -> Result<TransferReceipt, Failure> {
        carry_out(self.begin_transfer(transfer).await?, None, transfer_of).await
    }

    /// Carries out many transfers, up to a thousand in a request, each for itself. Answers are in the order given.
    pub async fn transfers(&self, transfers: Vec<Transfer>) -> Vec<Result<TransferReceipt, Failure>> {
        let mut outcomes = Vec::with_capacity(transfers.len());
        let mut rest = transfers.into_iter().peekable();
        // Those that are kept without knowing it are dated one by one. Without an answer that is what has to be done.
        let _why_not = self.ask_the_time().await;
        while rest.peek().is_some() {
            let kept = rest.by_ref().take(BATCH_MAX).map(|transfer| self.begin_transfer(transfer));
            let kept = futures::future::join_all(kept).await;
            // What an earlier process left has to be asked about first.
            let new = kept.iter().flatten().filter(|drive| drive.is_new());
            let entries: Vec<_> = new.map(|drive| drive.entry().clone()).collect();
            let mut attempts = if entries.is_empty() { Vec::new() } else { self.first_round(&entries).await };
            attempts.reverse();
            // Nearly all are settled by now; the others are tried again one by one.
            let mut work: Vec<BoxFuture<'_, _>> = Vec::with_capacity(kept.len());
            for kept in kept {
                work.push(match kept {
                    Ok(drive) => {
                        let first = if drive.is_new() { attempts.pop() } else { None };
                        carry_out(drive, first, transfer_of).boxed()
                    }
                    Err(failure) => std::future::ready(Err(failure)).boxed(),
                });
            }
            outcomes.extend(futures::stream::iter(work).buffered(self.at_once()).collect::<Vec<_>>().await);
        }
        outcomes
    }

    /// Goes on with everything that was left open, in the order in which it was asked for, and tells what came of each.
    /// What is still open afterwards is told as `Pending` and stays in the outbox.
    pub async fn resume(&self) -> Vec<Settled> {
        let mut left: Vec<_> = self.lock().left.values().cloned().collect();
        if !left.is_empty() {
            // Without it, those that were kept without knowing it have no place among the others.
            let _why_not = self.ask_the_time().await;
        }
        left.sort_by_cached_key(|entry| (self.clock.made_at(entry), entry.key.clone()));
        let mut work: Vec<BoxFuture<'_, Settled>> = Vec::with_capacity(left.len());
        for entry in left {
            let Some(drive) = self.take_up(&entry.id) else { continue };
            let Entry { id, intent, .. } = entry;
            work.push(drive.run(None).map(|outcome| Settled { id, intent, outcome }).boxed());
        }
        futures::stream::iter(work).buffered(self.at_once()).collect().await
    }

    /// How many entries wait for [`Client::resume`].
    pub fn left_open(&self) -> usize {
        self.lock().left.len()
    }

    /// Takes an entry out of the outbox without knowing what became of it: for what nobody can find out any more.
    pub fn forget(&self, id: &str) -> bool {
        let was_there = self.lock().left.remove(id).is_some();
        if was_there {
            self.outbox.remove_soon(id);
        }
        was_there
    }

    async fn begin_transfer(&self, transfer: Transfer) -> Result<Drive<'_>, Failure> {
        let intent = Intent::Transfer { user: transfer.user, body: transfer.body() };
        self.begin(transfer.key, intent).await
    }

    /// Makes a key where the caller has none, and keeps the entry.
    async fn begin(&self, own: Option<String>, intent: Intent) -> Result<Drive<'_>, Failure> {
        let minted = own.is_none();
        let key = own.unwrap_or_else(|| key::mint(self.clock.now()));
        if !key::is_usable(&key) {
            return Err(Failure::KeyUnusable);
        }
        if let Some(drive) = self.claim(&key, &intent)? {
            return Ok(drive);
        }
        let made_at = self.clock.now();
        let give_up = self.options.give_up.and_then(|span| u64::try_from(span.as_millis()).ok());
        let give_up_at = give_up.map(|span| made_at.saturating_add(span));
        let horizon = if self.clock.is_known() { made_at + self.horizon() } else { NEVER_SENT };
        let entry = Entry { id: key.clone(), key, minted, intent, made_at, give_up_at, horizon };
        Drive::begin(self, entry).await
    }

    /// Makes the key this call's. The same as an earlier process asked for goes on where that stopped.
    fn claim(&self, key: &str, intent: &Intent) -> Result<Option<Drive<'_>>, Failure> {
        let mut open = self.lock();
        let other = open.driven.get(key).or(open.left.get(key).map(|entry| &entry.intent));
        if other.is_some_and(|other| other != intent) {
            return Err(Failure::KeyInUse(key.into()));
        }
        if open.driven.contains_key(key) {
            // What that call does is done for this one as well, and may be applied yet.
            return Err(Failure::Pending { id: key.into(), why: "another call for the same is under way".into() });
        }
        let entry = open.left.remove(key);
        open.driven.insert(key.into(), intent.clone());
        drop(open);
        Ok(entry.map(|entry| Drive::resume(self, entry)))
    }

    /// An entry that was left open, as one that a call works on.
    fn take_up(&self, id: &str) -> Option<Drive<'_>> {
        let mut open = self.lock();
        let entry = open.left.remove(id)?;
        open.driven.insert(id.into(), entry.intent.clone());
        drop(open);
        Some(Drive::resume(self, entry))
    }

    /// Nobody works on it any more. `left`: it is still open.
    pub(crate) fn put_down(&self, id: &str, left: Option<Entry>) {
        let mut open = self.lock();
        open.driven.remove(id);
        if let Some(entry) = left {
            open.left.insert(id.into(), entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at_once(&self) -> usize {
        self.options.resumed_at_once.max(1)
    }

    /// Learns the server's time, which keys and deadlines are made from, unless an answer told it before. Why not, if it
    /// cannot be learnt.
    pub(crate) async fn ask_the_time(&self) -> Result<(), String> {
        if self.clock.is_known() {
            return Ok(());
        }
        match self.hear_once(self.request(Method::GET, "/healthz")).await {
            Heard::NotSent(why) | Heard::Lost(why) => return Err(why),
            Heard::Json(_) | Heard::Problem(..) | Heard::Garbled(_) => {}
        }
        if !self.clock.is_known() {
            self.clock.saw_none();
        }
        Ok(())
    }
}

/// Works on an entry to its outcome, which is a receipt of its own kind.
async fn carry_out<R>(drive: Drive<'_>, first: Option<Attempt>, pick: fn(Receipt) -> Option<R>) -> Result<R, Failure> {
    let receipt = drive.run(first).await?;
    Ok(pick(receipt).expect("a drive ends with a receipt of its own kind only"))
}

fn gift_of(receipt: Receipt) -> Option<GiftReceipt> {
    if let Receipt::Gift(receipt) = receipt { Some(receipt) } else { None }
}

fn recharge_of(receipt: Receipt) -> Option<RechargeReceipt> {
    if let Receipt::Recharge(receipt) = receipt { Some(receipt) } else { None }
}

fn transfer_of(receipt: Receipt) -> Option<TransferReceipt> {
    if let Receipt::Transfer(receipt) = receipt { Some(receipt) } else { None }
}
