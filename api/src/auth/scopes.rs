//! What a service's key may be used for.

use std::fmt;

macro_rules! scopes {
    ($($(#[$doc:meta])* $scope:ident = $name:literal, $bit:literal;)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Scope {
            $($(#[$doc])* $scope,)*
        }

        impl Scope {
            pub const ALL: &[Scope] = &[$(Scope::$scope,)*];

            pub const fn name(self) -> &'static str {
                match self { $(Scope::$scope => $name,)* }
            }

            const fn bit(self) -> u8 {
                match self { $(Scope::$scope => 1 << $bit,)* }
            }
        }
    };
}

scopes! {
    /// Balances, history and receipts of any user.
    Read = "read", 0;
    /// Send gifts for any user.
    Gifts = "gifts", 1;
    /// Report payments, for which coins are issued.
    Recharges = "recharges", 2;
    /// Move assets between accounts.
    Transfers = "transfers", 3;
    /// In a transfer, credit more than is debited.
    Issue = "issue", 4;
    /// Open, change and close rooms.
    Rooms = "rooms", 5;
    /// What a gateway asks of the process behind it.
    Gateway = "gateway", 6;
}

/// The name that stands for every scope, also those that come later.
pub const ALL: &str = "all";

/// What all paths begin with that are for gateways only.
pub const INTERNAL: &str = "/internal/";

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    pub const NONE: Scopes = Scopes(0);
    pub const ALL: Scopes = Scopes(u8::MAX);

    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// From their names; the error is the first that is none.
    pub fn parse<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Scopes, String> {
        names.into_iter().try_fold(Scopes::NONE, |scopes, name| {
            Scopes::of(name).map(|more| Scopes(scopes.0 | more.0)).ok_or_else(|| name.to_owned())
        })
    }

    /// From names that were stored. One of a later version grants nothing here.
    pub fn stored(names: &[String]) -> Scopes {
        let known = names.iter().filter_map(|name| Scopes::of(name));
        known.fold(Scopes::NONE, |scopes, more| Scopes(scopes.0 | more.0))
    }

    fn of(name: &str) -> Option<Scopes> {
        if name == ALL {
            return Some(Scopes::ALL);
        }
        Scope::ALL.iter().find(|scope| scope.name() == name).map(|scope| Scopes(scope.bit()))
    }

    pub fn names(self) -> Vec<&'static str> {
        if self == Scopes::ALL {
            return vec![ALL];
        }
        Scope::ALL.iter().filter(|scope| self.has(**scope)).map(|scope| scope.name()).collect()
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.names().join("+"))
    }
}

/// The scope that a route of the public port asks of a service; none for a route that this does not know, so that a new
/// one is closed to keys with fewer than all scopes until somebody decides.
pub fn of_route(method: &http::Method, route: &str) -> Option<Scope> {
    let last = route.rsplit('/').next().unwrap_or_default();
    let is_question = method == http::Method::GET || method == http::Method::HEAD || last.ends_with(":query");
    match route {
        "/v1/rooms/{room}/gifts" => Some(Scope::Gifts),
        "/v1/recharges" => Some(Scope::Recharges),
        "/v1/transfers:batch" => Some(Scope::Transfers),
        _ if route.starts_with(INTERNAL) => Some(Scope::Gateway),
        _ if is_question => Some(Scope::Read),
        _ if route.starts_with("/v1/rooms/") => Some(Scope::Rooms),
        _ if route.starts_with("/openapi/") => match last {
            "changeassets" => Some(Scope::Transfers),
            "sendgift" => Some(Scope::Gifts),
            "getassets" | "getassetrecords" | "listgift" => Some(Scope::Read),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    #[test]
    fn names_are_read_and_written() {
        let some = Scopes::parse(["read", "gifts"]).unwrap();
        assert!(some.has(Scope::Read) && some.has(Scope::Gifts) && !some.has(Scope::Issue));
        assert_eq!(some.names(), ["read", "gifts"]);
        assert_eq!(Scopes::parse(["all"]), Ok(Scopes::ALL));
        assert_eq!(Scopes::ALL.names(), ["all"]);
        assert_eq!(Scopes::parse(["read", "Gifts"]), Err("Gifts".to_owned()));
        assert_eq!(Scopes::stored(&["read".into(), "of-a-later-version".into()]).names(), ["read"]);
    }

    #[test]
    fn every_route_asks_for_its_scope() {
        for (method, route, scope) in [
            (Method::POST, "/v1/rooms/{room}/gifts", Some(Scope::Gifts)),
            (Method::GET, "/v1/users/{user}/balances", Some(Scope::Read)),
            (Method::POST, "/v1/balances:query", Some(Scope::Read)),
            (Method::POST, "/v1/recharges", Some(Scope::Recharges)),
            (Method::POST, "/v1/transfers:batch", Some(Scope::Transfers)),
            (Method::PUT, "/v1/rooms/{room}", Some(Scope::Rooms)),
            (Method::POST, "/openapi/payment/station/v1/changeassets", Some(Scope::Transfers)),
            (Method::POST, "/openapi/payment/da/v1/getassets", Some(Scope::Read)),
            (Method::GET, "/internal/rooms/{room}/feed", Some(Scope::Gateway)),
            (Method::POST, "/v1/something-new", None),
            (Method::DELETE, "/v1/users/{user}", None),
        ] {
            assert_eq!(of_route(&method, route), scope, "{method} {route}");
        }
    }
}
