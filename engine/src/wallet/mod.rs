//! The rules about money, and nothing but rules.

pub mod command;
pub mod event;
pub mod outcome;

pub mod books;
mod decide;
pub mod outbox;
pub mod rows;
mod stored;
pub mod wallets;
pub mod window;

#[cfg(test)]
mod tests;
