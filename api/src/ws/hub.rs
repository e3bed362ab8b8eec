//! The rooms that sockets of this process are in: each gathers its news and sends them on as ticks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use largesse_engine::catalog::Catalog;
use largesse_engine::room::command::{Chunk, RoomNews};
use largesse_engine::room::event::RoomHead;
use largesse_engine::units::{RoomId, RoomSeq, UserId};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use crate::error::ErrorCode;
use crate::problem::Problem;
use crate::ws::channel::{Channel, ChannelState, millis};
use crate::ws::crowd::Crowd;
use crate::ws::edge::Edge;
use crate::ws::fanout::{Fanout, Member};
use crate::ws::frames::{Gap, ServerFrame, Since, encode, epoch_text, room_text};
use crate::ws::notices::Notices;
use crate::ws::options::{RECOVERED_MAX, TICK_ITEMS_MAX, WsOptions};
use crate::ws::pace;
use crate::ws::socket::Socket;
use crate::ws::tick;

/// How often rooms are looked at that have no news.
const LOOK_AROUND: Duration = Duration::from_millis(500);
/// Pages by which a hub that missed news catches up at a time.
const FILL_PAGES_MAX: usize = 16;
/// After a failure to read what did not come, how long until the next try.
const FILL_AGAIN: Duration = Duration::from_millis(250);
/// A room that nobody has been in for so long is forgotten here.
const FORGET_AFTER: Duration = Duration::from_secs(60);
/// How often a client who comes back is looked after before it is told of a gap.
const RECOVER_ROUNDS_MAX: usize = 64;

/// All of WebSocket in one process. It begins with the first socket.
pub struct Hub {
    running: OnceLock<Arc<Running>>,
    pub(super) options: WsOptions,
    pub(super) sockets: AtomicU64,
    closing: watch::Sender<bool>,
    /// How many watch in gateways of this process.
    pub(crate) crowd: Crowd,
}

pub struct Running {
    /// Weak, since the process holds the hub.
    edge: Weak<dyn Edge>,
    options: WsOptions,
    fanout: Fanout,
    channels: Mutex<HashMap<RoomId, Arc<Channel>>>,
    members: AtomicU64,
    pub(super) notices: Notices,
}

impl Hub {
    pub fn new(options: WsOptions) -> Hub {
        Hub {
            running: OnceLock::new(),
            options,
            sockets: AtomicU64::new(0),
            closing: watch::Sender::new(false),
            crowd: Crowd::default(),
        }
    }

    /// Starts the threads when the first socket comes.
    pub(super) fn running(&self, edge: &Arc<dyn Edge>) -> Result<Arc<Running>, Problem> {
        if let Some(running) = self.running.get() {
            return Ok(Arc::clone(running));
        }
        let failed = |error: std::io::Error| {
            tracing::error!(%error, "cannot start the threads of WebSocket");
            Problem::new(ErrorCode::Overloaded, "this process cannot serve sockets right now")
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let running = Arc::new(Running {
            edge: Arc::downgrade(edge),
            options: self.options.clone(),
            fanout: Fanout::start(cores.div_ceil(2)).map_err(failed)?,
            channels: Mutex::default(),
            members: AtomicU64::new(0),
            notices: Notices::default(),
        });
        let kept = Arc::clone(self.running.get_or_init(|| Arc::clone(&running)));
        if Arc::ptr_eq(&kept, &running) {
            running.start(edge.news(), self.closing.subscribe()).map_err(failed)?;
        }
        Ok(kept)
    }

    /// How many watch a room over sockets of this process.
    pub(crate) fn viewers(&self, room: RoomId) -> u64 {
        let channel = self.running.get().and_then(|running| running.channels().get(&room).cloned());
        channel.map_or(0, |channel| channel.state().viewers)
    }

    /// Every socket is told to come back elsewhere, and is ended.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.closing.send_replace(true);
    }
}

impl Running {
    fn start(
        self: &Arc<Self>,
        news: broadcast::Receiver<Arc<RoomNews>>,
        mut closing: watch::Receiver<bool>,
    ) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let running = Arc::clone(self);
        let run = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = running.run(news) => (),
                    _over = closing.wait_for(|is_closing| *is_closing) => (),
                }
            });
        };
        std::thread::Builder::new().name("ticks".into()).spawn(run).map(drop)
    }

    async fn run(self: &Arc<Self>, mut news: broadcast::Receiver<Arc<RoomNews>>) {
        // They end with this thread, so a process that ends tells of nobody: its clients are elsewhere in a moment.
        tokio::spawn(Arc::clone(self).tell_gone());
        tokio::spawn(Arc::clone(self).tell_came());
        tokio::spawn(Arc::clone(self).keep_counts());
        let mut look_at = Instant::now() + LOOK_AROUND;
        loop {
            let due = self.next_due().map_or(look_at, |due| due.min(look_at));
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(due.into()) => {
                    self.publish_all();
                    look_at = Instant::now() + LOOK_AROUND;
                }
                one = news.recv() => match one {
                    Ok(one) => self.take(&one),
                    Err(RecvError::Lagged(_)) => self.all().iter().for_each(|channel| channel.state().has_hole = true),
                    Err(RecvError::Closed) => return,
                },
            }
        }
    }

    pub(super) fn edge(&self) -> Result<Arc<dyn Edge>, Problem> {
        let gone = || Problem::new(ErrorCode::ShardUnavailable, "this process ends");
        self.edge.upgrade().ok_or_else(gone)
    }

    pub(super) fn channels(&self) -> MutexGuard<'_, HashMap<RoomId, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<Arc<Channel>> {
        self.channels().values().cloned().collect()
    }

    fn take(&self, news: &RoomNews) {
        let Some(channel) = self.channels().get(&news.room).cloned() else { return };
        channel.state().take(news);
        // What comes after a quiet while goes at once; what comes right behind that waits for its tick.
        let now = Instant::now();
        let state = channel.state();
        let goes = channel.opened.initialized() && state.is_due(now) && !state.has_hole;
        drop(state);
        if goes {
            self.publish(&channel, now);
        }
    }

    fn publish_all(self: &Arc<Self>) {
        let now = Instant::now();
        let Ok(edge) = self.edge() else { return };
        self.forget_unused(&*edge, now);
        for channel in self.all() {
            if !channel.opened.initialized() {
                continue;
            }
            let mut state = channel.state();
            state.doubt(edge.doubts_after(), now);
            if !state.is_due(now) {
                continue;
            }
            if !state.has_hole {
                drop(state);
                self.publish(&channel, now);
            } else {
                state.is_filling = true;
                drop(state);
                // Beside the ticks: reading may take its time, and the other rooms go on.
                tokio::spawn(Arc::clone(self).fill_and_publish(Arc::clone(&edge), channel));
            }
        }
    }

    /// Rooms that nobody has been in for a while.
    fn forget_unused(&self, edge: &dyn Edge, now: Instant) {
        let mut channels = self.channels();
        // Whoever is in a room, or about to be, holds its channel; and nobody can get at it while this lasts.
        let is_used = |channel: &Arc<Channel>| {
            Arc::strong_count(channel) > 1 || now.duration_since(channel.state().used) < FORGET_AFTER
        };
        let unused: Vec<RoomId> =
            channels.iter().filter(|(_, channel)| !is_used(channel)).map(|(room, _)| *room).collect();
        for room in unused {
            channels.remove(&room);
            edge.unfollow(room);
        }
    }

    /// When the next room is due that has news.
    fn next_due(&self) -> Option<Instant> {
        let open = self.all().into_iter().filter(|channel| channel.opened.initialized());
        open.filter_map(|channel| channel.state().next_due()).min()
    }

    fn publish(&self, channel: &Channel, now: Instant) {
        let mut state = channel.state();
        let Some(head) = state.newest.take() else { return };
        let (chunks, room) = (state.take_pending(), channel.room);
        state.head = head;
        let Ok(catalog) = self.edge().map(|edge| edge.catalog()) else { return };
        if state.viewers > 0 && !chunks.is_empty() {
            let frame = tick::frame(room, &chunks, &state.head, &catalog, state.watching());
            self.fanout.frame(room, &frame, Some(state.head.last()), &channel.lags);
        }
        let since_slowed = now.duration_since(state.slowed);
        if let Some(tick) = pace::other(&self.options, state.tick, channel.lags.longest(), since_slowed) {
            if tick > state.tick {
                state.slowed = now;
            }
            state.tick = tick;
            let level = ServerFrame::Level { room: room_text(room), tick_ms: millis(tick) };
            self.fanout.frame(room, &encode(&level), None, &channel.lags);
        }
        // By the clock and not by the last frame, so that one that was late does not make the next one late.
        state.due = (state.due + state.tick).max(now + state.tick.mul_f64(0.75));
    }

    async fn fill_and_publish(self: Arc<Self>, edge: Arc<dyn Edge>, channel: Arc<Channel>) {
        let is_read = self.fill(&*edge, &channel).await;
        let now = Instant::now();
        let mut state = channel.state();
        state.is_filling = false;
        if !is_read {
            state.fill_at = now + FILL_AGAIN;
        }
        drop(state);
        if is_read {
            self.publish(&channel, now);
        }
    }

    /// Reads what did not come as news; whether it could.
    async fn fill(&self, edge: &dyn Edge, channel: &Channel) -> bool {
        for _ in 0..FILL_PAGES_MAX {
            let after = RoomSeq(channel.state().next().get() - 1);
            let Ok(page) = edge.feed(channel.room, after, 1_000).await else { return false };
            let is_end = page.items.last().map_or(after, |(number, _)| *number) >= page.head.last();
            let mut state = channel.state();
            // News may have come meanwhile that begin where this did.
            let next = state.next();
            let items: Vec<_> = page.items.into_iter().filter(|(at, _)| *at >= next).map(|(_, item)| item).collect();
            if !items.is_empty() {
                state.push(Chunk { first: next, items: items.into() });
            }
            if page.head.next == state.next() {
                state.newest = Some(page.head);
            }
            if is_end {
                state.has_hole = state.lacks_some();
                return !state.has_hole;
            }
        }
        false
    }

    async fn channel(&self, room: RoomId) -> Result<Arc<Channel>, Problem> {
        let new = || Channel::new(room, self.options.tick, self.fanout.lags());
        let channel = Arc::clone(self.channels().entry(room).or_insert_with(new));
        if let Err(problem) = channel.opened.get_or_try_init(|| self.open(&channel)).await {
            // Whoever asks for rooms that do not exist leaves nothing behind.
            // Somebody else may be about to try the same, which then is not for nothing.
            let is_ours = |kept: &Arc<Channel>| {
                Arc::ptr_eq(kept, &channel) && Arc::strong_count(&channel) == 2 && !kept.opened.initialized()
            };
            let mut channels = self.channels();
            if channels.get(&room).is_some_and(is_ours) {
                channels.remove(&room);
                if let Ok(edge) = self.edge() {
                    edge.unfollow(room);
                }
            }
            return Err(problem);
        }
        Ok(channel)
    }

    async fn open(&self, channel: &Channel) -> Result<(), Problem> {
        let edge = self.edge()?;
        // News gather from before this, so none falls between.
        edge.follow(channel.room);
        let head = edge.head(channel.room).await?;
        channel.state().open(head);
        Ok(())
    }

    /// Lets a socket into a room: from where it was, if that can be made up for, or else from now on.
    pub(super) async fn join(
        &self,
        room: RoomId,
        user: UserId,
        socket: &Arc<Socket>,
        since: Option<&Since>,
    ) -> Result<(Arc<Channel>, Arc<Member>), Problem> {
        let channel = self.channel(room).await?;
        let mut missed: Vec<Chunk> = Vec::new();
        let is_same = |head: &RoomHead, since: &Since| epoch_text(head.began) == since.epoch;
        let from = since.filter(|since| is_same(&channel.state().head, since)).map(|since| RoomSeq(since.seq));
        let mut reached = from;
        for round in 0..=RECOVER_ROUNDS_MAX {
            let published = {
                let mut state = channel.state();
                let published = state.head.last();
                let is_lost = from.is_some_and(|from| {
                    from > published
                        || published.get() - from.get() > RECOVERED_MAX as u64
                        || round == RECOVER_ROUNDS_MAX
                });
                if reached.is_none_or(|reached| reached >= published) || is_lost {
                    let recovered = from.filter(|_| !is_lost).map(|from| (from, &missed[..]));
                    // Of another feed nothing is known here.
                    let last_known = since.map(|_| from.unwrap_or(RoomSeq::NONE));
                    let catalog = self.edge()?.catalog();
                    let member = self.enter(room, &mut state, socket, recovered, last_known, &catalog);
                    drop(state);
                    channel.present().enter(user);
                    return Ok((channel, member));
                }
                published
            };
            let after = reached.unwrap_or(published);
            let limit = usize::try_from(published.get() - after.get()).unwrap_or(usize::MAX).min(TICK_ITEMS_MAX);
            let page = self.edge()?.feed(room, after, limit).await?;
            if page.items.is_empty() {
                // The store is catching up.
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            reached = page.items.last().map(|(number, _)| *number);
            let items: Vec<_> = page.items.into_iter().map(|(_, item)| item).collect();
            missed.push(Chunk { first: after.next(), items: items.into() });
        }
        unreachable!("the last round lets the socket in")
    }

    /// Under the room's lock, so that the next tick is the one that goes on right behind.
    fn enter(
        &self,
        room: RoomId,
        state: &mut ChannelState,
        socket: &Arc<Socket>,
        recovered: Option<(RoomSeq, &[Chunk])>,
        last_known: Option<RoomSeq>,
        catalog: &Catalog,
    ) -> Arc<Member> {
        state.viewers += 1;
        let published = state.head.last();
        let gap = match (recovered, last_known) {
            (None, Some(last)) if last < published => Some(Gap { from: last.next(), to: published }),
            _ => None,
        };
        let from = recovered.map_or(published, |(from, _)| from);
        socket.push(state.joined(room, from, recovered.is_some(), gap, catalog));
        for chunk in recovered.map_or(&[][..], |(_, missed)| missed) {
            socket.push(tick::frame_again(room, chunk, &state.head, catalog, state.watching()));
        }
        let number = self.members.fetch_add(1, Ordering::Relaxed);
        let member = Arc::new(Member::new(Arc::clone(socket), number, published));
        self.fanout.join(room, &member);
        member
    }

    /// When its user, who is gone with it, last sent something here, if that was lately.
    pub(super) fn leave(&self, channel: &Channel, member: &Arc<Member>, user: UserId) -> Option<Instant> {
        let (mut state, now) = (channel.state(), Instant::now());
        (state.viewers, state.used) = (state.viewers - 1, now);
        drop(state);
        self.fanout.leave(channel.room, member);
        channel.present().leave(user, now)
    }

    /// Takes a member that missed ticks to where the room is, and tells it what it missed.
    pub(super) fn skip_forward(&self, channel: &Channel, member: &Member) {
        let Ok(catalog) = self.edge().map(|edge| edge.catalog()) else { return };
        let state = channel.state();
        let (at, published) = (RoomSeq(member.at.load(Ordering::Acquire)), state.head.last());
        let gap = (at < published).then(|| Gap { from: at.next(), to: published });
        member.socket.push(state.joined(channel.room, published, false, gap, &catalog));
        member.at.store(published.get(), Ordering::Release);
        member.is_behind.store(false, Ordering::Release);
    }
}
