//! What can be set about WebSocket, and what cannot.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct WsOptions {
    /// Sockets of this process at a time. Default: 100,000.
    pub sockets_max: usize,
    /// How long a client may take to say who it is. Default: 5 s.
    pub auth_timeout: Duration,
    /// How often a socket is asked whether anybody is there; one that is silent for two and a half times this is let go.
    /// Default: 25 s.
    pub ping_every: Duration,
    /// How often a room's news are sent, when there are any and while sending keeps up. Default: 100 ms.
    pub tick: Duration,
    /// Longest between two ticks, however many watch. Default: 10 s.
    pub tick_longest: Duration,
    /// Within this time clients come back when the process ends, each at a moment of its own. Default: 5 s.
    pub reconnect_within: Duration,
}

impl Default for WsOptions {
    fn default() -> Self {
        WsOptions {
            sockets_max: 100_000,
            auth_timeout: Duration::from_secs(5),
            ping_every: Duration::from_secs(25),
            tick: Duration::from_millis(100),
            tick_longest: Duration::from_secs(10),
            reconnect_within: Duration::from_secs(5),
        }
    }
}

/// Largest frame, and largest message, that a client may send.
pub const MESSAGE_BYTES_MAX: usize = 16 << 10;
/// Frames that a client may send at once, and per second after that.
pub const FRAMES_BURST: u32 = 60;
pub const FRAMES_PER_SECOND: u32 = 20;
/// Rooms that one socket may be in.
pub const ROOMS_MAX: usize = 4;
/// Gifts of one socket whose outcome is not known yet.
pub const SENDS_MAX: usize = 16;
/// What may wait for a client that reads slowly; beyond, it is let go.
pub const QUEUED_BYTES_MAX: usize = 256 << 10;
/// What the kernel may hold for one client; it takes twice as much.
pub const SEND_BUFFER_BYTES: usize = 64 << 10;
/// How often a slow reader may be taken forward to where the room is, within a minute; then it is let go.
pub const SKIPS_MAX: u32 = 5;
/// Entries that a client who comes back is sent again; whoever missed more is told what.
pub const RECOVERED_MAX: usize = 1_000;
/// Entries in one tick; the rest of a busy one is summed up.
pub const TICK_ITEMS_MAX: usize = 100;
