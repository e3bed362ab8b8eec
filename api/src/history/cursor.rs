//! Where a list goes on, as text.
//!
//! What a user received is kept by where it came from. That place says which shard the sender's account is on, and in a room of
//! a few hundred that is nearly who gave anonymously. So users get it sealed, with a key that only the ledger's own processes
//! have; services know the senders anyway.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use largesse_engine::units::UserId;
use sha2::{Digest, Sha256};

use crate::history::items::{Reader, Side};

const CHARS_MAX: usize = 1_024;
const PLAIN: u8 = 1;
const SEALED: u8 = 2;
const HEAD: usize = 11;

/// A list, as one reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    pub side: Side,
    pub user: UserId,
    pub reader: Reader,
}

/// Where a page goes on: at a place of the store's, less the first items of the event there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub store: Option<Bytes>,
    pub skip: u8,
}

pub struct CursorSeal(Aes256Gcm);

impl CursorSeal {
    /// Processes with the same secret read each other's cursors.
    pub fn new(secret: &str) -> CursorSeal {
        let key: [u8; 32] = Sha256::new_with_prefix("largesse history cursor ").chain_update(secret).finalize().into();
        CursorSeal(Aes256Gcm::new(&key.into()))
    }

    fn seal(&self, head: &[u8], place: &[u8]) -> Vec<u8> {
        let nonce: [u8; 12] = rand::random();
        let payload = Payload { msg: place, aad: head };
        let sealed = self.0.encrypt(&Nonce::from(nonce), payload).expect("a place is short");
        [&nonce[..], &sealed].concat()
    }

    fn open(&self, head: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<12>()?;
        self.0.decrypt(&Nonce::from(*nonce), Payload { msg: sealed, aad: head }).ok()
    }
}

impl List {
    fn is_sealed(self) -> bool {
        self.side == Side::Received && self.reader == Reader::User
    }

    /// It names its list, so that a cursor of another user or side is noticed.
    fn head(self, skip: u8) -> [u8; HEAD] {
        let mut head = [if self.is_sealed() { SEALED } else { PLAIN }, self.side as u8, skip, 0, 0, 0, 0, 0, 0, 0, 0];
        head[3..].copy_from_slice(&self.user.get().to_le_bytes());
        head
    }
}

impl Cursor {
    pub fn encode(&self, list: List, seal: &CursorSeal) -> String {
        let head = list.head(self.skip);
        let mut bytes = head.to_vec();
        if let Some(store) = &self.store {
            bytes.push(1);
            match list.is_sealed() {
                true => bytes.extend(seal.seal(&head, store)),
                false => bytes.extend_from_slice(store),
            }
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// `None` for what was not made for this list.
    pub fn decode(text: &str, list: List, seal: &CursorSeal) -> Option<Cursor> {
        if text.len() > CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (head, store) = bytes.split_at_checked(HEAD)?;
        let skip = head[2];
        if *head != list.head(skip) {
            return None;
        }
        let store = match store {
            [] => None,
            [1, sealed @ ..] if list.is_sealed() => Some(seal.open(head, sealed)?.into()),
            [1, store @ ..] => Some(Bytes::copy_from_slice(store)),
            _ => return None,
        };
        Some(Cursor { store, skip })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: UserId = UserId(3001);
    const SENT: List = List { side: Side::Sent, user: USER, reader: Reader::User };
    const RECEIVED: List = List { side: Side::Received, ..SENT };
    const BY_SERVICE: List = List { reader: Reader::Service, ..RECEIVED };

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let seal = CursorSeal::new("secret");
        let lists =
            [SENT, RECEIVED, BY_SERVICE, List { user: UserId(1), ..SENT }, List { user: UserId(1), ..RECEIVED }];
        for cursor in [
            Cursor { store: Some(Bytes::from_static(b"place")), skip: 3 },
            Cursor { store: None, skip: 1 },
            Cursor::default(),
        ] {
            for list in lists {
                let text = cursor.encode(list, &seal);
                for other in lists {
                    let want = (list == other).then_some(&cursor);
                    assert_eq!(Cursor::decode(&text, other, &seal).as_ref(), want, "{list:?} {other:?}");
                }
                for bad in ["", "?", "AAAA", &text[..8], &format!("{text}="), &"A".repeat(2_000)] {
                    assert_eq!(Cursor::decode(bad, list, &seal), None, "{bad}");
                }
            }
        }
    }

    #[test]
    fn what_a_user_received_does_not_show_where_it_came_from() {
        let place = Bytes::from_static(b"shard-7-at-seq-9");
        let cursor = Cursor { store: Some(place.clone()), skip: 0 };
        let shows = |list| {
            let bytes = URL_SAFE_NO_PAD.decode(cursor.encode(list, &CursorSeal::new("secret"))).unwrap();
            bytes.windows(place.len()).any(|window| window == place)
        };
        assert_eq!([SENT, RECEIVED, BY_SERVICE].map(shows), [true, false, true]);
        let text = cursor.encode(RECEIVED, &CursorSeal::new("secret"));
        assert_eq!(Cursor::decode(&text, RECEIVED, &CursorSeal::new("another")), None);
        assert_eq!(Cursor::decode(&text, RECEIVED, &CursorSeal::new("secret")), Some(cursor));
    }
}
