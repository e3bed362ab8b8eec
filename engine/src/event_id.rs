//! The caller's idempotency key as 128 bits.

use std::fmt;

use bincode::{Decode, Encode};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::units::Time;

/// Longest key that a caller may send, in characters.
pub const KEY_CHARS_MAX: usize = 128;

/// A UUIDv7, which has a time, or a UUIDv4, which has none. Every other key is folded into one of the two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId([u8; 16]);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key is empty")]
    Empty,
    #[error("the key has {0} characters; at most {KEY_CHARS_MAX} are allowed")]
    TooLong(usize),
    #[error("the key may only have printable ASCII characters")]
    NotPrintable,
}

/// A key as it was sent: the id it stands for and, unless that writes back to the same string, the string itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallerKey {
    pub id: EventId,
    pub text: Option<Box<str>>,
}

impl CallerKey {
    /// Reads a UUIDv7 or UUIDv4 as it is, a ULID as the v7 of its time, and hashes any other string.
    pub fn parse(key: &str) -> Result<CallerKey, KeyError> {
        let chars = key.chars().count();
        if chars == 0 {
            return Err(KeyError::Empty);
        }
        if chars > KEY_CHARS_MAX {
            return Err(KeyError::TooLong(chars));
        }
        if !key.bytes().all(|byte| (0x20..0x7f).contains(&byte)) {
            return Err(KeyError::NotPrintable);
        }
        let id = parse_uuid(key).or_else(|| parse_ulid(key)).unwrap_or_else(|| EventId::hashed("key", &[key]));
        let text = (id.to_string() != key).then(|| key.into());
        Ok(CallerKey { id, text })
    }
}

impl EventId {
    /// A fresh v7 id made of a time and 74 bits that the caller drew at random.
    pub fn v7(time: Time, random: [u8; 10]) -> EventId {
        EventId(uuid::Builder::from_unix_timestamp_millis(time.get(), &random).into_uuid().into_bytes())
    }

    /// The v4-shaped hash of something named, with its kind so that equal strings of two kinds differ.
    pub fn hashed(kind: &str, parts: &[&str]) -> EventId {
        let mut hash = Sha256::new();
        for part in std::iter::once(&kind).chain(parts) {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        EventId(uuid::Builder::from_random_bytes(bytes).into_uuid().into_bytes())
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> EventId {
        EventId(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The time that a v7 id carries; a v4 id has none.
    pub fn time(&self) -> Option<Time> {
        if self.0[6] >> 4 != 7 {
            return None;
        }
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&self.0[..6]);
        Some(Time(u64::from_be_bytes(millis)))
    }

    /// Under which id the event is stored: a v7 id is in time order already; any other gets the time of its event.
    pub fn stored_as(&self, at: Time) -> EventId {
        if self.time().is_some() {
            return *self;
        }
        let mut random = [0; 10];
        random.copy_from_slice(&self.0[6..]);
        EventId::v7(at, random)
    }
}

fn parse_uuid(key: &str) -> Option<EventId> {
    let uuid = (key.len() == 36).then(|| Uuid::try_parse(key).ok()).flatten()?;
    let is_rfc_variant = uuid.get_variant() == uuid::Variant::RFC4122;
    (is_rfc_variant && matches!(uuid.get_version_num(), 4 | 7)).then(|| EventId(uuid.into_bytes()))
}

/// A ULID (ulid/spec): 26 characters of Crockford's base 32, 48 bits of milliseconds and 80 random bits.
fn parse_ulid(key: &str) -> Option<EventId> {
    if key.len() != 26 {
        return None;
    }
    let mut value: u128 = 0;
    for (place, byte) in key.bytes().enumerate() {
        const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
        let digit = DIGITS.iter().position(|digit| *digit == byte.to_ascii_uppercase())?;
        if place == 0 && digit > 7 {
            return None; // More than 128 bits.
        }
        value = (value << 5) | digit as u128;
    }
    let time = u64::try_from(value >> 80).ok()?;
    let rest = format!("{:020x}", value & ((1 << 80) - 1));
    let mut random = [0; 10];
    random.copy_from_slice(&EventId::hashed("ulid", &[&rest]).0[..10]);
    Some(EventId::v7(Time(time), random))
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl serde::Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Encode for EventId {
    fn encode<E: bincode::enc::Encoder>(&self, encoder: &mut E) -> Result<(), bincode::error::EncodeError> {
        self.0.encode(encoder)
    }
}

impl<Context> Decode<Context> for EventId {
    fn decode<D: bincode::de::Decoder<Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, bincode::error::DecodeError> {
        <[u8; 16]>::decode(decoder).map(EventId)
    }
}

bincode::impl_borrow_decode!(EventId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_of_version_7_and_4_are_used_as_they_are() {
        let v7 = "0190a5b0-1c4e-7d3a-8f00-0123456789ab";
        let key = CallerKey::parse(v7).unwrap();
        assert_eq!((key.id.to_string().as_str(), key.text), (v7, None));
        assert_eq!(key.id.time(), Some(Time(0x0190_a5b0_1c4e)));
        let v4 = "6f1b4c9e-53d5-4a0e-9a55-2f6d7a1e8c11";
        assert_eq!(CallerKey::parse(v4).unwrap().id.to_string(), v4);
        assert_eq!(CallerKey::parse(v4).unwrap().id.time(), None);
    }

    #[test]
    fn the_same_uuid_in_capitals_is_the_same_id_and_keeps_its_text() {
        let lower = CallerKey::parse("0190a5b0-1c4e-7d3a-8f00-0123456789ab").unwrap();
        let upper = CallerKey::parse("0190A5B0-1C4E-7D3A-8F00-0123456789AB").unwrap();
        assert_eq!(lower.id, upper.id);
        assert_eq!(upper.text.as_deref(), Some("0190A5B0-1C4E-7D3A-8F00-0123456789AB"));
    }

    #[test]
    fn a_ulid_becomes_the_v7_of_its_time() {
        let key = CallerKey::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap();
        assert_eq!(key.id.time(), Some(Time(1_469_922_850_259)));
        assert_eq!(key.text.as_deref(), Some("01ARZ3NDEKTSV4RRFFQ69G5FAV"));
        assert_ne!(key.id, CallerKey::parse("01ARZ3NDEKTSV4RRFFQ69G5FAW").unwrap().id);
    }

    #[test]
    fn other_strings_are_hashed_and_have_no_time() {
        let ksuid = CallerKey::parse("1srOrx2ZWZBpBUvZwXKQmoEYga2").unwrap();
        assert_eq!(ksuid.id.time(), None);
        assert_ne!(ksuid.id, CallerKey::parse("1srOrx2ZWZBpBUvZwXKQmoEYga3").unwrap().id);
        let v1 = CallerKey::parse("c232ab00-9414-11ec-b3c8-9f68deced846").unwrap();
        assert_eq!(v1.id.time(), None);
        assert!(v1.text.is_some());
    }

    #[test]
    fn keys_have_limits() {
        assert_eq!(CallerKey::parse(""), Err(KeyError::Empty));
        assert_eq!(CallerKey::parse(&"x".repeat(129)), Err(KeyError::TooLong(129)));
        assert!(CallerKey::parse(&"x".repeat(128)).is_ok());
        assert_eq!(CallerKey::parse("naïve"), Err(KeyError::NotPrintable));
    }

    #[test]
    fn an_id_without_time_is_stored_under_the_time_of_its_event() {
        let v4 = CallerKey::parse("6f1b4c9e-53d5-4a0e-9a55-2f6d7a1e8c11").unwrap().id;
        assert_eq!(v4.stored_as(Time(1_700_000_000_000)).time(), Some(Time(1_700_000_000_000)));
        assert_ne!(v4.stored_as(Time(1)), EventId::hashed("key", &["other"]).stored_as(Time(1)));
        let v7 = EventId::v7(Time(5), [1; 10]);
        assert_eq!(v7.stored_as(Time(9)), v7);
    }
}
