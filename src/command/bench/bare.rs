//! The handler that `bench http` compares with, in a process of its own.

use std::net::SocketAddr;

use clap::Args;
use largesse_loadtest::http;
use serde_json::json;
use tokio::net::TcpListener;

use super::child;
use crate::exit::Failure;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  largesse bench bare-handler --listen 127.0.0.1:9090

It serves until its stdin ends.";

/// Serve the bare axum handler that `bench http` compares with.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BareHandler {
    /// Where it listens; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDR")]
    listen: SocketAddr,
}

impl BareHandler {
    pub async fn run(&self) -> Result<(), Failure> {
        let told = |error| Failure::new(format_args!("cannot listen on {}: {error}", self.listen));
        let listener = TcpListener::bind(self.listen).await.map_err(told)?;
        let address = listener.local_addr().map_err(told)?;
        output::line(&json!({"listen": address.to_string(), "pid": std::process::id()}).to_string())?;
        http::bare::serve(listener, child::parent_gone()).await.map_err(Failure::new)
    }
}
