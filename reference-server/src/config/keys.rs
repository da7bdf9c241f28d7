//! Every key that is not about a namespace: where it stands, what it looks like, its default.
//!
//! A key at the top of the file is also a flag and `TIDEWIRE_KEY`; one in a table is also
//! `TIDEWIRE_TABLE_KEY`. Arrays of tables stand in the file alone.

use toml::Value;

/// How the text of a flag or an environment variable becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Bool,
    Integer,
    List,
    /// A list that is never printed.
    Secrets,
}

pub(super) struct Key {
    pub(super) path: &'static [&'static str],
    pub(super) shape: Shape,
    pub(super) default: Value,
}

impl Key {
    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> String {
        format!("TIDEWIRE_{}", self.path.join("_").to_ascii_uppercase())
    }

    pub(super) fn owned_path(&self) -> Vec<String> {
        self.path.iter().map(|&part| part.to_owned()).collect()
    }
}

pub(super) fn keys() -> Vec<Key> {
    let key = |path, shape, default| Key {
        path,
        shape,
        default,
    };
    let text = |path, default: &str| key(path, Shape::Text, Value::String(default.into()));
    let integer = |path, default| key(path, Shape::Integer, Value::Integer(default));
    let flag = |path| key(path, Shape::Bool, Value::Boolean(false));
    let list = |path, shape| key(path, shape, Value::Array(Vec::new()));
    vec![
        text(&["listen"], "127.0.0.1:7400"),
        text(&["admin"], "off"),
        text(&["broker"], "memory"),
        text(&["data_dir"], "./tidewire-data"),
        flag(&["dev_auth"]),
        list(&["allow_origin"], Shape::List),
        integer(&["drain_grace_ms"], 45_000),
        integer(&["connections_max"], 10_000),
        integer(&["channels_max"], 100_000),
        integer(&["frame_up_bytes"], 131_072),
        list(&["epoch_keys"], Shape::Secrets),
        text(&["log"], "info"),
        integer(&["timeouts", "heartbeat_s"], 25),
    ]
}

/// Whether the values of a key are kept out of everything that is printed.
pub(super) fn is_secret(path: &[String]) -> bool {
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

/// What a secret shows of itself: enough to tell which one it is, too little to use it.
pub(super) fn masked(value: &Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.iter().map(masked).collect()),
        Value::String(text) => {
            let shown: String = text.chars().take(4).collect();
            let length = text.chars().count();
            Value::String(format!(
                "{shown}… ({length} characters, the rest is not shown)"
            ))
        }
        other => other.clone(),
    }
}
