use std::collections::BTreeMap;

use super::*;

fn settings(toml: &str, env: &[(&str, &str)]) -> Settings {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.toml");
    std::fs::write(&file, toml).unwrap();
    let overrides = Overrides {
        config: Some(file),
        values: BTreeMap::new(),
    };
    let env = |name: &str| {
        let found = env.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Settings::load(&overrides, env).unwrap()
}

#[test]
fn the_defaults_of_sources_and_of_the_type_are_the_same() {
    let nothing = Settings::load(&Overrides::default(), |_| None).unwrap();
    let parsed = Config::from_settings(&nothing).unwrap();
    assert_eq!(format!("{parsed:?}"), format!("{:?}", Config::default()));
}

#[test]
fn a_file_without_namespaces_leaves_the_default_one() {
    let config = Config::from_settings(&settings("log = 'warn'", &[])).unwrap();
    assert_eq!(config.namespace("anything").unwrap().history, 2000);
}

#[test]
fn a_log_filter_that_its_parser_would_panic_at_is_refused() {
    let refused = Config::from_settings(&settings("log = '[ϋ[[{a = 1}'", &[])).unwrap_err();
    assert!(refused.to_string().contains("ASCII"), "{refused}");
}

#[test]
fn a_named_namespace_goes_before_the_star_and_others_are_unknown() {
    let toml = "[namespace.board]\nhistory = 5\nlag = 'conflate'\ncreate = 'admin'";
    let config = Config::from_settings(&settings(toml, &[])).unwrap();
    let board = config.namespace("board").unwrap();
    assert_eq!(
        (board.history, board.lag, board.create),
        (5, Lag::Conflate, Create::Admin)
    );
    assert!(config.namespace("chat").is_none());
    let both = format!("{toml}\n[namespace.'*']\nhistory = 6");
    let config = Config::from_settings(&settings(&both, &[])).unwrap();
    assert_eq!(config.namespace("board").unwrap().history, 5);
    assert_eq!(config.namespace("chat").unwrap().history, 6);
}

#[test]
fn environment_texts_become_what_their_key_needs() {
    let env = [
        ("TIDEWIRE_DEV_AUTH", "1"),
        (
            "TIDEWIRE_ALLOW_ORIGIN",
            "https://a.example.com, https://b.example.com",
        ),
        ("TIDEWIRE_CONNECTIONS_MAX", "5"),
        ("TIDEWIRE_ADMIN", "127.0.0.1:0"),
    ];
    let config = Config::from_settings(&settings("", &env)).unwrap();
    assert!(config.dev_auth);
    assert_eq!(
        config.allow_origin,
        ["https://a.example.com", "https://b.example.com"]
    );
    assert_eq!(config.connections_max, 5);
    assert_eq!(config.admin, Some("127.0.0.1:0".parse().unwrap()));
}

#[test]
fn a_key_in_a_table_is_a_variable_of_table_and_key() {
    let toml = "[timeouts]\nheartbeat_s = 7";
    let config = Config::from_settings(&settings(toml, &[])).unwrap();
    assert_eq!(config.timeouts.heartbeat.as_secs(), 7);
    assert_eq!(config.timeouts.silence.as_secs(), 21);
    let env = [("TIDEWIRE_TIMEOUTS_HEARTBEAT_S", "9")];
    let config = Config::from_settings(&settings(toml, &env)).unwrap();
    assert_eq!(config.timeouts.heartbeat.as_secs(), 9);
}

#[test]
fn rates_are_set_by_whose_they_are() {
    let toml = "[limits.rate.connection]\nper_s = 5\n[limits.rate.address]\nper_s = 6\nburst = 7";
    let env = [("TIDEWIRE_LIMITS_RATE_CONNECTION_BURST", "8")];
    let config = Config::from_settings(&settings(toml, &env)).unwrap();
    assert_eq!(config.rates.connection, Rate::new(5, 8));
    assert_eq!(config.rates.address, Rate::new(6, 7));
}

#[test]
fn bounds_are_numbers_of_the_limits_table() {
    let toml = "backpressure_threshold = 1\n[limits]\npeers = 7\ndocument_bytes = 5000";
    let env = [
        ("TIDEWIRE_LIMITS_PUSHES", "3"),
        ("TIDEWIRE_MEMORY_BYTES_MAX", "1000"),
    ];
    let config = Config::from_settings(&settings(toml, &env)).unwrap();
    assert_eq!((config.bounds.peers, config.bounds.pushes), (7, 3));
    assert_eq!(config.bounds.document_bytes, 5000);
    assert_eq!(config.memory_bytes_max, 1000);
    assert!((config.backpressure_threshold - 1.0).abs() < f64::EPSILON);
    let refused = |toml: &str| Config::from_settings(&settings(toml, &[])).unwrap_err();
    let error = refused("[limits]\npeers = 0\nprs = 1").to_string();
    assert!(
        error.contains("limits.peers = 0") && error.contains("from 1 to 10000"),
        "{error}"
    );
    assert!(
        error.contains("limits.prs = 1") && error.contains("limits.peers,"),
        "{error}"
    );
    for threshold in ["0", "1.01", "nan", "'x'"] {
        let error = refused(&format!("backpressure_threshold = {threshold}")).to_string();
        assert!(error.contains("from 0.01 to 1.0"), "{error}");
    }
}

#[test]
fn variables_that_deployments_set_already_count_below_our_own() {
    let alias = ("MAX_CONNECTIONS_PER_NODE", "5");
    let config = Config::from_settings(&settings("connections_max = 4", &[alias])).unwrap();
    assert_eq!(config.connections_max, 5);
    let both = [alias, ("TIDEWIRE_CONNECTIONS_MAX", "6")];
    let config = Config::from_settings(&settings("", &both)).unwrap();
    assert_eq!(config.connections_max, 6);
}

#[test]
fn a_small_frame_takes_the_limits_along_that_have_to_fit_it() {
    let config = Config::from_settings(&settings("frame_up_bytes = 40_000", &[])).unwrap();
    let limits = config.limits;
    assert_eq!(limits.frame_up_bytes, 40_000);
    assert_eq!((limits.push_bytes, limits.mutation_bytes), (20_000, 20_000));
    let config = Config::from_settings(&settings("frame_up_bytes = 1_000_000", &[])).unwrap();
    assert_eq!(config.limits.push_bytes, 64 * 1024);
}

#[test]
fn epoch_keys_come_from_every_source_in_their_order() {
    let (one, two) = ("11".repeat(32), "22".repeat(32));
    let both = format!("{one},{two}");
    let config = Config::from_settings(&settings("", &[("TIDEWIRE_EPOCH_KEYS", &both)])).unwrap();
    let keys: Vec<String> = config.epoch_keys.iter().map(EpochKey::to_hex).collect();
    assert_eq!(keys, [one.clone(), two.clone()]);
    let flags = ["--epoch-keys", &two, "--epoch-keys", &one];
    let overrides = Overrides::from_args(flags).unwrap();
    let loaded = Settings::load(&overrides, |_| None).unwrap();
    let config = Config::from_settings(&loaded).unwrap();
    let keys: Vec<String> = config.epoch_keys.iter().map(EpochKey::to_hex).collect();
    assert_eq!(keys, [two, one]);
}

#[test]
fn schema_paths_are_relative_to_the_file() {
    let toml = "[namespace.board.collections.cards]\nschema = 'schemas/card.json'";
    let config = Config::from_settings(&settings(toml, &[])).unwrap();
    let path = &config.namespace("board").unwrap().schemas["cards"];
    assert!(
        path.is_absolute() && path.ends_with("schemas/card.json"),
        "{path:?}"
    );
}

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let toml = "listen = '127.0.0.1:1'\nallow_origin = ['https://a.example.com']\n\
        [namespace.'*']\n[namespace.board]\nhistory = 5\n[namespace.a-b]\n";
    let first = settings(toml, &[]);
    let second = settings(&first.to_string(), &[]);
    let values = |settings: &Settings| {
        let values = settings.values.iter();
        values
            .map(|(path, setting)| (path.clone(), setting.value.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(values(&first), values(&second));
}

#[test]
fn development_tokens_and_a_public_address_do_not_go_together_in_any_source() {
    let config = Config {
        dev_auth: true,
        listen: "0.0.0.0:0".parse().unwrap(),
        ..Config::default()
    };
    let error = config.check().unwrap_err();
    assert_eq!(error.problems[0].key, "listen");
    let toml = "dev_auth = true\nlisten = '0.0.0.0:0'";
    let error = Config::from_settings(&settings(toml, &[])).unwrap_err();
    assert!(matches!(error.problems[0].source, Source::File(_)));
}

#[test]
fn variables_that_look_like_settings_and_are_none_are_found() {
    let names = [
        "TIDEWIRE_LISTN",
        "TIDEWIRE_LISTEN",
        "TIDEWIRE_CONFIG",
        "PATH",
        "LISTN",
    ];
    let unknown = unknown_env(
        names.into_iter().map(str::to_owned),
        &["TIDEWIRE_API_KEY_FILE"],
    );
    assert_eq!(unknown, ["TIDEWIRE_LISTN"]);
}
