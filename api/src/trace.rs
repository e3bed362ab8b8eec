//! Trace ids as in W3C trace context: taken from the caller where given, made here otherwise.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderMap, HeaderValue};
use largesse_engine::wallet::event::TraceId;

pub const TRACEPARENT: &str = "traceparent";

/// What one request is known by in answers, logs and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub id: TraceId,
    flags: u8,
}

impl Trace {
    pub fn of(headers: &HeaderMap, fresh: &FreshIds) -> Trace {
        let given = headers.get(TRACEPARENT).and_then(|value| Trace::parse(value.as_bytes()));
        given.unwrap_or_else(|| Trace { id: fresh.trace(), flags: 0 })
    }

    /// `00-<32 hex>-<16 hex>-<2 hex>`, in lower case; later versions may have more behind it.
    fn parse(value: &[u8]) -> Option<Trace> {
        let dashes_fit = value.len() >= 55 && value[2] == b'-' && value[35] == b'-' && value[52] == b'-';
        if !dashes_fit {
            return None;
        }
        let version = hex::<1>(&value[..2])?[0];
        let end_fits = if version == 0 { value.len() == 55 } else { value.len() == 55 || value[55] == b'-' };
        let id = hex::<16>(&value[3..35])?;
        let parent = hex::<8>(&value[36..52])?;
        let flags = hex::<1>(&value[53..55])?[0];
        (version != 0xff && end_fits && id != [0; 16] && parent != [0; 8]).then_some(Trace { id, flags })
    }

    /// The header of the answer: the same trace with a span of this server's.
    pub fn header(&self, span: [u8; 8]) -> HeaderValue {
        let mut text = [0; 55];
        text[..3].copy_from_slice(b"00-");
        write_hex(&self.id, &mut text[3..35]);
        text[35] = b'-';
        write_hex(&span, &mut text[36..52]);
        text[52] = b'-';
        write_hex(&[self.flags], &mut text[53..55]);
        HeaderValue::from_bytes(&text).expect("hex digits and dashes make a header")
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        write_hex(&self.id, &mut text);
        f.write_str(std::str::from_utf8(&text).expect("hex digits are ASCII"))
    }
}

/// Makes ids that differ within and between processes without asking the system for each.
#[derive(Debug, Default)]
pub struct FreshIds {
    hashers: [RandomState; 2],
    next: AtomicU64,
}

impl FreshIds {
    fn trace(&self) -> TraceId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let halves = [&self.hashers[0], &self.hashers[1]].map(|hasher| hasher.hash_one(number).max(1));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&halves[0].to_be_bytes());
        id[8..].copy_from_slice(&halves[1].to_be_bytes());
        id
    }

    pub fn span(&self) -> [u8; 8] {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.hashers[0].hash_one(number).max(1).to_be_bytes()
    }
}

fn hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn write_hex(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_traceparent_is_carried_on() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = Trace::parse(given.as_bytes()).unwrap();
        assert_eq!(trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        let answer = trace.header([0xab; 8]);
        assert_eq!(answer, "00-4bf92f3577b34da6a3ce929d0e0e4736-abababababababab-01");
        assert!(Trace::parse(format!("01{}-more", &given[2..]).as_bytes()).is_some());
    }

    #[test]
    fn a_bad_one_is_replaced() {
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Trace::parse(bad.as_bytes()), None, "{bad}");
        }
        let fresh = FreshIds::default();
        let one = Trace::of(&HeaderMap::new(), &fresh);
        assert_ne!(one, Trace::of(&HeaderMap::new(), &fresh));
        assert_eq!(Trace::parse(one.header(fresh.span()).as_bytes()), Some(one));
    }
}
