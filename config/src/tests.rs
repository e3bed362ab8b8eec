//! Profiles, precedence, and what people are told when they get a key wrong.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};

use super::*;

fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.toml");
    std::fs::write(&path, text).unwrap();
    (dir, Sources { profile: Some(Profile::Single), file: Some(path), ..Sources::default() })
}

fn variables(variables: &[(&str, &str)]) -> Vec<(String, String)> {
    variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// What is told about a file; its path reads as FILE.
#[track_caller]
fn check_file(text: &str, want: Expect) {
    let (dir, sources) = with_file(text);
    let told = match sources.load() {
        Ok(_) => "fine".to_string(),
        Err(error) => error.to_string(),
    };
    want.assert_eq(&told.replace(dir.path().join("my.toml").to_str().unwrap(), "FILE"));
}

#[test]
fn every_profile_is_valid() {
    for profile in Profile::ALL {
        let sources = Sources { profile: Some(profile), ..Sources::default() };
        sources.load().unwrap_or_else(|error| panic!("{profile}: {error}"));
    }
}

#[test]
fn the_single_profile_lists_every_key_with_its_default() {
    let file: toml::Table = Profile::Single.text().parse().unwrap();
    let defaults = toml::Table::try_from(Config::default()).unwrap();
    let without_empty = |mut table: toml::Table| {
        table.retain(|_, value| value.as_table().is_none_or(|table| !table.is_empty()));
        table
    };
    assert_eq!(without_empty(file), without_empty(defaults));
}

#[test]
fn optional_keys_are_mentioned_in_the_single_profile() {
    for key in [
        "admin-key",
        "secret",
        "secret-file",
        "public-key-file",
        "issuer",
        "audience",
        "datacenter",
        "ca-file",
        "user",
        "password",
        "password-file",
        "prefix",
        "key",
        "key-file",
    ] {
        assert!(Profile::Single.text().contains(&format!("# {key} = ")), "{key}");
    }
}

/// `pub name: …` with the `Default: …` in the comment above it, by the struct they stand in.
fn documented_defaults(source: &str) -> BTreeMap<(String, String), String> {
    let (mut found, mut section, mut comment) = (BTreeMap::new(), String::new(), String::new());
    for line in source.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("pub struct ") {
            section = rest.trim_end_matches(" {").into();
        } else if let Some(text) = line.strip_prefix("///") {
            comment.push_str(text);
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": ")) {
            if let Some((_, default)) = comment.rsplit_once("Default: ") {
                let key = (section.clone(), name.replace('_', "-"));
                found.insert(key, default.trim_end_matches('.').to_owned());
            }
            comment.clear();
        } else if !line.starts_with("#[") {
            comment.clear();
        }
    }
    found
}

#[test]
fn documented_defaults_are_the_real_ones() {
    let sources = [
        include_str!("model.rs"),
        include_str!("auth.rs"),
        include_str!("cql.rs"),
        include_str!("events.rs"),
        include_str!("gateway.rs"),
        include_str!("kafka.rs"),
        include_str!("limits.rs"),
        include_str!("mirror.rs"),
        include_str!("recharge.rs"),
        include_str!("rooms.rs"),
    ];
    let documented: BTreeMap<_, _> = sources.into_iter().flat_map(documented_defaults).collect();
    let sections = [
        ("ledger", "LedgerConfig"),
        ("data", "DataConfig"),
        ("log", "LogConfig"),
        ("log.kafka", "KafkaConfig"),
        ("store", "StoreConfig"),
        ("store.cql", "CqlConfig"),
        ("mirror", "MirrorConfig"),
        ("events", "EventsConfig"),
        ("engine", "EngineConfig"),
        ("http", "HttpConfig"),
        ("auth.viewer", "ViewerConfig"),
        ("auth.room-pass", "RoomPassConfig"),
        ("limits", "LimitsConfig"),
        ("recharge", "RechargeConfig"),
        ("rooms", "RoomsConfig"),
        ("frames", "FramesConfig"),
        ("gateway", "GatewayConfig"),
        ("ws", "WsConfig"),
        ("log-output", "LogOutputConfig"),
    ];
    let settings = origin::settings_of(&Config::default());
    assert!(settings.len() > 30, "all sections are looked at");
    for setting in &settings {
        let (section, name) = setting.key.rsplit_once('.').unwrap();
        let (_, of) =
            sections.iter().find(|(known, _)| *known == section).expect("a section without a documented struct");
        let told = documented.get(&((*of).to_owned(), name.to_owned()));
        let real = setting.value.as_str().map(str::to_owned).unwrap_or_else(|| setting.value.to_string());
        assert_eq!(told, Some(&real), "the comment of {} must end with its default", setting.key);
    }
    let unset = documented.values().filter(|default| *default == "none").count();
    let real = settings.len() + unset;
    assert_eq!(documented.len(), real, "every documented key exists");
}

#[test]
fn later_sources_win_and_are_named() {
    let (dir, mut sources) =
        with_file("[http]\nlisten = \"127.0.0.1:1\"\nadmin-listen = \"127.0.0.1:2\"\n[engine]\nworkers = 3");
    sources.profile = Some(Profile::Dev);
    sources.environment = variables(&[
        ("LARGESSE__HTTP__LISTEN", "127.0.0.1:3"),
        ("LARGESSE__HTTP__ADMIN_LISTEN", "127.0.0.1:4"),
        ("LARGESSE__LOG__BYTES_MAX", "2 GiB"),
        ("HOME", "/nowhere"),
    ]);
    sources.flags = vec![Flag { flag: "--listen", key: "http.listen", value: "127.0.0.1:5".into() }];
    let loaded = sources.load().unwrap();
    assert_eq!(loaded.config.http.listen.port(), 5);
    assert_eq!(loaded.config.http.admin_listen.port(), 4);
    assert_eq!(loaded.config.log.bytes_max, ByteSize::gib(2));
    let file = dir.path().join("my.toml").display().to_string();
    let settings = loaded.settings();
    let origin = |key: &str| settings.iter().find(|setting| setting.key == key).unwrap().origin.clone();
    for (key, want) in [
        ("http.listen", "flag --listen"),
        ("http.admin-listen", "environment variable LARGESSE__HTTP__ADMIN_LISTEN"),
        ("engine.workers", file.as_str()),
        ("ledger.wallet-shards", "profile dev"),
        ("engine.history", "default"),
        ("room", "profile dev"),
    ] {
        assert_eq!(origin(key), want, "{key}");
    }
}

#[test]
fn the_environment_chooses_the_profile_and_the_file() {
    let load = |pairs: &[(&str, &str)]| Sources { environment: variables(pairs), ..Sources::default() }.load();
    let shards = |pairs: &[(&str, &str)]| load(pairs).unwrap().config.ledger.wallet_shards;
    assert_eq!(shards(&[]), 16);
    for (name, want) in
        [("local", 16), ("dev", 16), ("test", 16), ("pre", 256), ("stress", 256), ("gray", 256), ("prod", 256)]
    {
        assert_eq!(shards(&[("LARGESSE_ENV", name)]), want, "{name}");
    }
    expect!["LARGESSE_ENV: `production` is not an environment; known are local, dev, test, pre, stress, gray, prod"]
        .assert_eq(&load(&[("LARGESSE_ENV", "production")]).unwrap_err().to_string());
    let (dir, _) = with_file("[ledger]\nwallet-shards = 7");
    let file = dir.path().join("my.toml");
    assert_eq!(shards(&[("LARGESSE_CONFIG", file.to_str().unwrap())]), 7);
    let missing = load(&[("LARGESSE_CONFIG", "/nowhere/my.toml")]).unwrap_err().to_string();
    assert!(missing.contains("/nowhere/my.toml") && missing.contains("--config"), "{missing}");
}

#[test]
fn a_misspelt_key_is_told_with_its_file_and_the_nearest_key() {
    check_file(
        "[log]\nsegmnt-bytes = 1",
        expect!["FILE: there is no key `log.segmnt-bytes`; did you mean `log.segment-bytes`?"],
    );
    check_file(
        "[log]\nsegment_bytes = 1",
        expect!["FILE: there is no key `log.segment_bytes`; did you mean `log.segment-bytes`?"],
    );
    check_file("[lgo]\nkind = 1", expect!["FILE: there is no key `lgo`; did you mean `log`?"]);
    check_file(
        "[http]\nwallet-shards = 1",
        expect!["FILE: there is no key `http.wallet-shards`; did you mean `ledger.wallet-shards`?"],
    );
    check_file("[data]\nqqq = 1", expect!["FILE: there is no key `data.qqq`; known here are dir"]);
    check_file(
        "[[room]]\nid = 1\nhost = [1]",
        expect!["FILE: there is no key `room.0.host`; did you mean `room.0.hosts`?"],
    );
    let sources = Sources { environment: variables(&[("LARGESSE__LOG__SEGMNT_BYTES", "1")]), ..Sources::default() };
    expect!["environment variable LARGESSE__LOG__SEGMNT_BYTES: there is no key `log.segmnt-bytes`; did you mean `log.segment-bytes`?"]
        .assert_eq(&sources.load().unwrap_err().to_string());
}

#[test]
fn brokers_and_copies_fit_together() {
    check_file("[log]\nkind = \"kafka\"", expect!["fine"]);
    check_file(
        "[log.kafka]\nbrokers = [\"kafka-1\"]\nreplication = 1\ndelivery-timeout = \"1 s\"",
        expect![[r#"
            the configuration does not fit together:
              log.kafka.brokers: `kafka-1` is not host:port
              log.kafka.min-insync-replicas: 2 must not be more than log.kafka.replication = 1
              log.kafka.delivery-timeout: must be at least log.kafka.request-timeout, and at most 15 min"#]],
    );
}

#[test]
fn logging_in_to_kafka_needs_all_of_it() {
    let rest = "user = \"largesse\"\npassword-file = \"/run/secrets/kafka\"";
    check_file(
        &format!("[log.kafka]\nsecurity-protocol = \"sasl-ssl\"\nca-file = \"/etc/ca.pem\"\n{rest}"),
        expect!["fine"],
    );
    check_file(&format!("[log.kafka]\nsecurity-protocol = \"sasl-plaintext\"\n{rest}"), expect!["fine"]);
    check_file(
        "[log.kafka]\nsecurity-protocol = \"sasl-ssl\"",
        expect![[r#"
            the configuration does not fit together:
              log.kafka.user: is needed to log in by log.kafka.security-protocol
              log.kafka.password-file: or log.kafka.password is needed for log.kafka.user"#]],
    );
    check_file(
        &format!("[log.kafka]\nsecurity-protocol = \"ssl\"\n{rest}"),
        expect![[r#"
            the configuration does not fit together:
              log.kafka.user: would not be used: set log.kafka.security-protocol to `sasl-ssl` or `sasl-plaintext`"#]],
    );
    check_file(
        "[log.kafka]\nca-file = \"/etc/ca.pem\"",
        expect![[r#"
            the configuration does not fit together:
              log.kafka.ca-file: would not be used: set log.kafka.security-protocol to `ssl` or `sasl-ssl`"#]],
    );
}

#[test]
fn a_wrong_value_is_told_with_its_key() {
    check_file(
        "[log]\nkind = \"kafak\"",
        expect![
            "FILE: `log.kind`: `kafak` is not among what this version knows: embedded, kafka (did you mean `kafka`?)"
        ],
    );
    check_file(
        "[ledger]\nwallet-shards = 70000",
        expect!["FILE: `ledger.wallet-shards`: invalid value signed int `70000`, expected u16"],
    );
    check_file(
        "[ledger]\nwallet-shards = \"many\"",
        expect![[r#"FILE: `ledger.wallet-shards`: invalid type: found string "many", expected u16"#]],
    );
    check_file(
        "[engine]\nhistory = \"a while\"",
        expect![[r#"FILE: `engine.history`: `a while` is not a time span such as "5 ms": expected number at 0"#]],
    );
    check_file(
        "[log]\nsegment-bytes = \"64 MB\"",
        expect![[
            r#"FILE: `log.segment-bytes`: `64 MB` is not a size; write bytes as a number, or a string such as "64 MiB""#
        ]],
    );
    check_file(
        "[http]\nlisten = \"localhost\"",
        expect![[
            r#"FILE: `http.listen`: invalid socket address syntax; write an address and a port, such as "127.0.0.1:8080""#
        ]],
    );
    check_file("[[room]]\nid = 1", expect!["FILE: `room.0`: `hosts` is missing"]);
    check_file(
        "[auth.viewer]\nalgorithm = \"none\"",
        expect!["FILE: `auth.viewer.algorithm`: `none` is not among what this version knows: HS256, RS256, ES256"],
    );
    check_file(
        "[log\n",
        expect![[r#"
        FILE is not valid TOML: TOML parse error at line 1, column 5
          |
        1 | [log
          |     ^
        invalid table header
        expected `.`, `]`
    "#]],
    );
}

#[test]
fn what_does_not_fit_together_is_told_all_at_once() {
    check_file(
        "[log]\nsegment-bytes = \"1 MiB\"\nbytes-max = \"3 MiB\"\n[http]\nadmin-listen = \"127.0.0.1:8080\"\n\
         [engine]\nprefetch-permits = 5000\nrecord-bytes-max = 1",
        expect![[r#"
            the configuration does not fit together:
              log.segment-bytes: must be 2 MiB to 2 GiB
              log.bytes-max: 3 MiB must hold at least four segments of log.segment-bytes = 1 MiB
              engine.prefetch-permits: 5000 must not be more than engine.permits-per-shard = 4096, of which they are a part
              engine.record-bytes-max: must be 16 KiB to 448 KiB: with one more event it has to fit into the log's largest record
              http.admin-listen: 127.0.0.1:8080 is http.listen too; the admin port must be one of its own"#]],
    );
    check_file(
        "[ledger]\nname = \"My ledger\"\nwallet-shards = 0",
        expect![[r#"
        the configuration does not fit together:
          ledger.name: `My ledger` cannot name a ledger: use a-z, 0-9 and _, a letter first, at most 32
          ledger.wallet-shards: 0 is not 1 to 4096"#]],
    );
    check_file(
        "[[room]]\nid = 1\nhosts = [5, 5]\n[[room]]\nid = 1\nhosts = [0]",
        expect![[r#"
        the configuration does not fit together:
          room.0.hosts: host 5 is listed twice
          room.1.id: room 1 is listed twice
          room.1.hosts: 0 is not a user"#]],
    );
    check_file(
        "[rooms]\ncombo-seconds = 61\nstreams-max = 0\nstreams-per-caller = 0",
        expect![[r#"
        the configuration does not fit together:
          rooms.combo-seconds: must be 1 to 60
          rooms.streams-max: must be at least 1
          rooms.streams-per-caller: must be at least 1"#]],
    );
    check_file(
        "[rooms]\nbusiness-zone = \"Asia/Shanghai\"",
        expect![[
            r#"FILE: `rooms.business-zone`: `Asia/Shanghai` is not a fixed offset; write `UTC`, or hours and minutes such as "+08:00""#
        ]],
    );
    check_file(
        "[auth]\nadmin-key = \"short\"\n[auth.viewer]\nalgorithm = \"ES256\"\nsecret = \"short\"\n\
         [[auth.service-keys]]\nname = \"pay\"\nkey = \"abc\"\nkey-file = \"x\"\n[[auth.service-keys]]\nname = \"pay\"",
        expect![[r#"
            the configuration does not fit together:
              auth.viewer.secret: must have at least 32 bytes
              auth.viewer.secret: is for HS256; RS256 and ES256 take public-key-file
              auth.viewer.public-key-file: is needed for RS256 and ES256
              auth.service-keys.0.key: is given twice, inline and as a file; keep one
              auth.service-keys.0.key: must start with `lgk_` and have at least 32 characters
              auth.service-keys.1: `pay` needs its key or key-file
              auth.service-keys.1: `pay` is listed twice
              auth.admin-key: must have at least 32 characters"#]],
    );
}

#[test]
fn a_database_must_be_one_that_can_be_reached_by_name() {
    check_file(
        "[store]\nkind = \"cql\"\n[store.cql]\nnodes = [\"db1\", \"db2:9042\", \":9\"]\nkeyspace = \"My space\"\n\
         datacenter = \"d'c\"\nreplication = 0\npartitions = 0\nuser = \"ann\"\nreads-in-flight-max = 0\n\
         read-timeout = \"1 us\"",
        expect![[r#"
            the configuration does not fit together:
              store.cql.nodes: `db1` is no address; write a host and a port, such as "127.0.0.1:9042"
              store.cql.nodes: `:9` is no address; write a host and a port, such as "127.0.0.1:9042"
              store.cql.keyspace: `My space` cannot name a keyspace: use a-z, 0-9 and _, a letter first, at most 48
              store.cql.datacenter: may have letters, digits, _, - and . only
              store.cql.replication: must be 1 to 100
              store.cql.partitions: must be 1 to 1048576
              store.cql.user: and store.cql.password belong together; give both or none
              store.cql.reads-in-flight-max: must be 1 to 16384
              store.cql.read-timeout: must be 10 ms to 1 min"#]],
    );
    check_file(
        "[store.cql]\nnodes = []\nuser = \"ann\"\npassword = \"a\"\npassword-file = \"b\"",
        expect![[r#"
            the configuration does not fit together:
              store.cql.nodes: is empty; name one node at least
              store.cql.password: is given twice, inline and as a file; keep one"#]],
    );
    check_file("[store.cql]\nnodes = [\"[::1]:9042\"]", expect!["fine"]);
}

#[test]
fn frames_and_gateways_are_checked() {
    check_file(
        "[frames]\nkind = \"redis\"\nnodes = [\"a:1\", \"b:1\"]\ndatabase = 1\nuser = \"ann\"\nprefix = \"{x}\"\n\
         response-timeout = \"1 ms\"\n[gateway]\nupstreams = [\"https://a:1\", \"http://a:1/x\", \"http://a:0\"]\nkey = \"k\"\n\
         key-file = \"/f\"\ndoubts-after = \"1 ms\"\n[ws]\nsockets-max = 0\nping-every = \"1 h\"\nauth-timeout = \"0 s\"",
        expect![[r#"
            the configuration does not fit together:
              frames.nodes: names several servers; set frames.kind = "redis-cluster", or name one
              frames.user: needs frames.password or frames.password-file
              frames.prefix: may have letters, digits, _, -, . and : only, at most 64
              frames.response-timeout: must be 10 ms to 1 min
              gateway.upstreams: `https://a:1` is no address; write http://host:port, without a path
              gateway.upstreams: `http://a:1/x` is no address; write http://host:port, without a path
              gateway.upstreams: `http://a:0` is no address; write http://host:port, without a path
              gateway.key: is given twice, inline and as a file; keep one
              gateway.key: must be a service's key, `lgk_…`
              gateway.doubts-after: must be 100 ms to 1 h
              ws.sockets-max: must be at least 1
              ws.ping-every: must be 100 ms to 10 min
              ws.auth-timeout: must be 100 ms to 1 min"#]],
    );
    check_file(
        "[frames]\nkind = \"redis-cluster\"\nnodes = [\"a:1\", \"b:1\"]\n[gateway]\n\
         upstreams = [\"http://10.0.0.5:8080\", \"http://[::1]:8080/\"]",
        expect!["fine"],
    );
}

#[test]
fn a_gateway_is_told_what_it_lacks() {
    let told = |text: &str| {
        let (_dir, sources) = with_file(text);
        sources.load().unwrap().config.validate_gateway().map_err(|problems| problems.to_string())
    };
    let lacking = told("").unwrap_err();
    for key in ["gateway.upstreams", "gateway.key", "frames.kind"] {
        assert!(lacking.contains(key), "{lacking}");
    }
    let key = "lgk_0123456789abcdef";
    let whole = format!("[frames]\nkind = \"redis\"\n[gateway]\nupstreams = [\"http://a:1\"]\nkey = \"{key}\"");
    assert_eq!(told(&whole), Ok(()));
}

#[test]
fn a_mirror_must_be_one_that_can_be_written() {
    check_file(
        "[mirror]\nkind = \"redis-cluster\"\nnodes = [\"a\"]\ndatabase = 3\nuser = \"ann\"\nprefix = \"{x}\"\n\
         gift-ttl = \"1 ms\"\nrows-max = 1\ncheck-every = \"2 min\"",
        expect![[r#"
            the configuration does not fit together:
              mirror.nodes: `a` is not host:port
              mirror.database: must be 0, as a cluster has no other
              mirror.user: needs mirror.password or mirror.password-file
              mirror.prefix: may have letters, digits, _, -, . and : only, at most 64
              mirror.gift-ttl: must be 1 s to 365 days
              mirror.rows-max: must be 1000 to 100000000
              mirror.check-every: must be 10 ms to 1 min"#]],
    );
    check_file(
        "[mirror]\nkind = \"redis\"\nnodes = [\"a:1\", \"b:1\"]",
        expect![[r#"
            the configuration does not fit together:
              mirror.nodes: names several servers; set mirror.kind = "redis-cluster", or name one"#]],
    );
    check_file("[mirror]\nkind = \"redis\"\nprefix = \"live:\"", expect!["fine"]);
}

#[test]
fn keys_are_read_from_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let secret = "0123456789abcdef0123456789abcdef";
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    let viewer = ViewerConfig { secret_file: Some(path.clone()), ..ViewerConfig::default() };
    assert_eq!(viewer.key().unwrap().source().unwrap().read().unwrap().expose(), secret);
    std::fs::write(&path, "\n").unwrap();
    let told = viewer.key().unwrap().source().unwrap().read().unwrap_err().to_string();
    assert!(told.contains("is empty"), "{told}");
    assert!(ViewerConfig::default().key().is_none());
}

#[test]
fn printing_shows_no_secret_and_can_be_read_again() {
    let (_dir, sources) = with_file(
        "[auth]\nadmin-key = \"abcdefghijklmnopqrstuvwxyz0123456789\"\n\
         [[auth.service-keys]]\nname = \"pay\"\nkey = \"lgk_abcdefghijklmnopqrstuvwxyz0123456789\"",
    );
    let loaded = sources.load().unwrap();
    let printed = loaded.config.to_toml();
    assert!(!printed.contains("abcdefghijkl"), "{printed}");
    assert!(!format!("{:?}{:?}", loaded.config, loaded.settings()).contains("abcdefghijkl"));
    let again: Config = toml::from_str(&printed).unwrap();
    assert_eq!(again.engine, loaded.config.engine);
}

#[test]
fn doors_to_money_are_checked_before_they_open() {
    check_file(
        "[http]\norigins = [\"https://App.example.com/\"]\n[auth.viewer]\njwks-file = \"a\"\njwks-url = \"ftp://b\"\n\
         [auth.room-pass]\nsecret = \"short\"\nttl = \"1 s\"\n[recharge.douyin]\napp-id = \"tt\"\n\
         [[recharge.products]]\nid = \"a\"\nprice = 6\namount = 0\n[[recharge.products]]\nid = \"a\"\nprice = 6\namount = 1\n\
         [[recharge.hmac]]\nname = \"apple\"",
        expect![[r#"
            the configuration does not fit together:
              http.origins: `https://App.example.com/` is no origin; write scheme, host and port only, in lower case
              auth.viewer.jwks-file: is given twice, as a file and as a URL; keep one
              auth.viewer.jwks-url: must start with https:// (or http:// on a network of your own)
              auth.room-pass.secret: must have at least 32 bytes
              auth.room-pass.ttl: must be 5 s to 1 day
              recharge.products.0.amount: must be at least 1
              recharge.products.1.id: `a` is listed twice
              recharge.products.1.price: another product has the same price: which was bought?
              recharge.douyin: needs platform-key-file, or token or token-file
              recharge.hmac.0: needs its secret or secret-file
              recharge.hmac.0.name: `apple` cannot name a channel: use a-z, 0-9 and -, and each name once"#]],
    );
    check_file(
        "[limits]\nper-user = \"many\"",
        expect![[
            r#"FILE: `limits.per-user`: `many` is not a rate; write requests and a time span, such as "600 per 1 min""#
        ]],
    );
}
