//! What lies in `deploy/` is kept in step with the rest, since no container engine runs here: versions, settings, ports,
//! paths, and a configuration that the program takes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop right there")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn compose() -> Yaml {
    YamlLoader::load_from_str(&read("deploy/compose.yml")).unwrap().remove(0)
}

fn text(yaml: &Yaml) -> &str {
    yaml.as_str().unwrap_or_else(|| panic!("{yaml:?} is no text"))
}

fn texts(yaml: &Yaml) -> Vec<&str> {
    yaml.as_vec().unwrap().iter().map(text).collect()
}

fn keys(yaml: &Yaml) -> Vec<&str> {
    yaml.as_hash().unwrap().keys().map(text).collect()
}

/// Instructions of the Dockerfile, each on one line.
fn dockerfile() -> Vec<String> {
    let joined = read("deploy/Dockerfile").replace("\\\n", " ");
    let lines = joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

fn argument(instruction: &str) -> String {
    let lines = dockerfile();
    let found = lines.iter().rev().find_map(|line| Some(line.strip_prefix(instruction)?.trim().to_owned()));
    found.unwrap_or_else(|| panic!("no {instruction} in the Dockerfile"))
}

/// `key=value` of the broker that `scripts/services` starts, where it is a plain value.
fn services_kafka() -> BTreeMap<String, String> {
    let script = read("scripts/services");
    let settings = script.split("<<SETTINGS\n").nth(1).and_then(|rest| rest.split("\nSETTINGS").next()).unwrap();
    let pairs = settings.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn kafka_is_the_one_that_tests_run_against() {
    let script = read("scripts/services");
    let version = script.lines().find_map(|line| line.strip_prefix("kafka_version=")).unwrap();
    let compose = compose();
    let kafka = &compose["services"]["kafka"];
    assert_eq!(text(&kafka["image"]), format!("docker.io/apache/kafka:{version}"));
    let environment = &kafka["environment"];
    let of_services = services_kafka();
    let mut compared = 0;
    for (key, value) in &of_services {
        let name = format!("KAFKA_{}", key.to_uppercase().replace('.', "_"));
        // What depends on how many brokers there are is told by a variable there, and one broker is here.
        let wanted = if value.contains("$kafka_brokers") || value.contains("kafka_brokers") { "1" } else { value };
        let is_own = [
            "NODE_ID",
            "VOTERS",
            "KAFKA_LISTENERS",
            "LOG_DIRS",
            "HEARTBEAT",
            "SESSION",
            "NUM_",
            "PARTITIONS",
            "LOG_CLEANER",
        ];
        if is_own.iter().any(|own| name.contains(own)) {
            continue;
        }
        let found = environment[name.as_str()].as_str();
        assert_eq!(found, Some(wanted), "{name}: scripts/services says {key}={value}");
        compared += 1;
    }
    assert!(compared >= 9, "only {compared} settings were compared");
    assert_eq!(environment["KAFKA_UNCLEAN_LEADER_ELECTION_ENABLE"].as_str(), Some("false"), "the fence rests on it");
}

#[test]
fn every_server_starts_before_the_one_that_needs_it_and_is_healthy_by_then() {
    let compose = compose();
    let services = &compose["services"];
    assert_eq!(keys(services), ["kafka", "scylla", "redis", "largesse"]);
    for name in ["kafka", "scylla", "redis"] {
        let test = texts(&services[name]["healthcheck"]["test"]);
        assert_eq!(test[0], "CMD", "{name} says when it is up");
        let condition = &services["largesse"]["depends_on"][name]["condition"];
        assert_eq!(condition.as_str(), Some("service_healthy"), "{name}");
        let image = text(&services[name]["image"]);
        let (_, tag) = image.rsplit_once(':').unwrap();
        assert!(
            tag.starts_with(|first: char| first.is_ascii_digit()),
            "{image} names a version, or it changes under us"
        );
        assert!(services[name]["ports"].is_badvalue(), "{name} is nobody else's business");
    }
    assert_eq!(argument("HEALTHCHECK").matches("/dev/tcp/127.0.0.1/8081").count(), 1);
}

#[test]
fn the_image_is_built_with_the_rust_that_the_workspace_asks_for_and_runs_as_nobody_special() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let wanted = manifest["workspace"]["package"]["rust-version"].as_str().unwrap().to_owned();
    let lines = dockerfile();
    assert!(lines.contains(&format!("ARG RUST_VERSION={wanted}")), "rust-version is {wanted}: {lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("FROM docker.io/library/rust:${RUST_VERSION}-")));
    assert!(lines.iter().any(|line| line.starts_with("RUN --mount=type=cache") && line.contains("--locked")));
    let stages = lines.iter().filter(|line| line.starts_with("FROM ")).count();
    assert_eq!(stages, 2, "what builds is not what runs");
    let last = lines.iter().rposition(|line| line.starts_with("FROM ")).unwrap();
    let user = lines[last..].iter().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(user != "root" && !user.starts_with("0"), "{user}");
    assert_eq!(argument("ENTRYPOINT"), r#"["/usr/local/bin/largesse"]"#);
}

#[test]
fn ports_are_those_of_the_documents() {
    assert_eq!(argument("EXPOSE"), "8080 8081");
    let compose = compose();
    assert_eq!(texts(&compose["services"]["largesse"]["ports"]), ["127.0.0.1:8080:8080", "127.0.0.1:8081:8081"]);
    let profile: toml::Table = read("config/cluster.toml").parse().unwrap();
    assert_eq!(profile["http"]["listen"].as_str(), Some("0.0.0.0:8080"));
    assert_eq!(profile["http"]["admin-listen"].as_str(), Some("0.0.0.0:8081"));
    let page = read("docs/deploy.md");
    for port in ["| 8080 |", "| 8081 |"] {
        assert!(page.contains(port), "docs/deploy.md says whose port it is: {port}");
    }
}

#[test]
fn the_program_takes_the_configuration_and_compose_brings_what_it_names() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/largesse.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_largesse"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LARGESSE") {
            command.env_remove(name);
        }
    }
    // As in the image.
    let environment = argument("ENV");
    for (name, value) in environment.split(' ').map(|pair| pair.split_once('=').unwrap()) {
        command.env(name, value);
    }
    let checked = command.args(["config", "check", "--profile", "cluster", "--config"]).arg(&file).output().unwrap();
    let (told, said) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success(), "{told}{said}");
    assert!(told.contains("profile cluster"), "{told}");

    let config: toml::Table = read("deploy/largesse.toml").parse().unwrap();
    let compose = compose();
    let largesse = &compose["services"]["largesse"];
    let secrets = texts(&largesse["secrets"]);
    let named = [
        &config["auth"]["admin-key-file"],
        &config["auth"]["viewer"]["secret-file"],
        &config["auth"]["service-keys"][0]["key-file"],
    ];
    for file in named {
        let name = file.as_str().unwrap().strip_prefix("/run/secrets/").unwrap();
        assert!(secrets.contains(&name), "compose brings no {name}");
        assert!(compose["secrets"][name]["environment"].as_str().is_some(), "{name} comes from the environment");
    }
    // Brokers and nodes are services of the same file, at the ports where those listen.
    assert_eq!(config["log"]["kafka"]["brokers"][0].as_str(), Some("kafka:9092"));
    let advertised = &compose["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"];
    assert_eq!(advertised.as_str(), Some("PLAINTEXT://kafka:9092"));
    assert_eq!(config["store"]["cql"]["nodes"][0].as_str(), Some("scylla:9042"));
    let mounted = texts(&largesse["volumes"]);
    assert!(mounted.contains(&"./largesse.toml:/etc/largesse/largesse.toml:ro"), "{mounted:?}");
    assert_eq!(text(&largesse["command"]), "serve --profile cluster --config /etc/largesse/largesse.toml");
    let data = environment.split(' ').find_map(|pair| pair.strip_prefix("LARGESSE__DATA__DIR=")).unwrap();
    assert!(mounted.contains(&format!("largesse:{data}").as_str()), "what must last lies in a volume: {mounted:?}");
}
