//! `largesse catalog`: what is sold, and changing it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use largesse_engine::catalog::{CatalogDraft, Gift};
use largesse_engine::units::CatalogVersion;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Call;
use crate::connect::{As, Connect};
use crate::exit::{Exit, Failure};
use crate::output::{self, Format, text};

const EXAMPLES: &str = "\
Examples:
  largesse catalog list
  largesse catalog list --room 1001
  largesse catalog apply catalog.toml --dry-run
  largesse catalog apply catalog.toml --reason \"spring gifts\"";

/// List and change what is sold.
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub enum Catalog {
    /// List gifts with their prices.
    #[command(after_help = EXAMPLES)]
    List(List),
    /// Replace the catalog; gifts under way keep the terms they were made under.
    #[command(after_help = EXAMPLES)]
    Apply(Apply),
}

#[derive(Debug, Args)]
pub struct List {
    /// As viewers of this room see it; without, the whole catalog as the administrator sees it.
    #[arg(long, value_name = "ROOM")]
    room: Option<u64>,
    #[command(flatten)]
    connect: Connect,
}

#[derive(Debug, Args)]
pub struct Apply {
    /// The catalog, as TOML or, when its name ends in .json, as JSON.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Why it changes; kept in the books.
    #[arg(long, required_unless_present = "dry_run", value_name = "TEXT")]
    reason: Option<String>,
    /// Only check it, and show what would change.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: Connect,
}

impl Catalog {
    pub async fn run(self, format: Format) -> Result<(), Failure> {
        match self {
            Catalog::List(list) => list.run(format).await,
            Catalog::Apply(apply) => apply.run(format).await,
        }
    }
}

impl List {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let (who, path) = match self.room {
            Some(room) => (As::Anyone, format!("/v1/rooms/{room}/catalog")),
            None => (As::Admin, "/v1/catalog".to_owned()),
        };
        let catalog = self.connect.client(who)?.call(Call::get(path)).await?;
        output::print(format, &catalog, || catalog_table(&catalog))
    }
}

fn gifts(catalog: &Value) -> Vec<Value> {
    // The administrator's form is the draft itself, where the list bears the name it has in files.
    let listed = catalog.get("gifts").or_else(|| catalog.get("gift"));
    listed.and_then(Value::as_array).cloned().unwrap_or_default()
}

fn catalog_table(catalog: &Value) -> String {
    let names = ["gift_id", "name", "zh", "#price", "asset", "category", "tier", "send_rule"];
    let row = |gift: &Value| {
        let path =
            |name: &str| if name == "zh" { "/names/zh".into() } else { format!("/{}", name.trim_start_matches('#')) };
        names.map(|name| text(gift, &path(name))).to_vec()
    };
    output::table(&names, gifts(catalog).iter().map(row))
}

impl Apply {
    async fn run(&self, format: Format) -> Result<(), Failure> {
        let draft = read(&self.file)?;
        let client = self.connect.client(As::Admin)?;
        if self.dry_run {
            let current = client.call(Call::get("/v1/catalog")).await?;
            let changes = changes(&gifts(&current), &draft.gifts);
            let listed: Vec<_> = changes
                .iter()
                .map(
                    |change| json!({"change": change[0], "gift_id": change[1], "name": change[2], "detail": change[3]}),
                )
                .collect();
            let json = json!({"dry_run": true, "gifts": draft.gifts.len(), "changes": listed});
            return output::print(format, &json, || output::table(&["change", "gift_id", "name", "detail"], changes));
        }
        let mut body = serde_json::to_value(&draft).map_err(Failure::new)?;
        body["reason"] = json!(self.reason);
        let call = Call::send(Method::PUT, "/v1/catalog", body);
        let answer = client.call(call).await?;
        output::print(format, &answer, || format!("catalog version {}", text(&answer, "/version")))
    }
}

/// Reads and checks a draft, so that a mistake is told with its place before anything is sent.
fn read(path: &Path) -> Result<CatalogDraft, Failure> {
    let shown = path.display();
    let content =
        std::fs::read_to_string(path).map_err(|error| Failure::usage(format_args!("cannot read {shown}: {error}")))?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let parsed = if is_json {
        serde_json::from_str(&content).map_err(|error| error.to_string())
    } else {
        toml::from_str(&content).map_err(|error| error.to_string())
    };
    let draft: CatalogDraft = parsed.map_err(|error| wrong(path, &error))?;
    let checked = largesse_engine::catalog::Catalog::checked(draft.clone(), CatalogVersion(1));
    checked.map(|_| draft).map_err(|error| wrong(path, &error.to_string()))
}

fn wrong(path: &Path, why: &str) -> Failure {
    Failure::new(format_args!("{} is not a catalog: {}", path.display(), why.trim_end()))
        .exit(Exit::Problems)
        .help("nothing was changed; mend the file, and try it with --dry-run")
}

/// What differs, gift by gift: kind of change, id, name, detail.
fn changes(current: &[Value], wanted: &[Gift]) -> Vec<Vec<String>> {
    let id = |gift: &Value| gift["gift_id"].as_u64();
    let mut changes = Vec::new();
    for gift in wanted {
        let number = u64::from(gift.gift_id.get());
        let row = |change: &str, detail: String| vec![change.into(), number.to_string(), gift.name.clone(), detail];
        let Some(known) = current.iter().find(|known| id(known) == Some(number)) else {
            changes.push(row("added", format!("{} {}", gift.price, gift.asset)));
            continue;
        };
        let price = format!("{} {}", text(known, "/price"), text(known, "/asset"));
        if price != format!("{} {}", gift.price, gift.asset) {
            changes.push(row("repriced", format!("{price} -> {} {}", gift.price, gift.asset)));
        } else if is_different(known, gift) {
            changes.push(row("changed", String::new()));
        }
    }
    for known in current {
        if !wanted.iter().any(|gift| Some(u64::from(gift.gift_id.get())) == id(known)) {
            changes.push(vec!["withdrawn".into(), text(known, "/gift_id"), text(known, "/name"), String::new()]);
        }
    }
    changes
}

/// Whether any field of the file says something else than the server does.
fn is_different(known: &Value, gift: &Gift) -> bool {
    let wanted = serde_json::to_value(gift).unwrap_or_default();
    let fields = wanted.as_object().into_iter().flatten();
    fields.into_iter().any(|(name, value)| known.get(name) != Some(value))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const CATALOG: &str = r#"
        asset = [{ id = 1, name = "coin" }]
        [[gift]]
        gift_id = 1
        name = "Rose"
        names = { en = "Rose", zh = "玫瑰" }
        price = 1
        asset = "coin"
        category = "classic"
        tier = "small"
        icon_url = "/i/rose.svg"
        send_rule = "combo"
        created_at = "2026-01-01T00:00:00Z"
        updated_at = "2026-01-01T00:00:00Z"
    "#;

    #[track_caller]
    fn check(name: &str, content: &str, want: Expect) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        let told = match read(&path) {
            Ok(draft) => format!("{} gifts", draft.gifts.len()),
            Err(failure) => format!("{:?} {}", failure.exit, failure.what),
        };
        want.assert_eq(&told.replace(path.to_str().unwrap(), "FILE"));
    }

    #[test]
    fn a_catalog_is_checked_before_it_is_sent() {
        check("c.toml", CATALOG, expect!["1 gifts"]);
        let draft: CatalogDraft = toml::from_str(CATALOG).unwrap();
        check("c.json", &serde_json::to_string(&draft).unwrap(), expect!["1 gifts"]);
        check(
            "c.toml",
            &CATALOG.replace("price = 1\n", "price = 0\n"),
            expect!["Problems FILE is not a catalog: gift 1 `Rose`: the price must be 1 to 2^53 − 1"],
        );
        check(
            "c.toml",
            &CATALOG.replace("tier =", "teir ="),
            expect![[r#"
            Problems FILE is not a catalog: TOML parse error at line 10, column 9
               |
            10 |         teir = "small"
               |         ^^^^
            unknown field `teir`, expected one of `gift_id`, `name`, `names`, `price`, `asset`, `category`, `tier`, `icon_url`, `effects_url`, `send_rule`, `created_at`, `updated_at`"#]],
        );
        check("c.json", "{}", expect!["Problems FILE is not a catalog: missing field `asset` at line 1 column 2"]);
    }

    #[test]
    fn a_dry_run_names_what_would_change() {
        let draft: CatalogDraft = toml::from_str(CATALOG).unwrap();
        let same = serde_json::to_value(&draft.gifts).unwrap();
        let none: Vec<Vec<String>> = Vec::new();
        assert_eq!(changes(same.as_array().unwrap(), &draft.gifts), none);
        let mut other = same.clone();
        other[0]["price"] = 5.into();
        assert_eq!(changes(other.as_array().unwrap(), &draft.gifts), [["repriced", "1", "Rose", "5 coin -> 1 coin"]]);
        let mut other = same;
        other[0]["category"] = "new".into();
        assert_eq!(changes(other.as_array().unwrap(), &draft.gifts), [["changed", "1", "Rose", ""]]);
        let gone = [json!({"gift_id": 9, "name": "Lion"})];
        assert_eq!(changes(&gone, &draft.gifts), [["added", "1", "Rose", "1 coin"], ["withdrawn", "9", "Lion", ""]]);
    }
}
