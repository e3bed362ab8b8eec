//! What goes over a socket: JSON texts, one object each, told apart by `type`.

use std::borrow::Cow;

use bytes::Bytes;
use largesse_engine::units::{RoomId, RoomSeq, Time};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use smallvec::SmallVec;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::problem::Written;
use crate::receipts::GiftReceipt;
use crate::rooms::item::{ItemBody, TotalBody};
use crate::time_text::Rfc3339;
use crate::wire::{Id, IdText, Whole};

/// The name of the protocol, which both sides must know.
pub const SUBPROTOCOL: &str = "largesse.v1.json";

/// What a client says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientFrame<'a> {
    /// First, and again before the token ends.
    Auth {
        #[serde(borrow)]
        token: Cow<'a, str>,
    },
    Join {
        room: Id,
        /// Where the client stood when it was here before.
        #[serde(default)]
        since: Option<Since>,
    },
    Leave {
        room: Id,
    },
    /// A gift, with the meaning of the call over HTTP; `id` is the idempotency key, so a retry may go either way.
    Send(SendFrame),
    /// Whether anybody is there, for clients that cannot ping.
    Ping {},
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendFrame {
    pub id: String,
    pub room: Id,
    pub gift_id: u32,
    pub count: Whole,
    pub to: SmallVec<[Id; 4]>,
    #[serde(default)]
    pub combo_id: Option<Id>,
    /// Whether nobody is told whose gift it is.
    #[serde(default)]
    pub anonymous: bool,
    #[serde(default)]
    pub price_seen: Option<Whole>,
    /// The room's pass, where gifts need one.
    #[serde(default)]
    pub pass: Option<String>,
    /// Until when it may be decided, in milliseconds since 1970.
    #[serde(default)]
    pub deadline: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    pub epoch: String,
    pub seq: u64,
}

/// What the server says.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerFrame<'a> {
    Hello {
        user_id: IdText,
        server_time: Rfc3339,
        /// When the token ends; another `auth` before that keeps the socket.
        expires_at: Rfc3339,
        /// How often the server asks whether anybody is there.
        ping_ms: u64,
        frames_per_second: u32,
    },
    Joined(Joined<'a>),
    Left {
        room: IdText,
    },
    Tick(Tick<'a>),
    /// How often ticks come from now on.
    Level {
        room: IdText,
        tick_ms: u64,
    },
    Result {
        id: &'a str,
        status: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        receipt: Option<GiftReceipt<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<Written>,
    },
    /// A `result` in the words of the process that decided.
    #[serde(rename = "result")]
    Answered {
        id: &'a str,
        status: u16,
        #[serde(skip_serializing_if = "Option::is_none")]
        receipt: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<&'a RawValue>,
    },
    /// A frame of the client's that was not understood, or not done.
    Error {
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<IdText>,
        problem: Written,
    },
    Pong {},
    Bye {
        code: &'static str,
        reconnect_after_ms: u64,
    },
}

/// Where a client stands in a room from now on.
#[derive(Debug, Serialize)]
pub struct Joined<'a> {
    pub room: IdText,
    pub epoch: String,
    /// Where the client stands: the first tick that follows goes on right behind.
    pub room_seq: RoomSeq,
    /// Whether everything since the client was here comes next, in order.
    pub recovered: bool,
    /// What it missed and does not get; the feed over HTTP has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
    pub live: LiveNow,
    /// The entry up to which the totals count.
    pub as_of: RoomSeq,
    /// Sums of this live.
    pub totals: Vec<TotalBody<'a>>,
    pub viewers: u64,
    pub tick_ms: u64,
}

#[derive(Debug, Serialize)]
pub struct LiveNow {
    pub number: u32,
    pub state: &'static str,
}

/// Both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    pub from: RoomSeq,
    pub to: RoomSeq,
}

/// Everything that a room showed from one entry to another: some entries whole, and the sums of the others.
#[derive(Debug, Serialize)]
pub struct Tick<'a> {
    pub room: IdText,
    pub epoch: String,
    /// Both ends included; the next tick goes on right behind.
    pub from: RoomSeq,
    pub to: RoomSeq,
    pub items: Vec<ItemBody<'a>>,
    /// What the entries that are not in `items` add, per asset.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rest: Vec<Rest<'a>>,
    /// Streaks that ended in entries that are not in `items`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub combos_ended: Vec<RoomSeq>,
    /// Sums of this live as of `to`; not in ticks that a client is sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<Vec<TotalBody<'a>>>,
    pub viewers: u64,
}

/// The sum of deltas that are not shown one by one.
#[derive(Debug, Serialize)]
pub struct Rest<'a> {
    pub delta: RestDelta<'a>,
    pub events: u64,
}

#[derive(Debug, Serialize)]
pub struct RestDelta<'a> {
    pub count: u64,
    pub value: u64,
    pub asset: Cow<'a, str>,
}

/// Why a socket is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bye {
    AuthTimeout,
    TokenExpired,
    Unauthenticated,
    TooFast,
    SlowReader,
    Idle,
    Protocol,
    Overloaded,
    GoingAway,
}

impl Bye {
    pub fn code(self) -> &'static str {
        match self {
            Bye::AuthTimeout => "auth_timeout",
            Bye::TokenExpired => "token_expired",
            Bye::Unauthenticated => "unauthenticated",
            Bye::TooFast => "too_fast",
            Bye::SlowReader => "slow_reader",
            Bye::Idle => "idle",
            Bye::Protocol => "protocol",
            Bye::Overloaded => "overloaded",
            Bye::GoingAway => "going_away",
        }
    }
}

/// One text frame, ready for any number of sockets.
pub fn encode(frame: &ServerFrame<'_>) -> Bytes {
    let json = serde_json::to_vec(frame).expect("frames are plain data");
    let mut bytes = Vec::with_capacity(json.len() + 10);
    let frame = Frame::message(json, OpCode::Data(Data::Text), true);
    frame.format(&mut bytes).expect("a vector takes every byte");
    Bytes::from(bytes)
}

pub fn room_text(room: RoomId) -> IdText {
    IdText::from(room)
}

pub fn epoch_text(began: Time) -> String {
    began.get().to_string()
}
