//! A client of Largesse that moves money once, whatever happens on the way.
//!
//! It makes the idempotency key and keeps it, with the whole request, in an [`outbox`] before anything is sent. It tries
//! again with the same key, and asks what became of a key whose answer was lost. So there are three outcomes and no
//! fourth: applied, with a receipt; refused or given up, and that is proven; or still open, and then it is in the outbox
//! and [`Client::resume`] goes on with it, after a restart as well. Nothing is ever reported as failed that may have been
//! applied.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use largesse_client::{Client, FileOutbox, Gift, Options};
//!
//! let outbox = FileOutbox::open("gifts.outbox")?;
//! let client = Client::open(Options::new("https://pay.example.com", "the viewer's token"), outbox).await?;
//! for settled in client.resume().await {
//!     println!("{}: {:?}", settled.id, settled.outcome);
//! }
//! let receipt = client.send_gift(Gift::new(1001, 9, 10, [2001, 2002])).await?;
//! println!("{} coins are left", receipt.balance_after);
//! # Ok(())
//! # }
//! ```
//!
//! It depends on no other crate of Largesse and knows the HTTP API only.

mod backoff;
mod client;
mod clock;
mod drive;
mod exchange;
mod key;
pub mod outbox;
mod problem;
mod read;
mod wire;

pub use client::{Bearer, Client, ClientError, Failure, Options, Renew, Settled, Token, TokenSource};
pub use outbox::file::FileOutbox;
pub use outbox::{Entry, Intent, MemoryOutbox, Outbox, OutboxError};
pub use problem::{Code, Problem};
pub use read::{
    Balance, Balances, Catalog, CatalogGift, HistoryItem, HistoryPage, HistoryQuery, ReadError, UserBalances,
};
pub use wire::{Change, Gift, GiftReceipt, Position, Receipt, Recharge, RechargeReceipt, Transfer, TransferReceipt};
