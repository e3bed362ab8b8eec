//! The HTTP edge. It translates, nothing more: requests into what the engine understands, and its words into answers.
//!
//! It holds no money, no queue and no truth of its own. Modules in reading order:

pub mod error;
pub mod language;
pub mod problem;
pub mod refusals;
pub mod time_text;
pub mod trace;
pub mod wire;

pub mod auth;
pub mod metrics;
pub mod options;
pub mod state;

pub mod cors;
pub mod payments;
pub mod rates;
pub mod room_pass;
pub mod signed;
pub mod until;

pub mod admission;
pub mod edge;
pub mod extract;
pub mod openapi;

pub mod assets;
pub mod balances;
pub mod callbacks;
pub mod catalog;
pub mod dev;
pub mod docs;
pub mod gifts;
pub mod history;
pub mod internal;
pub mod keys;
pub mod ops;
pub mod receipts;
pub mod recharges;
pub mod rooms;
pub mod station;
pub mod transfers;
pub mod ws;

pub mod gateway;
pub mod router;
pub mod serve;

pub use options::ApiOptions;
pub use router::{admin_router, public_router};
pub use serve::{ConnectionLimits, serve, serve_with};
pub use state::{ApiState, Readiness};
