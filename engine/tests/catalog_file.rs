//! The catalog that is shipped, and the drawings it names.
#![allow(clippy::unwrap_used, reason = "clippy takes the helpers of an integration test for the code under test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use largesse_engine::catalog::{Catalog, CatalogDraft, Gift, SendRule, Tier};
use largesse_engine::units::CatalogVersion;

const DRAWING_BYTES_MAX: usize = 6 * 1024;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn shipped() -> Catalog {
    let text = fs::read_to_string(root().join("config/catalog.toml")).unwrap();
    let draft: CatalogDraft = toml::from_str(&text).unwrap();
    Catalog::checked(draft, CatalogVersion(1)).unwrap()
}

fn price_of(catalog: &Catalog, name: &str) -> u64 {
    catalog.gifts().iter().find(|gift| gift.name == name).unwrap_or_else(|| panic!("no {name}")).price.get()
}

#[test]
fn the_shipped_catalog_is_sound_and_real() {
    let catalog = shipped();
    assert!(catalog.gifts().len() >= 60, "{} gifts", catalog.gifts().len());
    assert_eq!(catalog.gifts()[0].name, "Rose");
    assert_eq!(catalog.gifts()[0].gift_id.to_string(), "1");
    for (name, price) in [
        ("Rose", 1),
        ("Finger Heart", 5),
        ("Perfume", 20),
        ("Doughnut", 30),
        ("Paper Crane", 99),
        ("Money Gun", 500),
        ("Galaxy", 1_000),
        ("Fireworks", 1_088),
        ("Interstellar", 10_000),
        ("Lion", 29_999),
        ("Universe", 34_999),
    ] {
        assert_eq!(price_of(&catalog, name), price, "{name}");
    }
    for asset in ["coin", "diamond"] {
        assert!(catalog.gifts().iter().any(|gift| gift.asset == asset), "nothing is sold for {asset}");
    }
    assert!(catalog.rules().points.is_some(), "senders earn points");
}

#[test]
fn names_are_distinct_and_the_english_one_is_the_name() {
    let catalog = shipped();
    for language in ["en", "zh"] {
        let names: BTreeSet<&String> = catalog.gifts().iter().map(|gift| &gift.names[language]).collect();
        assert_eq!(names.len(), catalog.gifts().len(), "two gifts share a name in {language}");
    }
    for gift in catalog.gifts() {
        assert_eq!(gift.name, gift.names["en"]);
        assert!(!gift.names["zh"].is_ascii(), "{} has no Chinese name", gift.name);
    }
}

#[test]
fn tiers_follow_prices() {
    for gift in shipped().gifts() {
        let tier = match gift.price.get() {
            0..100 => Tier::Small,
            100..1_000 => Tier::Medium,
            1_000..10_000 => Tier::Large,
            10_000.. => Tier::Grand,
        };
        assert_eq!(gift.tier, tier, "{} at {}", gift.name, gift.price);
        assert_eq!(gift.effects_url.is_some(), tier != Tier::Small, "{}", gift.name);
        assert_eq!(gift.send_rule == SendRule::Broadcast, tier == Tier::Grand, "{}", gift.name);
    }
}

#[test]
fn every_drawing_exists_once_and_none_is_left_over() {
    let catalog = shipped();
    let named = |urls: Vec<&str>| -> BTreeSet<String> {
        let count = urls.len();
        let urls: BTreeSet<String> = urls.into_iter().map(str::to_owned).collect();
        assert_eq!(urls.len(), count, "two gifts share a drawing");
        urls
    };
    let icons = named(catalog.gifts().iter().map(|gift: &Gift| gift.icon_url.as_str()).collect());
    let effects = named(catalog.gifts().iter().filter_map(|gift: &Gift| gift.effects_url.as_deref()).collect());
    assert_eq!(icons, files("icons"));
    assert_eq!(effects, files("effects"));
}

#[test]
fn drawings_are_small_well_formed_and_keep_to_themselves() {
    for url in files("icons").into_iter().chain(files("effects")) {
        let text = fs::read_to_string(root().join("web").join(url.trim_start_matches('/'))).unwrap();
        assert!(text.len() <= DRAWING_BYTES_MAX, "{url} has {} bytes", text.len());
        check_drawing(&text).unwrap_or_else(|why| panic!("{url}: {why}"));
        if url.contains("/effects/") {
            assert!(text.contains("@keyframes"), "{url} does not move");
            assert!(text.contains("prefers-reduced-motion"), "{url} moves for those who asked it not to");
        }
    }
}

#[test]
fn the_check_of_drawings_finds_what_it_looks_for() {
    let svg = |body: &str| format!(r#"<svg xmlns="http://www.w3.org/2000/svg"><title>t</title>{body}</svg>"#);
    let told = |body: &str| check_drawing(&svg(body)).unwrap_err();
    assert_eq!(check_drawing(&svg(r##"<g fill="url(#a)"><path d="M0 0"/></g>"##)), Ok(()));
    assert!(told("<g>").contains("</svg> closes <g>"));
    assert!(told("<g").contains("bad name"), "{}", told("<g"));
    assert!(told("<g a=b/>").contains("quoted"));
    assert!(told(r#"<g a="1" a="2"/>"#).contains("twice"));
    assert!(told("<script/>").contains("script"));
    assert!(told("<foreignObject/>").contains("foreignObject"));
    assert!(told(r#"<g onclick="x"/>"#).contains("onclick"));
    assert!(told(r#"<use href="https://example.org/x.svg"/>"#).contains("href"));
    assert!(told(r#"<g fill="url(https://example.org/a)"/>"#).contains("outside"));
    assert!(told("<style>@import 'x'</style>").contains("outside"));
    assert!(told("&nbsp;").contains("&nbsp;"));
    assert!(check_drawing("<svg></svg>").unwrap_err().contains("namespace"));
    assert!(check_drawing(r#"<svg xmlns="http://www.w3.org/2000/svg"></svg>"#).unwrap_err().contains("title"));
}

/// The urls of all drawings in one folder.
fn files(folder: &str) -> BTreeSet<String> {
    fs::read_dir(root().join("web/assets").join(folder))
        .unwrap()
        .map(|entry| format!("/assets/{folder}/{}", entry.unwrap().file_name().to_str().unwrap()))
        .collect()
}

/// Walks the tags of a drawing. It knows the plain XML that our drawings keep to: elements, quoted attributes and text,
/// no comments, no declarations, no entities but the five of XML.
fn check_drawing(text: &str) -> Result<(), String> {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text.trim_end();
    let mut has_title = false;
    while !rest.is_empty() {
        if open.is_empty() && rest.len() != text.trim_end().len() {
            return Err(format!("something follows the root: {rest:.20}"));
        }
        let Some(after) = rest.strip_prefix('<') else {
            let end = rest.find('<').ok_or("text without an end")?;
            check_text(&rest[..end])?;
            has_title |= open == ["svg", "title"] && !rest[..end].trim().is_empty();
            rest = &rest[end..];
            continue;
        };
        let end = after.find('>').ok_or("a tag without an end")?;
        let tag = &after[..end];
        rest = &after[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(opened) if opened == name => {}
                Some(opened) => return Err(format!("</{name}> closes <{opened}>")),
                None => return Err(format!("</{name}> closes nothing")),
            }
        } else {
            let name = check_tag(tag.trim_end_matches('/'), open.is_empty())?;
            if !tag.ends_with('/') {
                open.push(name);
            }
        }
    }
    match open.pop() {
        Some(name) => Err(format!("<{name}> is never closed")),
        None if !has_title => Err("has no title".into()),
        None => Ok(()),
    }
}

fn check_tag(tag: &str, is_root: bool) -> Result<&str, String> {
    let (name, mut rest) = tag.split_once(char::is_whitespace).unwrap_or((tag, ""));
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(format!("<{name}> has a bad name"));
    }
    if ["script", "foreignObject", "image", "iframe", "a"].contains(&name) {
        return Err(format!("{name} has no place in a drawing"));
    }
    let mut seen = BTreeSet::new();
    while !rest.trim().is_empty() {
        let (key, after) = rest.trim_start().split_once("=\"").ok_or(format!("attributes are quoted: {rest}"))?;
        let (value, after) = after.split_once('"').ok_or(format!("{key} has no end"))?;
        if !seen.insert(key) {
            return Err(format!("{key} is there twice"));
        }
        if key.contains(char::is_whitespace) || key.starts_with("on") {
            return Err(format!("{key} is no attribute of a drawing"));
        }
        if key.ends_with("href") && !value.starts_with('#') {
            return Err(format!("{key} leads elsewhere: {value}"));
        }
        if key != "xmlns" {
            check_text(value)?;
        }
        rest = after;
    }
    let has_namespace = tag.contains(r#"xmlns="http://www.w3.org/2000/svg""#);
    if is_root && (name != "svg" || !has_namespace) {
        return Err("the root must be svg with its namespace".into());
    }
    Ok(name)
}

fn check_text(text: &str) -> Result<(), String> {
    for entity in text.split('&').skip(1) {
        if !["amp;", "lt;", "gt;", "quot;", "apos;"].iter().any(|known| entity.starts_with(known)) {
            return Err(format!("&{entity} is not XML"));
        }
    }
    let leads_outside = text.contains("://")
        || text.contains("@import")
        || text.contains("javascript:")
        || text.contains("data:")
        || text.split("url(").skip(1).any(|target| !target.starts_with('#'));
    if leads_outside { Err(format!("refers to something outside: {text}")) } else { Ok(()) }
}
