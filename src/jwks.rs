//! Keeps the keys that an issuer publishes: read at the start, and again from time to time, or when a token names a key
//! that is not known yet.

use std::path::PathBuf;
use std::time::Duration;

use largesse_api::auth::Auth;
use largesse_api::auth::jwks::{self, JWKS_BYTES_MAX};
use largesse_config::ViewerConfig;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

use crate::exit::Failure;

/// How long a look may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Looks are at least this far apart, however many unknown keys are named.
const PAUSE: Duration = Duration::from_secs(10);

pub struct Published {
    source: Source,
    every: Duration,
    /// The document that is in force.
    last: Vec<u8>,
}

enum Source {
    File(PathBuf),
    Url(String, reqwest::Client),
}

impl Published {
    pub fn new(config: &ViewerConfig) -> Result<Option<Published>, Failure> {
        let source = match (&config.jwks_file, &config.jwks_url) {
            (Some(path), _) => Source::File(path.clone()),
            (None, Some(url)) => {
                crate::tls::ready();
                let client = reqwest::Client::builder().timeout(PATIENCE).build();
                let client = client.map_err(|error| Failure::new(format_args!("auth.viewer.jwks-url: {error}")))?;
                Source::Url(url.clone(), client)
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(Published { source, every: config.jwks_every, last: Vec::new() }))
    }

    /// A file must be right from the start, like everything that is configured; an issuer may be away for a moment.
    pub async fn start<State>(mut self, state: State) -> Result<JoinHandle<()>, Failure>
    where
        State: AsRef<Auth> + Send + Sync + 'static,
    {
        if let Err(why) = self.look(state.as_ref()).await {
            match &self.source {
                Source::File(path) => {
                    return Err(Failure::new(format_args!("auth.viewer.jwks-file: {}: {why}", path.display())));
                }
                Source::Url(url, _) => {
                    tracing::warn!(url, why, "the issuer's keys cannot be had; viewers with its tokens are refused");
                }
            }
        }
        Ok(tokio::spawn(async move { self.keep(state.as_ref()).await }))
    }

    async fn keep(mut self, auth: &Auth) {
        loop {
            let patience = if self.last.is_empty() { PAUSE.min(self.every) } else { self.every };
            let due = Instant::now() + patience;
            sleep(PAUSE.min(patience)).await;
            tokio::select! {
                () = sleep_until(due) => (),
                () = auth.tokens().key_wanted() => (),
            }
            if let Err(why) = self.look(auth).await {
                tracing::warn!(why, "the published keys cannot be read; those known until now stay in force");
            }
        }
    }

    async fn look(&mut self, auth: &Auth) -> Result<(), String> {
        let document = self.fetch().await?;
        if document == self.last {
            return Ok(());
        }
        let keys = jwks::parse(&document).map_err(|error| error.to_string())?;
        let count = keys.len();
        auth.tokens().replace_published(keys).map_err(|error| error.to_string())?;
        tracing::info!(keys = count, "published keys are in force");
        self.last = document;
        Ok(())
    }

    async fn fetch(&self) -> Result<Vec<u8>, String> {
        match &self.source {
            Source::File(path) => tokio::fs::read(path).await.map_err(|error| error.to_string()),
            Source::Url(url, client) => {
                let told = |error: reqwest::Error| error.to_string();
                let mut answer =
                    client.get(url).send().await.and_then(reqwest::Response::error_for_status).map_err(told)?;
                let mut document = Vec::new();
                while let Some(piece) = answer.chunk().await.map_err(told)? {
                    document.extend_from_slice(&piece);
                    if document.len() > JWKS_BYTES_MAX {
                        return Err(jwks::JwksError::TooLarge.to_string());
                    }
                }
                Ok(document)
            }
        }
    }
}
