//! How often one caller may ask: per user, per service's key, per address. Each rule is off unless it is configured.
//!
//! A caller's place costs one look-up in a sharded table and one atomic step. The table has a limit: whoever has been
//! quiet the longest is forgotten, and starts afresh.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use governor::clock::{Clock, MonotonicClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use http::{HeaderMap, HeaderValue};
use largesse_engine::units::UserId;
use metrics::{Counter, counter};
use quick_cache::UnitWeighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

use crate::auth::Caller;
use crate::error::ErrorCode;
use crate::problem::{Extras, Problem};

/// So many requests within such a time, all at once or spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub requests: NonZeroU32,
    pub per: Duration,
}

#[derive(Clone, Debug)]
pub struct RateOptions {
    pub user: Option<Rate>,
    pub key: Option<Rate>,
    pub address: Option<Rate>,
    /// Callers remembered at a time, per rule. Default: 200,000.
    pub tracked_max: usize,
    /// Proxies in front that add to `X-Forwarded-For`; 0 takes the address of the connection. Default: 0.
    pub proxies: usize,
}

impl Default for RateOptions {
    fn default() -> Self {
        RateOptions { user: None, key: None, address: None, tracked_max: 200_000, proxies: 0 }
    }
}

/// Where a connection comes from, beside its requests in their extensions.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// How a caller stands with the rule that is nearest to its end, for the headers of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    rule: &'static str,
    quota: u32,
    window_seconds: u64,
    remaining: u32,
    reset_seconds: u64,
}

/// Carries a standing from where the caller is known to where the answer leaves.
#[derive(Clone, Debug, Default)]
pub struct StandingNote(Arc<OnceLock<Standing>>);

pub struct Rates<C: Clock = MonotonicClock> {
    user: Option<Table<UserId, C>>,
    key: Option<Table<Arc<str>, C>>,
    address: Option<Table<IpAddr, C>>,
    proxies: usize,
}

struct Table<K, C: Clock> {
    rule: &'static str,
    rate: Rate,
    quota: Quota,
    cells: Cache<K, Arc<Cell<C>>, UnitWeighter, foldhash::quality::RandomState>,
    clock: C,
    rejected: Counter,
}

type Cell<C> = RateLimiter<NotKeyed, InMemoryState, C, StateInformationMiddleware>;

impl Rates {
    /// None where no rule is on: then nothing is looked up.
    pub fn new(options: &RateOptions) -> Option<Rates> {
        Rates::with_clock(options, MonotonicClock)
    }
}

impl<C: Clock + Clone> Rates<C> {
    fn with_clock(options: &RateOptions, clock: C) -> Option<Rates<C>> {
        if options.user.is_none() && options.key.is_none() && options.address.is_none() {
            return None;
        }
        let tracked = options.tracked_max;
        Some(Rates {
            user: options.user.and_then(|rate| Table::new("user", rate, tracked, clock.clone())),
            key: options.key.and_then(|rate| Table::new("key", rate, tracked, clock.clone())),
            address: options.address.and_then(|rate| Table::new("address", rate, tracked, clock.clone())),
            proxies: options.proxies,
        })
    }

    /// Judges where a request comes from, before anything is done for it.
    pub fn admit_address(&self, peer: Option<Peer>, headers: &HeaderMap, note: &StandingNote) -> Result<(), Problem> {
        let Some(table) = &self.address else { return Ok(()) };
        let address = address(peer, headers, self.proxies);
        let told = table.admit(&network(address));
        // A caller that is known has a standing of its own, which says more.
        if told.is_err() || (self.user.is_none() && self.key.is_none()) {
            note.write(told.unwrap_or_else(|refused| refused.0));
        }
        told.map(drop).map_err(Refused::problem)
    }

    /// Judges who makes a request, once that is known.
    pub fn admit_caller(&self, caller: &Caller, note: Option<&StandingNote>) -> Result<(), Problem> {
        let told = match (caller, &self.user, &self.key) {
            (Caller::Viewer(user) | Caller::Reader(user), Some(table), _) => table.admit(user),
            (Caller::Service(service), _, Some(table)) => table.admit(&service.name),
            (Caller::Viewer(_) | Caller::Reader(_) | Caller::Service(_) | Caller::Admin(_), _, _) => return Ok(()),
        };
        if let Some(note) = note {
            note.write(told.unwrap_or_else(|refused| refused.0));
        }
        told.map(drop).map_err(Refused::problem)
    }
}

/// A caller who asks too often, with how he stands.
#[derive(Clone, Copy, Debug)]
struct Refused(Standing, Duration);

impl Refused {
    fn problem(self) -> Problem {
        let Standing { rule, quota, window_seconds, .. } = self.0;
        let detail = format!("more than {quota} requests of one {rule} within {window_seconds} s");
        Problem::with(ErrorCode::RateLimited, detail, Extras::RetryAfter(self.1))
    }
}

impl<K: Hash + Eq + Clone, C: Clock + Clone> Table<K, C> {
    fn new(rule: &'static str, rate: Rate, tracked_max: usize, clock: C) -> Option<Table<K, C>> {
        let hasher = foldhash::quality::RandomState::default();
        let cells = Cache::with(tracked_max, tracked_max as u64, UnitWeighter, hasher, DefaultLifecycle::default());
        let quota = Quota::with_period(rate.per / rate.requests.get())?.allow_burst(rate.requests);
        let rejected = counter!("largesse_limit_rejections_total", "rule" => rule);
        Some(Table { rule, rate, quota, cells, clock, rejected })
    }

    fn admit(&self, key: &K) -> Result<Standing, Refused> {
        let cell = self.cells.get(key).unwrap_or_else(|| {
            let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(self.cell()));
            self.cells.get_or_insert_with(key, fresh).unwrap_or_else(|never| match never {})
        });
        match cell.check() {
            Ok(state) => Ok(self.standing(state.remaining_burst_capacity())),
            Err(not_until) => {
                self.rejected.increment(1);
                Err(Refused(self.standing(0), not_until.wait_time_from(self.clock.now())))
            }
        }
    }

    fn cell(&self) -> Cell<C> {
        RateLimiter::direct_with_clock(self.quota, self.clock.clone()).with_middleware()
    }

    fn standing(&self, remaining: u32) -> Standing {
        let quota = self.rate.requests.get();
        let reset = self.quota.replenish_interval() * quota.saturating_sub(remaining);
        Standing {
            rule: self.rule,
            quota,
            window_seconds: seconds(self.rate.per),
            remaining,
            reset_seconds: seconds(reset),
        }
    }
}

/// Rounded up.
fn seconds(span: Duration) -> u64 {
    span.as_secs() + u64::from(span.subsec_nanos() > 0)
}

impl StandingNote {
    fn write(&self, standing: Standing) {
        // The first is kept: a request is judged once by whom it is from.
        let _first = self.0.set(standing);
    }

    /// `RateLimit` and `RateLimit-Policy`, as in the IETF's draft of RateLimit header fields for HTTP.
    pub fn write_into(&self, headers: &mut HeaderMap) {
        let Some(standing) = self.0.get() else { return };
        let Standing { rule, quota, window_seconds, remaining, reset_seconds } = standing;
        let text = |text: String| HeaderValue::try_from(text).expect("digits and names make a header");
        headers.insert("ratelimit-policy", text(format!("\"{rule}\";q={quota};w={window_seconds}")));
        headers.insert("ratelimit", text(format!("\"{rule}\";r={remaining};t={reset_seconds}")));
    }
}

/// The address in front of our own proxies: each of them adds the one that it was asked by at the right.
fn address(peer: Option<Peer>, headers: &HeaderMap, proxies: usize) -> IpAddr {
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let peer = peer.map_or(unknown, |peer| peer.0);
    if proxies == 0 {
        return peer;
    }
    let listed = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let listed: Vec<&str> = listed.flat_map(|value| value.split(',')).map(str::trim).collect();
    let place = listed.len().checked_sub(proxies);
    place.and_then(|place| listed[place].parse().ok()).unwrap_or(peer)
}

/// An IPv6 subscriber has a whole /64, so that counts as one address.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        },
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    fn rate(requests: u32, seconds: u64) -> Option<Rate> {
        Some(Rate { requests: NonZeroU32::new(requests).unwrap(), per: Duration::from_secs(seconds) })
    }

    fn headers(note: &StandingNote) -> (String, String) {
        let mut headers = HeaderMap::new();
        note.write_into(&mut headers);
        let text = |name| headers.get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned());
        (text("ratelimit-policy"), text("ratelimit"))
    }

    #[test]
    fn each_caller_has_a_place_of_his_own_that_fills_up_again() {
        let clock = FakeRelativeClock::default();
        let options = RateOptions { user: rate(3, 60), ..RateOptions::default() };
        let rates = Rates::with_clock(&options, clock.clone()).unwrap();
        let ask = |user: u64| {
            let note = StandingNote::default();
            let code = rates.admit_caller(&Caller::Viewer(UserId(user)), Some(&note)).map_err(|problem| problem.code());
            (code, headers(&note).1)
        };
        assert_eq!(ask(1), (Ok(()), "\"user\";r=2;t=20".into()));
        assert_eq!(ask(1).0, Ok(()));
        assert_eq!(ask(1), (Ok(()), "\"user\";r=0;t=60".into()));
        assert_eq!(ask(1), (Err(ErrorCode::RateLimited), "\"user\";r=0;t=60".into()));
        assert_eq!(ask(2).0, Ok(()), "another user is not concerned");
        clock.advance(Duration::from_secs(19));
        assert_eq!(ask(1).0, Err(ErrorCode::RateLimited));
        clock.advance(Duration::from_secs(1));
        assert_eq!((ask(1).0, ask(1).0), (Ok(()), Err(ErrorCode::RateLimited)));
    }

    #[test]
    fn the_headers_name_rule_quota_and_window() {
        let options = RateOptions { address: rate(5, 10), ..RateOptions::default() };
        let rates = Rates::new(&options).unwrap();
        let (note, peer) = (StandingNote::default(), Some(Peer(IpAddr::V4(Ipv4Addr::LOCALHOST))));
        rates.admit_address(peer, &HeaderMap::new(), &note).unwrap();
        assert_eq!(headers(&note), ("\"address\";q=5;w=10".into(), "\"address\";r=4;t=2".into()));
        assert!(rates.admit_caller(&Caller::Viewer(UserId(1)), None).is_ok(), "that rule is off");
        assert!(Rates::new(&RateOptions::default()).is_none());
    }

    #[test]
    fn memory_is_bounded_however_many_come() {
        let options = RateOptions { user: rate(3, 60), tracked_max: 100, ..RateOptions::default() };
        let rates = Rates::new(&options).unwrap();
        for user in 1..=10_000 {
            rates.admit_caller(&Caller::Viewer(UserId(user)), None).unwrap();
        }
        let tracked = rates.user.as_ref().unwrap().cells.len();
        assert!((1..=128).contains(&tracked), "{tracked}");
    }

    #[test]
    fn an_address_is_taken_from_where_it_cannot_be_made_up() {
        let peer = Some(Peer("10.0.0.1".parse().unwrap()));
        let mut headers = HeaderMap::new();
        headers.append("x-forwarded-for", HeaderValue::from_static("6.6.6.6, 1.2.3.4"));
        headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.2"));
        let at = |proxies| address(peer, &headers, proxies).to_string();
        assert_eq!([at(0), at(1), at(2), at(9)], ["10.0.0.1", "10.0.0.2", "1.2.3.4", "10.0.0.1"]);
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(network("::ffff:1.2.3.4"), "1.2.3.4");
    }
}
