//! `[rooms]`: what holds for every room.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::check::Checks;

/// `[rooms]`: what holds for every room.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct RoomsConfig {
    /// Seconds that a streak waits for another tap before it ends, 1 to 60. Default: 5.
    pub combo_seconds: u64,
    /// Where days and weeks of business begin: `UTC`, or a fixed offset such as `+08:00`. Default: UTC.
    pub business_zone: ZoneOffset,
    /// Streams of rooms' events that may be open at a time. Default: 1000.
    pub streams_max: usize,
    /// Of those, how many one viewer, or one service's key, may have. Default: 16.
    pub streams_per_caller: usize,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        RoomsConfig { combo_seconds: 5, business_zone: ZoneOffset::UTC, streams_max: 1_000, streams_per_caller: 16 }
    }
}

impl RoomsConfig {
    pub(crate) fn check(&self, checks: &mut Checks) {
        checks.that((1..=60).contains(&self.combo_seconds), "rooms.combo-seconds", "must be 1 to 60");
        checks.at_least_one(self.streams_max, "rooms.streams-max");
        checks.at_least_one(self.streams_per_caller, "rooms.streams-per-caller");
    }
}

/// A time zone that never changes its offset: a day of business that was begun cannot become longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneOffset {
    /// East of UTC.
    pub minutes: i32,
}

impl ZoneOffset {
    pub const UTC: ZoneOffset = ZoneOffset { minutes: 0 };
    /// The largest offset that any place has had.
    const HOURS_MAX: i32 = 14;
}

impl FromStr for ZoneOffset {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a fixed offset; write `UTC`, or hours and minutes such as \"+08:00\"");
        if text == "UTC" {
            return Ok(ZoneOffset::UTC);
        }
        let (sign, rest) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (1, rest),
            (None, Some(rest)) => (-1, rest),
            (None, None) => return Err(wrong()),
        };
        let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
        let number = |digits: &str| {
            let is_two = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
            if is_two { digits.parse::<i32>().map_err(|_| wrong()) } else { Err(wrong()) }
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        let total = 60 * hours + minutes;
        let is_sane = minutes < 60 && total <= 60 * ZoneOffset::HOURS_MAX;
        if is_sane { Ok(ZoneOffset { minutes: sign * total }) } else { Err(wrong()) }
    }
}

impl fmt::Display for ZoneOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.minutes {
            0 => return f.write_str("UTC"),
            1.. => '+',
            _ => '-',
        };
        let minutes = self.minutes.unsigned_abs();
        write!(f, "{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    }
}

impl Serialize for ZoneOffset {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ZoneOffset {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_read_and_written_as_people_say_them() {
        for (text, minutes) in [("UTC", 0), ("+08:00", 480), ("-03:30", -210), ("+14:00", 840), ("+05:45", 345)] {
            let zone: ZoneOffset = text.parse().unwrap();
            assert_eq!((zone.minutes, zone.to_string().as_str()), (minutes, text));
        }
        assert_eq!("+00:00".parse(), Ok(ZoneOffset::UTC));
        for bad in
            ["", "utc", "8", "+8", "+8:00", "+0800", "08:00", "+14:01", "+08:60", "+ 8:00", "Asia/Shanghai", "-é:00"]
        {
            assert!(bad.parse::<ZoneOffset>().is_err(), "{bad}");
        }
    }
}
