//! `largesse key`: keys of services, made and revoked while the server runs.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Call;
use crate::connect::{As, Connect};
use crate::exit::Failure;
use crate::output::{self, Format, text};

const EXAMPLES: &str = "\
Examples:
  largesse key create shop --scope recharges --scope read --reason opening
  largesse key create backend --scope all --signing
  largesse key list
  largesse key revoke shop --reason leaked";

/// Make, list and revoke keys of services.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Key {
    /// Make a key; it is shown this once.
    #[command(after_help = EXAMPLES)]
    Create(Create),
    /// List keys that were made at run time, without the keys themselves.
    #[command(after_help = EXAMPLES)]
    List(List),
    /// Revoke a key; it counts no longer from then on.
    #[command(after_help = EXAMPLES)]
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub struct Create {
    /// How the service is called in lists and logs.
    #[arg(value_name = "NAME")]
    name: String,
    /// What it may be used for: read, gifts, recharges, transfers, issue, rooms or all; may be repeated.
    #[arg(long = "scope", required = true, value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Requests can be signed with it too; whoever can read the ledger's log could then sign as well.
    #[arg(long)]
    signing: bool,
    /// Why it is made; kept in the books.
    #[arg(long, default_value = "", value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub struct Revoke {
    /// The key's name.
    #[arg(value_name = "NAME")]
    name: String,
    /// Why it is revoked; kept in the books.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    connect: Connect,
}

impl Key {
    pub async fn run(self, format: Format) -> Result<(), Failure> {
        match self {
            Key::Create(create) => create.run(format).await,
            Key::List(list) => list.run(format).await,
            Key::Revoke(revoke) => revoke.run(format).await,
        }
    }
}

impl Create {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let body = json!({"name": self.name, "scopes": self.scopes, "signing": self.signing, "reason": self.reason});
        let made = self.connect.client(As::Admin)?.call(Call::send(Method::POST, "/v1/keys", body)).await?;
        output::remark("keep this key: it cannot be shown again");
        output::print(format, &made, || text(&made, "/key"))
    }
}

impl List {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let keys = self.connect.client(As::Admin)?.call(Call::get("/v1/keys")).await?;
        output::print(format, &keys, || {
            let listed = keys["keys"].as_array().cloned().unwrap_or_default();
            output::table(&["name", "scopes", "signing", "created_at", "by", "reason"], listed.iter().map(row))
        })
    }
}

fn row(key: &Value) -> Vec<String> {
    let scopes: Vec<&str> = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let field = |name: &str| text(key, &format!("/{name}"));
    vec![field("name"), scopes.join(","), field("signing"), field("created_at"), field("by"), field("reason")]
}

impl Revoke {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let mut call = Call::get(format!("/v1/keys/{}", self.name)).query("reason", Some(&self.reason));
        call.method = Method::DELETE;
        let answer = self.connect.client(As::Admin)?.call(call).await?;
        output::print(format, &answer, || format!("{} is revoked", self.name))
    }
}
