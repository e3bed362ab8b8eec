//! The two languages that answers to people come in.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::HeaderValue;
use http::header::ACCEPT_LANGUAGE;
use http::request::Parts;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    #[default]
    English,
    Chinese,
}

impl Language {
    pub const ALL: [Language; 2] = [Language::English, Language::Chinese];

    pub fn tag(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Chinese => "zh",
        }
    }

    /// The one that `Accept-Language` prefers; English where it names neither or cannot be read.
    pub fn preferred(accept: Option<&HeaderValue>) -> Language {
        let Some(accept) = accept.and_then(|accept| accept.to_str().ok()) else { return Language::default() };
        let mut best = (Language::default(), 0);
        for range in accept.split(',') {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let weight = parts.find_map(|part| part.trim().strip_prefix("q=")).map_or(Some(1_000), thousandths);
            let (Some(language), Some(weight)) = (Language::of_tag(tag), weight) else { continue };
            if weight > best.1 {
                best = (language, weight);
            }
        }
        best.0
    }

    fn of_tag(tag: &str) -> Option<Language> {
        let primary = tag.split('-').next().unwrap_or_default();
        if primary.eq_ignore_ascii_case("zh") {
            Some(Language::Chinese)
        } else if primary.eq_ignore_ascii_case("en") || primary == "*" {
            Some(Language::English)
        } else {
            None
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Language {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Language::preferred(parts.headers.get(ACCEPT_LANGUAGE)))
    }
}

fn thousandths(weight: &str) -> Option<u16> {
    let weight: f32 = weight.trim().parse().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1,000")]
    (0.0..=1.0).contains(&weight).then_some((weight * 1_000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preferred_language_wins() {
        for (accept, want) in [
            ("zh", Language::Chinese),
            ("zh-Hans-CN,zh;q=0.9,en;q=0.8", Language::Chinese),
            ("en-GB", Language::English),
            ("en;q=0.5, ZH-TW;q=0.8", Language::Chinese),
            ("fr, de;q=0.9", Language::English),
            ("fr, zh;q=0.1", Language::Chinese),
            ("*", Language::English),
            ("zh;q=0", Language::English),
            ("zh;q=x, en", Language::English),
            ("", Language::English),
            (";;;,,,", Language::English),
        ] {
            let accept = HeaderValue::from_str(accept).unwrap();
            assert_eq!(Language::preferred(Some(&accept)), want, "{accept:?}");
        }
        assert_eq!(Language::preferred(None), Language::English);
    }
}
