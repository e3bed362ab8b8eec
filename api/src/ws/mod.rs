//! WebSocket: what a room shows, as it happens, and gifts sent the same way.
//!
//! A frame for a room is encoded once and written to each socket by a few threads of their own ([`fanout`]), without waking
//! the task that reads from that socket. So what a viewer costs is one system call a tick. The rules of the protocol are in
//! `docs/websocket.md`. Modules in reading order:

pub mod edge;
pub mod frames;
pub mod options;

mod channel;
pub(crate) mod crowd;
mod fanout;
mod hub;
pub(crate) mod later;
mod notices;
mod pace;
mod present;
pub(crate) mod send;
mod session;
mod socket;
mod tick;
pub mod upgrade;

pub use hub::Hub;
pub use options::WsOptions;
