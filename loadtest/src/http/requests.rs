//! Requests as bytes, written once; of a gift only its key changes from one time to the next.

use std::net::SocketAddr;

use largesse_engine::units::Time;
use uuid::Uuid;

/// Whose gifts they are.
#[derive(Clone, Debug)]
pub struct Viewer {
    pub user: u64,
    /// What the server takes for proof of it.
    pub token: String,
}

/// A gift of one viewer, with room for its key.
#[derive(Clone, Debug)]
pub struct GiftRequest {
    bytes: Vec<u8>,
    key_at: usize,
}

pub const KEY_CHARS: usize = 36;

impl GiftRequest {
    pub fn new(address: SocketAddr, room: u64, gift: u32, viewer: &Viewer, host: u64) -> GiftRequest {
        let body = format!(r#"{{"gift_id":{gift},"count":1,"to":["{host}"]}}"#);
        let head = format!(
            "POST /v1/rooms/{room}/gifts HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nIdempotency-Key: ",
            viewer.token,
            body.len()
        );
        let key_at = head.len();
        let bytes = format!("{head}{}\r\n\r\n{body}", "0".repeat(KEY_CHARS)).into_bytes();
        GiftRequest { bytes, key_at }
    }

    /// Writes a fresh key into it.
    pub fn with_key(&mut self, now: Time, random: [u8; 10]) -> (&[u8], &[u8]) {
        let id: Uuid = uuid::Builder::from_unix_timestamp_millis(now.get(), &random).into_uuid();
        let key = self.key_at..self.key_at + KEY_CHARS;
        id.hyphenated().encode_lower(&mut self.bytes[key.clone()]);
        (&self.bytes, &self.bytes[key])
    }
}

/// Any other request, as a service.
pub fn request(method: &str, path: &str, address: SocketAddr, bearer: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {bearer}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_changes() {
        let viewer = Viewer { user: 7, token: "a.b.c".into() };
        let mut gift = GiftRequest::new("127.0.0.1:80".parse().unwrap(), 1_001, 1, &viewer, 2_001);
        let first = gift.with_key(Time(0x0123_4567_89ab), [1; 10]);
        let (first, key) = (String::from_utf8(first.0.into()).unwrap(), String::from_utf8(first.1.into()).unwrap());
        assert!(key.starts_with("01234567-89ab-7"), "{key}");
        assert!(
            first.ends_with(&format!("Idempotency-Key: {key}\r\n\r\n{{\"gift_id\":1,\"count\":1,\"to\":[\"2001\"]}}"))
        );
        assert!(first.contains("Content-Length: 37\r\n"), "{first}");
        let (second, _) = gift.with_key(Time(0x0123_4567_89ac), [2; 10]);
        assert_eq!(second.len(), first.len());
        assert_ne!(second, first.as_bytes());
    }
}
