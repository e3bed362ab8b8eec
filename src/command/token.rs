//! `largesse token`: tokens for viewers, signed with the key the server checks them with.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use jsonwebtoken::{EncodingKey, Header};
use largesse_api::auth::tokens::{READ, Shown, WRITE};
use largesse_api::auth::{Auth, jwks};
use largesse_config::{Algorithm, AuthConfig, Sources, ViewerConfig};
use largesse_engine::clock::{Clock, SystemClock};
use serde::Serialize;
use serde_json::json;

use crate::command::config::{Pick, failure};
use crate::dev_keys;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::run::auth_options;

const EXAMPLES: &str = "\
Examples:
  largesse token gen --user 3001
  largesse token gen --user 42 --ttl 15m --config largesse.toml
  largesse token gen --user 3001 --scope read --ttl 12h        for the overlay: it can only look at rooms
  largesse token verify \"$TOKEN\" --config largesse.toml
  curl -H \"Authorization: Bearer $(largesse token gen --user 3001)\" http://127.0.0.1:8080/v1/me/balances";

/// Make and check viewers' tokens.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Token {
    /// Sign a token for one viewer.
    #[command(after_help = EXAMPLES)]
    Gen(Gen),
    /// Say whether a server with this configuration takes a token, and whose it is; exit code 4 if it does not.
    #[command(after_help = EXAMPLES)]
    Verify(Verify),
}

#[derive(Debug, Args)]
pub struct Verify {
    /// The token.
    #[arg(value_name = "TOKEN")]
    token: String,
    #[command(flatten)]
    signer: Signer,
}

#[derive(Debug, Args)]
pub struct Gen {
    /// Whose token it is.
    #[arg(long, value_name = "USER", value_parser = clap::value_parser!(u64).range(1..))]
    user: u64,

    /// How long it is good for.
    #[arg(long, default_value = "1h", value_name = "SPAN", value_parser = humantime::parse_duration)]
    ttl: Duration,

    /// What it allows: `read` to follow rooms, `write` for all a viewer may [default: no scope, for all].
    #[arg(long, value_name = "SCOPE", value_parser = [READ, WRITE])]
    scope: Vec<String>,

    #[command(flatten)]
    signer: Signer,
}

/// Whose keys count.
#[derive(Debug, Args)]
pub struct Signer {
    #[command(flatten)]
    pick: Pick,

    /// The data folder of `largesse dev`, whose key counts when the configuration has none.
    #[arg(long, env = "LARGESSE_DATA", default_value = "./largesse-data", value_name = "DIR")]
    data: PathBuf,
}

#[derive(Debug, Serialize)]
struct Claims<'a> {
    sub: String,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
}

/// A token with the second at which it ends.
#[derive(Clone, Debug)]
pub struct Signed {
    pub token: String,
    pub expires: u64,
}

impl Token {
    pub fn run(self, format: Format) -> Result<(), Failure> {
        match self {
            Token::Gen(generate) => generate.run(format),
            Token::Verify(verify) => verify.run(format),
        }
    }
}

impl Gen {
    fn run(&self, format: Format) -> Result<(), Failure> {
        let viewer = self.signer.auth()?.viewer;
        let scope = Some(self.scope.join(" ")).filter(|words| !words.is_empty());
        let signed = sign_for(&viewer, self.user, self.ttl, scope.as_deref())?;
        let expires = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(signed.expires)).to_string();
        let mut json = json!({"user": self.user.to_string(), "token": signed.token, "expires_at": expires});
        if let Some(words) = scope {
            json["scope"] = words.into();
        }
        output::print(format, &json, || signed.token)
    }
}

impl Verify {
    fn run(&self, format: Format) -> Result<(), Failure> {
        let config = self.signer.auth()?;
        let auth = Auth::new(&auth_options(&config)?, 0, Arc::new(SystemClock)).map_err(Failure::new)?;
        if let Some(path) = &config.viewer.jwks_file {
            let told = |error: &dyn Display| Failure::new(format_args!("{}: {error}", path.display()));
            let document = std::fs::read(path).map_err(|error| told(&error))?;
            let keys = jwks::parse(&document).map_err(|error| told(&error))?;
            auth.tokens().replace_published(keys).map_err(|error| told(&error))?;
        }
        let shown = auth.tokens().read(&self.token, SystemClock.now());
        let Shown { user, is_read_only, .. } =
            shown.map_err(|problem| Failure::new(problem.detail()).exit(Exit::Problems))?;
        let json = json!({"user": user.to_string(), "valid": true, "read_only": is_read_only});
        output::print(format, &json, || {
            let limit =
                if is_read_only { ", read-only: it looks at rooms, and neither sends nor reads accounts" } else { "" };
            format!("valid, of user {user}{limit}")
        })
    }
}

impl Signer {
    fn auth(&self) -> Result<AuthConfig, Failure> {
        let configured = self.pick.load()?.config.auth;
        let viewer = &configured.viewer;
        if viewer.key().is_some() || viewer.jwks_file.is_some() || viewer.jwks_url.is_some() {
            return Ok(configured);
        }
        let keys = dev_keys::path(&self.data);
        if !keys.exists() {
            return Err(Failure::usage("there is no key for viewers' tokens").help(
                "set auth.viewer.secret or auth.viewer.secret-file in --config, or name the data folder of \
                 `largesse dev` with --data",
            ));
        }
        let sources = Sources { file: Some(keys), ..self.pick.sources() };
        Ok(sources.load().map_err(|error| failure(&error))?.config.auth)
    }
}

/// Signs a token that a server with this configuration accepts, for all a viewer may.
pub fn sign(viewer: &ViewerConfig, user: u64, ttl: Duration) -> Result<Signed, Failure> {
    sign_for(viewer, user, ttl, None)
}

/// The same, with a `scope`.
fn sign_for(viewer: &ViewerConfig, user: u64, ttl: Duration, scope: Option<&str>) -> Result<Signed, Failure> {
    if viewer.algorithm != Algorithm::Hs256 {
        return Err(Failure::usage(
            "only HS256 tokens can be signed here: this server holds no more than a public key",
        )
        .help("ask whoever holds the private key"));
    }
    let key = viewer.key().ok_or_else(|| Failure::usage("auth.viewer has no key"))?;
    let source = key.source().ok_or_else(|| Failure::usage("auth.viewer has no key"))?;
    let secret = source.read().map_err(Failure::new)?;
    let iat = SystemClock.now().get() / 1_000;
    let exp = iat.saturating_add(ttl.as_secs());
    if exp <= iat {
        return Err(Failure::usage("a token must live for a second at least").help("give --ttl 1h, say"));
    }
    let (iss, aud) = (viewer.issuer.as_deref(), viewer.audience.as_deref());
    let claims = Claims { sub: user.to_string(), iat, exp, iss, aud, scope };
    let token =
        jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.expose().as_bytes()))
            .map_err(|error| Failure::new(format_args!("cannot sign: {error}")))?;
    Ok(Signed { token, expires: exp })
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{DecodingKey, Validation};
    use largesse_config::Secret;
    use serde_json::Value;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn viewer() -> ViewerConfig {
        ViewerConfig {
            secret: Some(Secret::new(SECRET)),
            issuer: Some("login".into()),
            audience: Some("largesse".into()),
            ..ViewerConfig::default()
        }
    }

    #[test]
    fn a_token_is_what_the_configuration_asks_for() {
        let signed = sign(&viewer(), 3001, Duration::from_secs(60)).unwrap();
        let mut validation = Validation::new(jsonwebtoken::Algorithm::HS256);
        validation.set_audience(&["largesse"]);
        validation.set_issuer(&["login"]);
        let key = DecodingKey::from_secret(SECRET.as_bytes());
        let claims: Value = jsonwebtoken::decode(&signed.token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], "3001");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 60);
        let other = DecodingKey::from_secret(b"another secret that is long enough");
        assert!(jsonwebtoken::decode::<Value>(&signed.token, &other, &validation).is_err());
    }

    #[test]
    fn what_cannot_be_signed_is_told() {
        let told = |viewer: &ViewerConfig, ttl| sign(viewer, 1, Duration::from_secs(ttl)).unwrap_err().what;
        assert!(told(&ViewerConfig::default(), 60).contains("no key"));
        assert!(told(&viewer(), 0).contains("a second"));
        let public = ViewerConfig { algorithm: Algorithm::Es256, ..ViewerConfig::default() };
        assert!(told(&public, 60).contains("only HS256"));
    }
}
