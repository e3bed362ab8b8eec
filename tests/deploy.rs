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
    compose_in("deploy/compose.yml")
}

fn compose_in(path: &str) -> Yaml {
    YamlLoader::load_from_str(&read(path)).unwrap().remove(0)
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
            "LISTENERS",
            "LISTENER_NAME_LOGIN",
            "LOG_DIRS",
            "HEARTBEAT",
            "SESSION",
            "NUM_",
            "PARTITIONS",
            "LOG_CLEANER",
        ];
        // There a test may have a door with a login as well.
        let wanted = wanted.trim_end_matches(",LOGIN:SASL_PLAINTEXT");
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

/// The program takes what a service of a compose file would start it with.
fn check_command(service: &Yaml) {
    let command = text(&service["command"]).strip_prefix("serve ").unwrap();
    let (options, file) = command.rsplit_once(' ').unwrap();
    let name = file.strip_prefix("/etc/largesse/").unwrap();
    assert!(texts(&service["volumes"]).contains(&format!("./{name}:{file}:ro").as_str()), "nobody brings {file}");
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
    command.args(["config", "check"]).args(options.split(' '));
    let checked = command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name)).output().unwrap();
    let (told, said) = (String::from_utf8_lossy(&checked.stdout), String::from_utf8_lossy(&checked.stderr));
    assert!(checked.status.success(), "{told}{said}");
    let profile = options.split_once("--profile ").unwrap().1.split(' ').next().unwrap();
    assert!(told.contains(&format!("profile {profile}")), "{told}");
}

/// A service is brought each file that its configuration names, from the environment.
fn check_secrets<'a>(compose: &Yaml, service: &str, files: impl IntoIterator<Item = &'a toml::Value>) {
    let secrets = texts(&compose["services"][service]["secrets"]);
    for file in files {
        let name = file.as_str().unwrap().strip_prefix("/run/secrets/").unwrap();
        assert!(secrets.contains(&name), "compose brings {service} no {name}");
        assert!(compose["secrets"][name]["environment"].as_str().is_some(), "{name} comes from the environment");
    }
}

/// What must last lies in a volume.
fn check_data(service: &Yaml) {
    let environment = argument("ENV");
    let data = environment.split(' ').find_map(|pair| pair.strip_prefix("LARGESSE__DATA__DIR=")).unwrap();
    let mounted = texts(&service["volumes"]);
    assert!(mounted.contains(&format!("largesse:{data}").as_str()), "{mounted:?}");
}

#[test]
fn the_program_takes_the_configuration_and_compose_brings_what_it_names() {
    let config: toml::Table = read("deploy/largesse.toml").parse().unwrap();
    let compose = compose();
    let largesse = &compose["services"]["largesse"];
    check_command(largesse);
    let auth = &config["auth"];
    let named = [&auth["admin-key-file"], &auth["viewer"]["secret-file"], &auth["service-keys"][0]["key-file"]];
    check_secrets(&compose, "largesse", named);
    // Brokers and nodes are services of the same file, at the ports where those listen.
    assert_eq!(config["log"]["kafka"]["brokers"][0].as_str(), Some("kafka:9092"));
    let advertised = &compose["services"]["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"];
    assert_eq!(advertised.as_str(), Some("PLAINTEXT://kafka:9092"));
    assert_eq!(config["store"]["cql"]["nodes"][0].as_str(), Some("scylla:9042"));
    assert_eq!(text(&largesse["command"]), "serve --profile cluster --config /etc/largesse/largesse.toml");
    check_data(largesse);
}

#[test]
fn gateways_and_their_owner_fit_together() {
    let compose = compose_in("deploy/compose.gateways.yml");
    let services = &compose["services"];
    assert_eq!(keys(services), ["redis", "owner", "gateway-1", "gateway-2", "balancer"]);
    let gateways = ["gateway-1", "gateway-2"];
    for service in ["owner"].iter().chain(&gateways) {
        check_command(&services[*service]);
    }
    check_data(&services["owner"]);
    let [owner, gateway] =
        ["deploy/owner.toml", "deploy/gateway.toml"].map(|file| read(file).parse::<toml::Table>().unwrap());
    let own = &owner["auth"]["service-keys"];
    let auth = &owner["auth"];
    let named = [&auth["admin-key-file"], &auth["viewer"]["secret-file"], &own[0]["key-file"], &own[1]["key-file"]];
    check_secrets(&compose, "owner", named);
    for service in gateways {
        assert_eq!(services[service]["command"].as_str().unwrap().split(' ').nth(2), Some("gateway"));
        let named = [&gateway["auth"]["viewer"]["secret-file"], &gateway["gateway"]["key-file"]];
        check_secrets(&compose, service, named);
        assert_eq!(texts(&services[service]["secrets"]).len(), named.len(), "a gateway has no other key");
        assert!(services[service]["volumes"].as_vec().unwrap().len() == 1, "a gateway keeps nothing");
    }
    // The same key at both ends, and no more than gateways need.
    assert_eq!(own[1]["key-file"], gateway["gateway"]["key-file"]);
    assert_eq!(own[1]["scopes"], toml::Value::from(vec!["gateway"]));
    assert_eq!(auth["viewer"], gateway["auth"]["viewer"], "both take the same tokens");
    assert_eq!(owner["frames"], gateway["frames"]);
    assert_eq!(owner["frames"]["nodes"], toml::Value::from(vec!["redis:6379"]));
    assert_eq!(gateway["gateway"]["upstreams"], toml::Value::from(vec!["http://owner:8080"]));
    for config in [&owner, &gateway] {
        assert_eq!(config["http"]["listen"].as_str(), Some("0.0.0.0:8080"));
        assert_eq!(
            config["http"]["admin-listen"].as_str(),
            Some("0.0.0.0:8081"),
            "where the image's health check asks"
        );
    }
    assert_eq!(owner["limits"]["proxies"].as_integer(), Some(2), "the load balancer and a gateway");
    assert_eq!(services["redis"]["image"], self::compose()["services"]["redis"]["image"], "frames need version 7");
}

#[test]
fn the_load_balancer_knows_the_gateways_and_lets_sockets_stay() {
    let compose = compose_in("deploy/compose.gateways.yml");
    let services = &compose["services"];
    let config = read("deploy/haproxy.cfg");
    let value = |name: &str| {
        let rest = config.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' '));
        rest.and_then(|rest| rest.split(' ').next()).unwrap_or_else(|| panic!("no {name}"))
    };
    let servers: Vec<_> = config.lines().filter_map(|line| line.trim().strip_prefix("server ")).collect();
    assert_eq!(servers, ["gateway-1 gateway-1:8080", "gateway-2 gateway-2:8080"]);
    assert_eq!(keys(&services["balancer"]["depends_on"]), ["gateway-1", "gateway-2"]);
    assert_eq!(value("default-server check port"), "8081");
    assert_eq!(value("http-check send meth GET uri"), "/readyz");
    assert_eq!(value("retry-on"), "conn-failure", "a gift that may have arrived is the gateway's to send again");
    assert!(config.lines().any(|line| line.trim() == "option forwardfor"), "owner.toml counts on it");
    let seconds = |text: &str| text.strip_suffix('s').unwrap().parse::<u64>().unwrap();
    // A server pings every 25 s and hears nothing for two and a half of those before it ends a socket.
    assert!(seconds(value("timeout tunnel")) > 62);
    let gateway: toml::Table = read("deploy/gateway.toml").parse().unwrap();
    let notice = gateway["http"]["stop-notice"].as_str().and_then(|notice| notice.strip_suffix(" s")?.parse().ok());
    let looks = seconds(value("default-server check port 8081 inter")) * 2;
    assert!(notice > Some(looks), "a gateway that stops is out of rotation before it closes its door");
    // A connection is two handles of the load balancer's, and it will not start with fewer than that and a few.
    let handles = services["balancer"]["ulimits"]["nofile"].as_i64().unwrap();
    assert!(handles > 2 * value("maxconn").parse::<i64>().unwrap() + 1_000);
    let sockets = gateway["http"]["connections-max"].as_integer();
    assert!(services["gateway-1"]["ulimits"]["nofile"].as_i64() > sockets.map(|sockets| 2 * sockets));
    // Nobody but the load balancer and administrators is reached from outside.
    let published = keys(services).into_iter().filter(|name| !services[*name]["ports"].is_badvalue());
    let published: Vec<_> = published.map(|name| (name, texts(&services[name]["ports"]))).collect();
    let wanted = [("owner", vec!["127.0.0.1:8081:8081"]), ("balancer", vec!["127.0.0.1:8080:8080"])];
    assert_eq!(published, wanted);
    for name in ["redis", "balancer"] {
        let tag = text(&services[name]["image"]).rsplit_once(':').unwrap().1;
        assert!(
            tag.starts_with(|first: char| first.is_ascii_digit()),
            "{name} names a version, or it changes under us"
        );
    }
    for name in keys(services) {
        for needed in services[name]["depends_on"].as_hash().into_iter().flatten() {
            assert_eq!(needed.1["condition"].as_str(), Some("service_healthy"), "{name} starts when the other serves");
        }
    }
}
