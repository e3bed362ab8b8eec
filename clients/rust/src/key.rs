//! Idempotency keys.

use sha2::{Digest, Sha256};
use uuid::Builder;

/// A fresh UUIDv7. Its time is the server's, as far as it is known: one that is ahead would be refused.
pub fn mint(server_now: u64) -> String {
    Builder::from_unix_timestamp_millis(server_now, &rand::random()).into_uuid().to_string()
}

/// Under which id a payment is found: it has no key of its own but its channel and number there.
pub fn of_payment(channel: &str, transaction: &str) -> String {
    let mut hash = Sha256::new();
    for part in ["recharge", channel, transaction] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Whether the server would take a key: up to 128 printable ASCII characters.
pub fn is_usable(key: &str) -> bool {
    (1..=128).contains(&key.len()) && key.bytes().all(|byte| (0x20..0x7f).contains(&byte)) && key.trim() == key
}

/// A key as one segment of a path.
pub fn in_path(key: &str) -> String {
    let mut path = String::with_capacity(key.len());
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    pub fn time_of(key: &str) -> Option<u64> {
        let uuid = Uuid::try_parse(key).ok()?;
        let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
        Some(seconds * 1_000 + u64::from(nanos / 1_000_000))
    }

    #[test]
    fn keys_are_fresh_and_have_the_time() {
        let (one, two) = (mint(1_700_000_000_123), mint(1_700_000_000_123));
        assert_ne!(one, two);
        assert_eq!(time_of(&one), Some(1_700_000_000_123));
        assert_eq!(Uuid::try_parse(&one).unwrap().get_version_num(), 7);
    }

    #[test]
    fn keys_that_the_server_would_not_take_are_known() {
        for good in ["a", "order 7", &mint(1), &"x".repeat(128)] {
            assert!(is_usable(good), "{good}");
        }
        for bad in ["", " a", "ä", "a\n", &"x".repeat(129)] {
            assert!(!is_usable(bad), "{bad}");
        }
        assert_eq!(in_path("a/b c%"), "a%2Fb%20c%25");
    }
}
