//! Every key that is not about a namespace: where it stands, what it looks like, its default.
//!
//! A key at the top of the file is also a flag and `TIDEWIRE_KEY`; one in a table is also
//! `TIDEWIRE_TABLE_KEY`. Arrays of tables stand in the file alone.

use toml::Value;

use super::bounds;
use super::key::{Key, Shape};
use super::masked::masked;

pub(super) fn keys() -> Vec<Key> {
    let key = |path, shape, default| Key {
        path,
        shape,
        default,
        alias: None,
    };
    let text = |path, default: &str| key(path, Shape::Text, Value::String(default.into()));
    let integer = |path, default| key(path, Shape::Integer, Value::Integer(default));
    let flag = |path| key(path, Shape::Bool, Value::Boolean(false));
    let list = |path, shape| key(path, shape, Value::Array(Vec::new()));
    let alias = |key: Key, name| Key {
        alias: Some(name),
        ..key
    };
    let threshold = key(
        &["backpressure_threshold"],
        Shape::Float,
        Value::Float(0.85),
    );
    let fallback = key(&["enable_http_fallback"], Shape::Bool, Value::Boolean(true));
    let mut keys = vec![
        text(&["listen"], "127.0.0.1:7400"),
        text(&["admin"], "off"),
        list(&["admin_hosts"], Shape::List),
        flag(&["admin_open_metrics"]),
        list(&["api", "key"], Shape::Tables),
        text(&["broker"], "memory"),
        text(&["data_dir"], "./tidewire-data"),
        flag(&["dev_auth"]),
        flag(&["faults"]),
        list(&["allow_origin"], Shape::List),
        list(&["trusted_proxies"], Shape::List),
        fallback,
        integer(&["fallback_poll_interval_ms"], 3000),
        integer(&["drain_grace_ms"], 45_000),
        alias(
            integer(&["connections_max"], 15_000),
            "MAX_CONNECTIONS_PER_NODE",
        ),
        integer(&["connections_per_address"], 1000),
        integer(&["connections_unauthenticated_max"], 4000),
        integer(&["presence_grace_ms"], 5000),
        integer(&["channels_max"], 100_000),
        integer(&["disk_channels_max"], 100_000),
        integer(&["disk_bytes_max"], 10 << 30),
        integer(&["memory_bytes_max"], 0),
        alias(threshold, "BACKPRESSURE_THRESHOLD"),
        integer(&["frame_up_bytes"], 131_072),
        list(&["epoch_keys"], Shape::Secrets),
        text(&["log"], "info"),
        integer(&["timeouts", "heartbeat_s"], 25),
        integer(&["timeouts", "poll_hold_s"], 25),
        integer(&["limits", "rate", "connection", "per_s"], 1000),
        integer(&["limits", "rate", "connection", "burst"], 4000),
        integer(&["limits", "rate", "address", "per_s"], 0),
        integer(&["limits", "rate", "address", "burst"], 4000),
    ];
    keys.extend(bounds::keys());
    keys
}

/// Whether the values of a key are kept out of everything that is printed.
fn is_secret(path: &[String]) -> bool {
    keys()
        .iter()
        .any(|key| key.shape == Shape::Secrets && path == key.path)
}

/// The names of all keys, for whoever wrote another one.
pub(super) fn known() -> String {
    let names: Vec<String> = keys().iter().map(|key| key.path.join(".")).collect();
    format!(
        "unknown key; known ones are {} and namespace.NAME",
        names.join(", ")
    )
}

/// A value as it may be printed.
pub(super) fn shown(path: &[String], value: &Value) -> Value {
    if is_secret(path) {
        return masked(value);
    }
    if path != ["api", "key"] {
        return value.clone();
    }
    let mut value = value.clone();
    let tables = value.as_array_mut().into_iter().flatten();
    for table in tables.filter_map(Value::as_table_mut) {
        if let Some(digest) = table.get_mut("sha256") {
            *digest = masked(digest);
        }
    }
    value
}
