//! Times as callers read and write them: RFC 3339 with milliseconds, always in UTC.

use std::fmt;

use largesse_engine::units::Time;
use serde::{Serialize, Serializer};

const DAY_MILLIS: u64 = 86_400_000;

/// Writes a time as `2026-01-31T23:59:59.999Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rfc3339(pub Time);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, in_day) = (self.0.get() / DAY_MILLIS, self.0.get() % DAY_MILLIS);
        let (year, month, day) = civil(days);
        let (hour, minute) = (in_day / 3_600_000, in_day / 60_000 % 60);
        let (second, milli) = (in_day / 1_000 % 60, in_day % 1_000);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads milliseconds since the epoch or RFC 3339 with any offset.
pub fn parse(text: &str) -> Option<Time> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Time);
    }
    let bytes = text.as_bytes();
    if bytes.len() < 20 || !text.is_ascii() {
        return None;
    }
    let separators_fit = bytes[4] == b'-'
        && bytes[7] == b'-'
        && matches!(bytes[10], b'T' | b't')
        && bytes[13] == b':'
        && bytes[16] == b':';
    let (year, month, day) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..10])?);
    let (hour, minute, second) = (number(&text[11..13])?, number(&text[14..16])?, number(&text[17..19])?);
    let is_date = (1..=12).contains(&month) && day >= 1 && day <= days_of(year, month) && year >= 1970;
    if !separators_fit || !is_date || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, offset) = split_fraction(&text[19..])?;
    let millis = days_since_epoch(year, month, day) * DAY_MILLIS
        + hour * 3_600_000
        + minute * 60_000
        + second * 1_000
        + fraction;
    millis.checked_add_signed(-offset).map(Time)
}

/// Milliseconds of the fraction, and the offset from UTC in milliseconds.
fn split_fraction(rest: &str) -> Option<(u64, i64)> {
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 || digits > 9 {
                return None;
            }
            let padded = format!("{:0<3}", &rest[..digits]);
            (number(&padded[..3])?, &rest[digits..])
        }
        None => (0, rest),
    };
    let sign = match zone.as_bytes() {
        [b'Z' | b'z'] => return Some((fraction, 0)),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let (hours, minutes) = (number(&zone[1..3])?, number(&zone[4..6])?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let offset = i64::try_from(hours * 3_600_000 + minutes * 60_000).expect("less than a day");
    Some((fraction, sign * offset))
}

fn number(digits: &str) -> Option<u64> {
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn days_of(year: u64, month: u64) -> u64 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Howard Hinnant, "chrono-compatible low-level date algorithms": years begin in March, so a leap day comes last.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn days_since_epoch(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_written_and_read() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_210_096_789, "2024-02-29T12:34:56.789Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Rfc3339(Time(millis)).to_string(), text);
            assert_eq!(parse(text), Some(Time(millis)));
        }
    }

    #[test]
    fn every_day_of_centuries_comes_back() {
        for day in (0..100_000).step_by(7) {
            let time = Time(day * DAY_MILLIS + 1);
            assert_eq!(parse(&Rfc3339(time).to_string()), Some(time));
        }
    }

    #[test]
    fn offsets_fractions_and_milliseconds_are_read() {
        assert_eq!(parse("2024-02-29T20:34:56.7+08:00"), Some(Time(1_709_210_096_700)));
        assert_eq!(parse("2024-02-29T12:34:56Z"), Some(Time(1_709_210_096_000)));
        assert_eq!(parse("1709210096789"), Some(Time(1_709_210_096_789)));
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            "",
            "now",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-02-29 12:34:56Z",
            "2024-02-29T24:00:00Z",
            "2024-02-29T12:34:56",
            "2024-02-29T12:34:56.Z",
            "2024-02-29T12:34:56+0800",
            "1970-01-01T00:00:00+01:00",
            "-5",
            "99999999999999999999",
            "２０２４-02-29T12:34:56Z",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
