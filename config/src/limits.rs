//! `[limits]`: how often one caller may ask.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::values::span;

/// `[limits]`: rates per caller; each rule that is not given is off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LimitsConfig {
    /// Requests of one viewer, such as "600 per 1 min". Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_user: Option<RateLimit>,
    /// Requests with one service's key. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_key: Option<RateLimit>,
    /// Requests from one address, or one /64 of IPv6, before anything is done for them. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_address: Option<RateLimit>,
    /// Callers remembered at a time, per rule; whoever was quiet the longest is forgotten. Default: 200000.
    pub tracked_max: usize,
    /// Own proxies in front that add to X-Forwarded-For; 0 takes the connection's address. Default: 0.
    pub proxies: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        LimitsConfig { per_user: None, per_key: None, per_address: None, tracked_max: 200_000, proxies: 0 }
    }
}

/// So many requests within such a time: `"600 per 1 min"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub requests: NonZeroU32,
    pub per: Duration,
}

impl FromStr for RateLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a rate; write requests and a time span, such as \"600 per 1 min\"");
        let (requests, per) = text.split_once(" per ").ok_or_else(wrong)?;
        let requests = requests.trim().parse().map_err(|_| wrong())?;
        let per = humantime::parse_duration(per.trim()).map_err(|_| wrong())?;
        let is_sane = (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(&per);
        if is_sane { Ok(RateLimit { requests, per }) } else { Err(wrong()) }
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}", self.requests, span::to_text(self.per))
    }
}

impl Serialize for RateLimit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RateLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_and_written_as_people_say_them() {
        for (text, written) in [("600 per 1 min", "600 per 1 min"), ("5 per 10s", "5 per 10 s")] {
            assert_eq!(text.parse::<RateLimit>().unwrap().to_string(), written);
        }
        for bad in ["", "600", "0 per 1 s", "-1 per 1 s", "5 per 0 s", "5 per minute", "5 per 2 days", "5/s"] {
            assert!(bad.parse::<RateLimit>().is_err(), "{bad}");
        }
    }
}
