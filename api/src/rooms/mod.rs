//! Rooms: what goes on in one, as a page, as a list, and as it happens.

pub mod item;
