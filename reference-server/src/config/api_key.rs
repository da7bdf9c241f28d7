//! `[[api.key]]`: who may do what over the admin door.

use std::path::{Path, PathBuf};

use tidewire_core::ChannelName;
use toml::{Table, Value};

use super::masked::masked;
use super::names::is_segment;
use super::values::list;
use crate::channel_pattern::{ChannelPattern, ChannelPatternError};
use crate::principal::is_principal_name;

/// What a key is allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiRight {
    /// Look.
    Read,
    /// Change records, send messages.
    Write,
    /// Publish broadcasts.
    Publish,
    /// See who is present.
    Presence,
    /// Call routes.
    Call,
    /// Everything else: create, delete, drain.
    Admin,
}

impl ApiRight {
    const ALL: [(&'static str, Self); 6] = [
        ("read", Self::Read),
        ("write", Self::Write),
        ("publish", Self::Publish),
        ("presence", Self::Presence),
        ("call", Self::Call),
        ("admin", Self::Admin),
    ];

    /// As the file and answers name it.
    #[must_use]
    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(_, right)| *right == self);
        found.map_or("", |(name, _)| name)
    }
}

/// Where a key's secret comes from.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApiSecret {
    /// The first line of this file is the key.
    File(PathBuf),
    /// The SHA-256 of the key.
    Sha256([u8; 32]),
}

impl std::fmt::Debug for ApiSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({path:?})"),
            Self::Sha256(_) => f.write_str("Sha256(..)"),
        }
    }
}

/// One key of the admin door.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiKey {
    /// What logs and entries call it.
    pub name: String,
    /// What its bearer proves itself with.
    pub secret: ApiSecret,
    /// What it may do.
    pub rights: Vec<ApiRight>,
    /// On which channels.
    pub channels: Vec<ChannelPattern>,
    /// Of which tenants; `None`: of all.
    pub tenants: Option<Vec<String>>,
    /// As which principals it may act.
    pub act_as: Vec<String>,
}

impl ApiKey {
    /// A key with no right yet.
    #[must_use]
    pub fn new(name: impl Into<String>, secret: ApiSecret) -> Self {
        Self {
            name: name.into(),
            secret,
            rights: Vec::new(),
            channels: Vec::new(),
            tenants: None,
            act_as: Vec::new(),
        }
    }

    /// Whether it may do this at all.
    #[must_use]
    pub fn may(&self, right: ApiRight) -> bool {
        self.rights.contains(&right)
    }

    /// Whether a channel is one of its channels.
    #[must_use]
    pub fn covers(&self, channel: &ChannelName) -> bool {
        self.channels.iter().any(|pattern| pattern.matches(channel))
    }

    /// Whether what it may do is about every channel.
    #[must_use]
    pub fn covers_all(&self) -> bool {
        self.channels.contains(&ChannelPattern::All)
    }
}

/// One value in a key that cannot be used.
pub(super) struct Bad {
    /// Below `api.key`, as in `[0].rights`.
    pub(super) key: String,
    pub(super) value: String,
    pub(super) fix: String,
}

/// The longest name of a key: it stands in logs and entries.
const NAME_BYTES_MAX: usize = 64;

const KEYS: &str =
    "unknown key; a key has name, key_file or sha256, rights, channels, tenants and act_as";

/// Reads the list. Errors: every problem in it.
pub(super) fn api_keys(value: &Value, directory: &Path) -> Result<Vec<ApiKey>, Vec<Bad>> {
    let bad = |key: String, value: &dyn ToString, fix: &str| Bad {
        key,
        value: value.to_string(),
        fix: fix.into(),
    };
    let Some(list) = value.as_array() else {
        let fix = "must be a list of tables, each as [[api.key]]";
        return Err(vec![bad(String::new(), value, fix)]);
    };
    let mut keys: Vec<ApiKey> = Vec::new();
    let mut problems = Vec::new();
    for (at, item) in list.iter().enumerate() {
        let Some(table) = item.as_table() else {
            let fix = "must be a table, as in [[api.key]]";
            problems.push(bad(format!("[{at}]"), item, fix));
            continue;
        };
        match api_key(table, directory) {
            Ok(key) if keys.iter().any(|known| known.name == key.name) => {
                let fix = "another key has this name; give each its own";
                problems.push(bad(format!("[{at}].name"), &Value::String(key.name), fix));
            }
            Ok(key) => keys.push(key),
            Err(found) => problems.extend(found.into_iter().map(|problem| Bad {
                key: format!("[{at}]{}", problem.key),
                ..problem
            })),
        }
    }
    if problems.is_empty() {
        Ok(keys)
    } else {
        Err(problems)
    }
}

fn api_key(table: &Table, directory: &Path) -> Result<ApiKey, Vec<Bad>> {
    let mut key = ApiKey::new("", ApiSecret::File(PathBuf::new()));
    let mut secrets = 0;
    let mut problems = Vec::new();
    for (name, value) in table {
        let taken = match name.as_str() {
            "name" => name_of(value).map(|name| key.name = name),
            "key_file" | "sha256" => {
                secrets += 1;
                secret(name, value, directory).map(|secret| key.secret = secret)
            }
            "rights" => list(value, "rights", right).map(|rights| key.rights = rights),
            "channels" => list(value, "patterns", |text| {
                text.parse().map_err(|e: ChannelPatternError| e.to_string())
            })
            .map(|channels| key.channels = channels),
            "tenants" => list(value, "tenants", tenant).map(|tenants| key.tenants = Some(tenants)),
            "act_as" => list(value, "principals", principal).map(|names| key.act_as = names),
            _ => Err(KEYS.to_owned()),
        };
        if let Err(fix) = taken {
            let shown = match name.as_str() {
                "sha256" => masked(value),
                _ => value.clone(),
            };
            problems.push(Bad {
                key: format!(".{name}"),
                value: shown.to_string(),
                fix,
            });
        }
    }
    let mut whole = |key: &str, value: String, fix: &str| {
        problems.push(Bad {
            key: key.into(),
            value,
            fix: fix.into(),
        });
    };
    if !table.contains_key("name") {
        whole(
            ".name",
            "(absent)".into(),
            "name the key, as in name = \"billing\"",
        );
    }
    match secrets {
        0 => whole(
            ".key_file",
            "(absent)".into(),
            "say where the key is: key_file = \"FILE\", or the hash of it as sha256 = \"HEX\"",
        ),
        2 => whole(
            ".sha256",
            "(beside key_file)".into(),
            "a key has key_file or sha256, not both",
        ),
        _ => {}
    }
    if !table.contains_key("rights") {
        whole(
            ".rights",
            "(absent)".into(),
            "say what it may do, as in rights = [\"read\"]",
        );
    }
    let acts = [
        ApiRight::Write,
        ApiRight::Publish,
        ApiRight::Presence,
        ApiRight::Call,
    ];
    if !key.act_as.is_empty() && problems.is_empty() && !acts.iter().any(|right| key.may(*right)) {
        problems.push(Bad {
            key: ".act_as".into(),
            value: table
                .get("act_as")
                .map(ToString::to_string)
                .unwrap_or_default(),
            fix: "a key that neither writes, publishes, calls nor is present acts as nobody; \
                  give it such a right or remove act_as"
                .into(),
        });
    }
    if problems.is_empty() {
        Ok(key)
    } else {
        Err(problems)
    }
}

fn name_of(value: &Value) -> Result<String, String> {
    match value.as_str() {
        Some(name) if name.len() <= NAME_BYTES_MAX && is_segment(name) => Ok(name.into()),
        _ => Err("must be 1-64 of A-Z a-z 0-9 _ . -".into()),
    }
}

fn secret(name: &str, value: &Value, directory: &Path) -> Result<ApiSecret, String> {
    let text = value.as_str().unwrap_or_default();
    if name == "key_file" {
        return match text {
            "" => Err("must be the name of a file that holds the key".into()),
            file => Ok(ApiSecret::File(directory.join(file))),
        };
    }
    // Written like an epoch key: 32 bytes as hex digits.
    let digest: Result<crate::EpochKey, _> = text.parse();
    digest
        .map(|digest| ApiSecret::Sha256(*digest.as_bytes()))
        .map_err(|_| {
            "must be the SHA-256 of the key as 64 hex digits, as `sha256sum` prints it".into()
        })
}

fn right(text: &str) -> Result<ApiRight, String> {
    let found = ApiRight::ALL.iter().find(|(name, _)| *name == text);
    found.map(|(_, right)| *right).ok_or_else(|| {
        let names: Vec<&str> = ApiRight::ALL.iter().map(|(name, _)| *name).collect();
        format!("no right; known ones are {}", names.join(", "))
    })
}

fn tenant(text: &str) -> Result<String, String> {
    match is_segment(text) {
        true => Ok(text.into()),
        false => Err("a tenant is 1-64 of A-Z a-z 0-9 _ . -".into()),
    }
}

fn principal(text: &str) -> Result<String, String> {
    match is_principal_name(text) {
        true => Ok(text.into()),
        false => Err("a principal is 1-256 bytes without control characters".into()),
    }
}
