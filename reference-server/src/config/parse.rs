//! Raw values → [`Config`]: every problem is named, with its key, its value and what to do.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tidewire_core::wire::Limits;
use toml::Value;

use super::keys;
use super::names::is_segment;
use super::origin;
use super::sources::{Setting, Settings, Source, dotted};
use super::{BrokerKind, Config, Create, Namespace};
use crate::channel::Lag;
use crate::epoch_key::EpochKey;

/// One value that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, dotted.
    pub key: String,
    /// The value as TOML.
    pub value: String,
    /// Where it came from.
    pub source: Source,
    /// What is wrong, and what to do instead.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            value,
            source,
            fix,
        } = self;
        write!(f, "{key} = {value} ({source}): {fix}")
    }
}

/// The configuration cannot be used; every problem in it, one per line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// A value that is out of place in a configuration built by a program.
    pub(crate) fn one(key: impl Into<String>, value: impl fmt::Display, fix: &str) -> Self {
        Self {
            problems: vec![Problem {
                key: key.into(),
                value: value.to_string(),
                source: Source::Default,
                fix: fix.into(),
            }],
        }
    }
}

/// Below it a hello with the longest token would not fit; above it one client could take more memory than
/// all that is told to it.
const FRAME_UP_BYTES: (u64, u64) = (32 * 1024, 16 * 1024 * 1024);

const NAMESPACE_KEYS: &str = "unknown key; a namespace has kind, history, lag, create and \
    collections.NAME.schema";

impl Config {
    /// Judges raw values.
    ///
    /// Errors: all problems at once, in the order of their keys.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.namespaces.clear();
        let mut problems = Vec::new();
        for (path, setting) in &settings.values {
            if let Err(fix) = config.take(path, setting, &settings.directory) {
                problems.push(Problem {
                    key: dotted(path),
                    value: setting.shown(path).to_string(),
                    source: setting.source.clone(),
                    fix,
                });
            }
        }
        if let Err(error) = config.check() {
            let source = |key: &str| match settings.value(&[key]) {
                Some(setting) => setting.source.clone(),
                None => Source::Default,
            };
            problems.extend(error.problems.into_iter().map(|problem| Problem {
                source: source(&problem.key),
                ..problem
            }));
        }
        match problems.is_empty() {
            true => Ok(config),
            false => Err(ConfigError { problems }),
        }
    }

    /// Rules between values, also for a configuration that a program built.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.dev_auth && !self.listen.ip().is_loopback() {
            return Err(ConfigError::one(
                "listen",
                format_args!("{:?}", self.listen.to_string()),
                "not a loopback address, and dev_auth lets everyone in; \
                 listen on 127.0.0.1 or turn dev_auth off",
            ));
        }
        Ok(())
    }

    fn take(&mut self, path: &[String], setting: &Setting, directory: &Path) -> Result<(), String> {
        let value = &setting.value;
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match path[..] {
            ["listen"] => self.listen = address(value)?,
            ["admin"] => {
                self.admin = match value.as_str() {
                    Some("off") => None,
                    _ => Some(address(value).map_err(|fix| format!("{fix}, or off"))?),
                };
            }
            ["broker"] => self.broker = broker(value)?,
            ["data_dir"] => {
                let path = text(value)?;
                if path.is_empty() {
                    return Err("empty; name a directory".into());
                }
                self.data_dir = path.into();
            }
            ["dev_auth"] => {
                self.dev_auth = value.as_bool().ok_or("must be true or false")?;
            }
            ["allow_origin"] => self.allow_origin = origins(value)?,
            ["drain_grace_ms"] => {
                self.drain_grace = Duration::from_millis(number(value, 0, 3_600_000)?);
            }
            ["connections_max"] => {
                self.connections_max = number(value, 1, 10_000_000)? as usize;
            }
            ["channels_max"] => {
                self.channels_max = number(value, 1, 100_000_000)? as usize;
            }
            ["frame_up_bytes"] => {
                let bytes = number(value, FRAME_UP_BYTES.0, FRAME_UP_BYTES.1)? as u32;
                let default = Limits::DEFAULT;
                self.limits.frame_up_bytes = bytes;
                // What does not fit a frame could never be pushed.
                self.limits.mutation_bytes = default.mutation_bytes.min(bytes / 2);
                self.limits.push_bytes = default.push_bytes.min(bytes / 2);
            }
            ["epoch_keys"] => self.epoch_keys = epoch_keys(value)?,
            ["timeouts", "heartbeat_s"] => {
                self.timeouts
                    .set_heartbeat(Duration::from_secs(number(value, 1, 60)?));
            }
            ["log"] => {
                let filter = text(value)?;
                // Its parser cuts between bytes and panics inside of a character (found by fuzzing).
                if !filter.is_ascii() {
                    return Err("only ASCII can name a target or level of the log".into());
                }
                if let Err(error) = tracing_subscriber::EnvFilter::try_new(filter) {
                    return Err(format!(
                        "{error}; use a level, or TARGET=LEVEL, as in \"info,tidewire_server=debug\""
                    ));
                }
                self.log = filter.into();
            }
            ["namespace", name, ref rest @ ..] if !rest.is_empty() => {
                if name != "*" && !is_segment(name) {
                    return Err("a namespace's name must be 1-64 of A-Z a-z 0-9 _ . -, or *".into());
                }
                let namespace = self.namespaces.entry(name.into()).or_default();
                namespace.take(rest, value, directory)?;
            }
            ["namespace", ..] => return Err("must be a table, as in [namespace.board]".into()),
            _ => return Err(keys::known()),
        }
        Ok(())
    }
}

impl Namespace {
    fn take(&mut self, path: &[&str], value: &Value, directory: &Path) -> Result<(), String> {
        match path {
            ["kind"] => match value.as_str() {
                Some("state") => {}
                Some("stream" | "broadcast") => {
                    return Err("not offered by this version; use \"state\"".into());
                }
                _ => return Err("must be \"state\"".into()),
            },
            ["history"] => self.history = number(value, 1, 10_000_000)? as usize,
            ["lag"] => {
                self.lag = match value.as_str() {
                    Some("conflate") => Lag::Conflate,
                    Some("resync") => Lag::Resync,
                    Some("close") => Lag::Close,
                    _ => {
                        return Err("must be \"conflate\", \"resync\" or \"close\"".into());
                    }
                };
            }
            ["create"] => {
                self.create = match value.as_str() {
                    Some("on_use") => Create::OnUse,
                    Some("admin") => Create::Admin,
                    _ => return Err("must be \"on_use\" or \"admin\"".into()),
                };
            }
            ["collections", collection, "schema"] => {
                let path = directory.join(text(value)?);
                self.schemas.insert((*collection).into(), path);
            }
            ["collections", _, "id_lists"] => {
                return Err(
                    "not offered by this version; remove it and keep the order in a field \
                     of each record"
                        .into(),
                );
            }
            _ => return Err(NAMESPACE_KEYS.into()),
        }
        Ok(())
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| "must be a text".into())
}

fn number(value: &Value, min: u64, max: u64) -> Result<u64, String> {
    value
        .as_integer()
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

fn address(value: &Value) -> Result<SocketAddr, String> {
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| "not an address; use IP:PORT, as in \"127.0.0.1:7400\"".into())
}

fn broker(value: &Value) -> Result<BrokerKind, String> {
    match text(value)? {
        "memory" => Ok(BrokerKind::Memory),
        "disk" => Ok(BrokerKind::Disk),
        url if url.starts_with("redis:")
            || url.starts_with("rediss:")
            || url.starts_with("nats:") =>
        {
            Err("not offered by this version; use \"disk\" or \"memory\"".into())
        }
        _ => Err("must be \"memory\" or \"disk\"".into()),
    }
}

fn epoch_keys(value: &Value) -> Result<Vec<EpochKey>, String> {
    let list = value
        .as_array()
        .ok_or("must be a list of keys, each 64 hex digits")?;
    list.iter()
        .enumerate()
        .map(|(at, item)| {
            let key = item.as_str().unwrap_or_default().parse::<EpochKey>();
            key.map_err(|error| format!("key {} is wrong: {error}", at + 1))
        })
        .collect()
}

fn origins(value: &Value) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or("must be a list of origins")?;
    list.iter()
        .map(|item| match item.as_str() {
            Some(text) if origin::is_origin(text) => Ok(text.to_owned()),
            _ => Err(format!(
                "{item} is not an origin; write SCHEME://HOST[:PORT] as the browser sends it, \
                 as in \"https://app.example.com\""
            )),
        })
        .collect()
}
