//! What one client says, from its first frame to its last.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use largesse_engine::units::{RoomId, Time, UserId};
use metrics::counter;
use rand::RngExt;
use tokio::net::TcpStream;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, error::CapacityError};

use crate::auth::tokens::Shown;
use crate::edge::Arrival;
use crate::error::ErrorCode;
use crate::language::Language;
use crate::problem::Problem;
use crate::time_text::Rfc3339;
use crate::trace::Trace;
use crate::wire::IdText;
use crate::ws::channel::{Channel, millis};
use crate::ws::edge::{Edge, Sender};
use crate::ws::fanout::Member;
use crate::ws::frames::{Bye, ClientFrame, SendFrame, ServerFrame, Since, encode, room_text};
use crate::ws::hub::Running;
use crate::ws::options::{FRAMES_BURST, FRAMES_PER_SECOND, MESSAGE_BYTES_MAX, ROOMS_MAX, SENDS_MAX, SKIPS_MAX};
use crate::ws::send;
use crate::ws::socket::{Socket, Stream};

/// Bytes that are read before others get their turn.
const READ_AT_ONCE: usize = 32 << 10;
/// What waits for a client that is let go may still take this long.
const LAST_WORDS: Duration = Duration::from_secs(1);

struct Session {
    edge: Arc<dyn Edge>,
    running: Arc<Running>,
    socket: Arc<Socket>,
    began: Instant,
    who: Option<Who>,
    rooms: Vec<(Arc<Channel>, Arc<Member>)>,
    /// Gifts whose outcome is not known yet.
    sends: Arc<AtomicUsize>,
    allowance: Allowance,
    heard: Instant,
    pinged: Instant,
    skips: (u32, Instant),
}

#[derive(Clone)]
struct Who {
    sender: Sender,
    until: Time,
}

/// How many frames may still come now.
struct Allowance {
    frames: f64,
    bytes: f64,
    at: Instant,
}

/// Why nothing more is read: the client is gone, or is told why.
type Over = Option<Bye>;

/// Serves one client until it ends. `read` is what came right behind the request.
pub async fn serve(edge: Arc<dyn Edge>, running: Arc<Running>, tcp: TcpStream, read: Bytes) {
    let config = WebSocketConfig::default()
        // Each socket has one, and most of what clients say is short.
        .read_buffer_size(512)
        .write_buffer_size(0)
        .max_write_buffer_size(4 << 10)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    // A copy: what was read lies in a buffer of 8 KB, which this would keep for as long as the socket lives.
    let mut context = WebSocketContext::from_partially_read(read.to_vec(), Role::Server, Some(config));
    drop(read);
    let mut closing = edge.hub().closing();
    let now = Instant::now();
    let mut session = Session {
        edge,
        running,
        socket: Arc::new(Socket::new(tcp)),
        began: now,
        who: None,
        rooms: Vec::new(),
        sends: Arc::default(),
        allowance: Allowance::new(now),
        heard: now,
        pinged: now,
        skips: (0, now),
    };
    let over = loop {
        let wake_at = session.next_wake();
        tokio::select! {
            ready = session.socket.ready() => if ready.is_err() { break None },
            () = session.socket.wake.notified() => {}
            () = tokio::time::sleep_until(wake_at.into()) => {}
            _ = closing.wait_for(|is_closing| *is_closing) => break Some(Bye::GoingAway),
        }
        if let Err(over) = session.go_on(&mut context).await {
            break over;
        }
    };
    Box::pin(session.end(context, over)).await;
}

impl Session {
    /// Everything that can be done now.
    async fn go_on(&mut self, context: &mut WebSocketContext) -> Result<(), Over> {
        self.socket.drain().map_err(|_| None)?;
        if self.socket.is_broken() {
            return Err(None);
        }
        self.catch_up()?;
        self.read(context).await?;
        self.watch_the_clock()
    }

    async fn read(&mut self, context: &mut WebSocketContext) -> Result<(), Over> {
        let mut left = READ_AT_ONCE;
        loop {
            let socket = Arc::clone(&self.socket);
            let before = left;
            let read = context.read(&mut Stream { socket: &socket, left: &mut left });
            self.allowance.take_bytes(before - left).map_err(Some)?;
            match read {
                Ok(Message::Text(text)) => {
                    self.heard();
                    self.allowance.take_frame().map_err(Some)?;
                    self.frame(&text).await?;
                }
                Ok(Message::Ping(_) | Message::Pong(_)) => {
                    self.heard();
                    self.allowance.take_frame().map_err(Some)?;
                }
                Ok(Message::Binary(_) | Message::Frame(_)) => return Err(Some(Bye::Protocol)),
                Ok(Message::Close(_)) => return Err(None),
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(Error::ConnectionClosed | Error::AlreadyClosed | Error::Io(_)) => return Err(None),
                Err(Error::Capacity(CapacityError::MessageTooLong { .. }) | _) => return Err(Some(Bye::Protocol)),
            }
        }
    }

    fn heard(&mut self) {
        self.heard = Instant::now();
    }

    async fn frame(&mut self, text: &str) -> Result<(), Over> {
        let frame = match serde_json::from_str::<ClientFrame<'_>>(text) {
            Ok(frame) => frame,
            Err(error) => {
                self.complain(None, &Problem::bad_request(format!("this frame does not fit: {error}")))?;
                // Whoever has not said who it is has no second try.
                return if self.who.is_some() { Ok(()) } else { Err(Some(Bye::Unauthenticated)) };
            }
        };
        match (frame, &self.who) {
            (ClientFrame::Auth { token }, _) => self.auth(&token),
            (_, None) => Err(Some(Bye::Unauthenticated)),
            // In a box: a socket that is quiet should not keep room for what it does once.
            (ClientFrame::Join { room, since }, Some(who)) => {
                let user = who.sender.user;
                Box::pin(self.join(RoomId(room.0), user, since.as_ref())).await
            }
            (ClientFrame::Leave { room }, Some(_)) => self.leave(RoomId(room.0)),
            (ClientFrame::Send(frame), Some(who)) => self.send(frame, who.sender.clone()),
            (ClientFrame::Ping {}, Some(_)) => self.say(&ServerFrame::Pong {}),
        }
    }

    fn auth(&mut self, token: &str) -> Result<(), Over> {
        let before = self.who.as_ref().map(|who| who.sender.user);
        let Shown { user, until, is_read_only } = match self.edge.viewer(token) {
            Ok(told) => told,
            Err(problem) => {
                self.complain(None, &problem)?;
                // A socket that has shown a good token goes on with that.
                return if before.is_some() { Ok(()) } else { Err(Some(Bye::Unauthenticated)) };
            }
        };
        if before.is_some_and(|before| before != user) {
            return self.complain(None, &Problem::forbidden("a socket is one user's; connect again for another"));
        }
        let token = self.edge.keeps_tokens().then(|| token.into());
        self.who = Some(Who { sender: Sender { user, is_read_only, token }, until });
        self.say(&ServerFrame::Hello {
            user_id: IdText::from(user),
            server_time: Rfc3339(self.edge.now()),
            expires_at: Rfc3339(until),
            ping_ms: millis(self.edge.hub().options.ping_every),
            frames_per_second: FRAMES_PER_SECOND,
        })
    }

    async fn join(&mut self, room: RoomId, user: UserId, since: Option<&Since>) -> Result<(), Over> {
        // Again: from where it says it stands. Nobody has left for that.
        let sent = self.part(room);
        if self.rooms.len() >= ROOMS_MAX {
            let detail = format!("a socket can be in {ROOMS_MAX} rooms; leave one first");
            return self.complain(Some(room), &Problem::bad_request(detail));
        }
        self.running.notices.came(user);
        match self.running.join(room, user, &self.socket, since).await {
            Ok((channel, member)) => {
                if let Some(sent) = sent {
                    channel.present().sent(user, sent);
                }
                self.rooms.push((channel, member));
                Ok(())
            }
            Err(problem) => {
                if sent.is_some() {
                    self.running.notices.gone(room, user);
                }
                self.complain(Some(room), &problem)
            }
        }
    }

    fn leave(&mut self, room: RoomId) -> Result<(), Over> {
        if let (Some(_), Some(who)) = (self.part(room), &self.who) {
            self.running.notices.gone(room, who.sender.user);
        }
        self.say(&ServerFrame::Left { room: room_text(room) })
    }

    /// When its user, who is gone with it, last sent something here, if that was lately.
    fn part(&mut self, room: RoomId) -> Option<Instant> {
        let place = self.rooms.iter().position(|(channel, _)| channel.room == room);
        let (Some(place), Some(who)) = (place, &self.who) else { return None };
        let (channel, member) = self.rooms.swap_remove(place);
        self.running.leave(&channel, &member, who.sender.user)
    }

    fn send(&mut self, frame: SendFrame, sender: Sender) -> Result<(), Over> {
        if self.sends.fetch_add(1, Ordering::AcqRel) >= SENDS_MAX {
            self.sends.fetch_sub(1, Ordering::AcqRel);
            let detail = format!("at most {SENDS_MAX} gifts of one socket can be under way; nothing was done");
            let problem = Problem::new(ErrorCode::Overloaded, detail);
            let trace = self.trace();
            return self.say(&send::refused(&frame.id, &problem, trace));
        }
        if let Some((channel, _)) = self.rooms.iter().find(|(channel, _)| channel.room.0 == frame.room.0) {
            channel.present().sent(sender.user, self.heard);
        }
        let (edge, socket, sends) = (Arc::clone(&self.edge), Arc::clone(&self.socket), Arc::clone(&self.sends));
        let arrival = Arrival { trace: self.trace(), at: self.heard };
        tokio::spawn(async move {
            let answer = edge.send(sender, arrival, frame).await;
            sends.fetch_sub(1, Ordering::AcqRel);
            // One that reads so slowly that there is no place for its answer is let go by its session.
            if !socket.push(answer) {
                socket.shut();
            }
        });
        Ok(())
    }

    fn trace(&self) -> Trace {
        self.edge.trace()
    }

    /// Takes rooms in which this socket missed something to where they are, once what waits for it is out.
    fn catch_up(&mut self) -> Result<(), Over> {
        let is_behind = self.rooms.iter().any(|(_, member)| member.is_behind.load(Ordering::Acquire));
        if !is_behind || self.socket.has_queued() {
            return Ok(());
        }
        let now = Instant::now();
        if now.duration_since(self.skips.1) > Duration::from_secs(60) {
            self.skips = (0, now);
        }
        self.skips.0 += 1;
        if self.skips.0 > SKIPS_MAX {
            return Err(Some(Bye::SlowReader));
        }
        for (channel, member) in &self.rooms {
            if member.is_behind.load(Ordering::Acquire) {
                self.running.skip_forward(channel, member);
            }
        }
        Ok(())
    }

    /// When something is due even if nothing comes.
    fn next_wake(&self) -> Instant {
        let options = &self.edge.hub().options;
        let Some(who) = &self.who else { return self.began + options.auth_timeout };
        let left = Duration::from_millis(who.until.get().saturating_sub(self.edge.now().get()));
        (self.pinged.max(self.heard) + options.ping_every).min(Instant::now() + left)
    }

    fn watch_the_clock(&mut self) -> Result<(), Over> {
        let (now, options) = (Instant::now(), &self.edge.hub().options);
        let Some(who) = &self.who else {
            let is_late = now >= self.began + options.auth_timeout;
            return if is_late { Err(Some(Bye::AuthTimeout)) } else { Ok(()) };
        };
        if self.edge.now() >= who.until {
            return Err(Some(Bye::TokenExpired));
        }
        if now >= self.heard + options.ping_every.mul_f64(2.5) {
            return Err(Some(Bye::Idle));
        }
        if now >= self.pinged.max(self.heard) + options.ping_every {
            self.pinged = now;
            let mut ping = Vec::new();
            Frame::ping(Bytes::new()).format(&mut ping).expect("a vector takes every byte");
            return self.push(ping.into());
        }
        Ok(())
    }

    fn complain(&self, room: Option<RoomId>, problem: &Problem) -> Result<(), Over> {
        let problem = problem.written(self.trace(), Language::default());
        self.say(&ServerFrame::Error { room: room.map(room_text), problem })
    }

    fn say(&self, frame: &ServerFrame<'_>) -> Result<(), Over> {
        self.push(encode(frame))
    }

    fn push(&self, frame: Bytes) -> Result<(), Over> {
        if self.socket.push(frame) { Ok(()) } else { Err(Some(Bye::SlowReader)) }
    }

    /// Says why, and when to come back, to whoever is still there.
    async fn end(mut self, mut context: WebSocketContext, over: Over) {
        while let Some(room) = self.rooms.last().map(|(channel, _)| channel.room) {
            let sent = self.part(room).filter(|_| over != Some(Bye::GoingAway));
            if let (Some(_), Some(who)) = (sent, &self.who) {
                self.running.notices.gone(room, who.sender.user);
            }
        }
        if let Some(bye) = over {
            counter!("largesse_ws_byes_total", "code" => bye.code()).increment(1);
            let reconnect_after_ms = self.reconnect_after(bye);
            self.socket.push(encode(&ServerFrame::Bye { code: bye.code(), reconnect_after_ms }));
        }
        let socket = Arc::clone(&self.socket);
        let mut left = 0;
        let _closed = context.close(&mut Stream { socket: &socket, left: &mut left }, None);
        let last_words = async {
            while socket.has_queued() && socket.ready().await.is_ok() && socket.drain().is_ok() {}
            socket.shut_writing();
            // What is not read when a connection closes makes the kernel take back what was written.
            socket.read_to_end().await;
        };
        let _patience_ended = tokio::time::timeout(LAST_WORDS, last_words).await;
        socket.shut();
    }

    /// Each client at a moment of its own, so that a process that ends is no storm for the others.
    fn reconnect_after(&self, bye: Bye) -> u64 {
        let within = millis(self.edge.hub().options.reconnect_within);
        match bye {
            Bye::GoingAway | Bye::Overloaded => rand::rng().random_range(0..=within),
            Bye::SlowReader | Bye::TooFast => within + rand::rng().random_range(0..=within),
            Bye::AuthTimeout | Bye::TokenExpired | Bye::Unauthenticated | Bye::Idle | Bye::Protocol => 0,
        }
    }
}

impl Allowance {
    fn new(now: Instant) -> Allowance {
        Allowance { frames: f64::from(FRAMES_BURST), bytes: Self::BYTES_BURST, at: now }
    }

    const BYTES_BURST: f64 = 256.0 * 1_024.0;
    const BYTES_PER_SECOND: f64 = 64.0 * 1_024.0;

    fn fill(&mut self) {
        let now = Instant::now();
        let seconds = now.duration_since(self.at).as_secs_f64();
        self.at = now;
        self.frames = (self.frames + seconds * f64::from(FRAMES_PER_SECOND)).min(f64::from(FRAMES_BURST));
        self.bytes = (self.bytes + seconds * Self::BYTES_PER_SECOND).min(Self::BYTES_BURST);
    }

    fn take_frame(&mut self) -> Result<(), Bye> {
        self.fill();
        self.frames -= 1.0;
        if self.frames < 0.0 { Err(Bye::TooFast) } else { Ok(()) }
    }

    /// Pieces of one message are no frames of their own, so their bytes count.
    fn take_bytes(&mut self, bytes: usize) -> Result<(), Bye> {
        if bytes == 0 {
            return Ok(());
        }
        self.fill();
        self.bytes -= bytes as f64;
        if self.bytes < 0.0 { Err(Bye::TooFast) } else { Ok(()) }
    }
}
