//! Raw values → [`Config`]: every problem is named, with its key, its value and what to do.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use tidewire_core::wire::Limits;
use toml::Value;

use super::keys;
use super::names::is_segment;
use super::origin;
use super::sources::{Setting, Settings, Source, dotted};
use super::values::{address, boolean, list, number, text};
use super::{BrokerKind, Cidr, Config, Create, Namespace, api_key};
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
                source: Source::Program,
                fix: fix.into(),
            }],
        }
    }
}

/// Below it a hello with the longest token would not fit; above it one client could take more memory than
/// all that is told to it.
const FRAME_UP_BYTES: (u64, u64) = (32 * 1024, 16 * 1024 * 1024);

const NAMESPACE_KEYS: &str = "unknown key; a namespace has kind, history, lag, create, \
    presence_grace_ms and collections.NAME.schema";

impl Config {
    /// Judges raw values.
    ///
    /// Errors: all problems at once, in the order of their keys.
    pub fn from_settings(settings: &Settings) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        config.namespaces.clear();
        let mut problems = Vec::new();
        for (path, setting) in &settings.values {
            let mut problem = |key: String, value: String, fix: String| {
                problems.push(Problem {
                    key,
                    value,
                    source: setting.source.clone(),
                    fix,
                });
            };
            if path == &["api", "key"] {
                match api_key::api_keys(&setting.value, &settings.directory) {
                    Ok(keys) => config.api_keys = keys,
                    Err(bad) => {
                        for api_key::Bad { key, value, fix } in bad {
                            problem(format!("{}{key}", dotted(path)), value, fix);
                        }
                    }
                }
            } else if let Err(fix) = config.take(path, setting, &settings.directory) {
                let value = keys::shown(path, &setting.value);
                problem(dotted(path), value.to_string(), fix);
            }
        }
        if let Err(error) = config.check() {
            problems.extend(settings.attribute(error).problems);
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
        match self.admin {
            Some(admin) if !admin.ip().is_loopback() && self.api_keys.is_empty() => {
                Err(ConfigError::one(
                    "admin",
                    format_args!("{:?}", admin.to_string()),
                    "not a loopback address, and without a key whoever reaches it rules; add an \
                     [[api.key]] to the file, or use 127.0.0.1",
                ))
            }
            _ => Ok(()),
        }
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
                self.dev_auth = boolean(value)?;
            }
            ["allow_origin"] => self.allow_origin = origins(value)?,
            ["drain_grace_ms"] => {
                self.drain_grace = Duration::from_millis(number(value, 0, 3_600_000)?);
            }
            ["connections_max"] => {
                self.connections_max = number(value, 1, 10_000_000)? as usize;
            }
            ["presence_grace_ms"] => self.presence_grace = grace(value)?,
            ["connections_per_address"] => {
                self.connections_per_address = number(value, 1, 10_000_000)? as usize;
            }
            ["connections_unauthenticated_max"] => {
                self.connections_unauthenticated_max = number(value, 1, 10_000_000)? as usize;
            }
            ["trusted_proxies"] => {
                self.trusted_proxies = list(value, "ranges of addresses", |text| {
                    text.parse::<Cidr>().map_err(|error| error.to_string())
                })?;
            }
            ["admin_hosts"] => {
                self.admin_hosts = list(value, "names of hosts", host)?;
            }
            ["admin_open_metrics"] => self.admin_open_metrics = boolean(value)?,
            ["faults"] => self.faults = boolean(value)?,
            [
                "limits",
                "rate",
                whose @ ("connection" | "address"),
                what @ ("per_s" | "burst"),
            ] => {
                let rate = match whose {
                    "connection" => &mut self.rates.connection,
                    _ => &mut self.rates.address,
                };
                match what {
                    "per_s" => rate.per_s = number(value, 0, 10_000_000)? as u32,
                    _ => rate.burst = number(value, 1, 10_000_000)? as u32,
                }
            }
            ["disk_channels_max"] => {
                self.disk_channels_max = number(value, 1, 1 << 40)?;
            }
            ["disk_bytes_max"] => {
                self.disk_bytes_max = number(value, 1, i64::MAX as u64)?;
            }
            ["memory_bytes_max"] => {
                self.memory_bytes_max = number(value, 0, i64::MAX as u64)?;
            }
            ["backpressure_threshold"] => {
                let share = value.as_float().or(value.as_integer().map(|n| n as f64));
                let share = share.filter(|share| (0.01..=1.0).contains(share));
                self.backpressure_threshold =
                    share.ok_or("must be a part of memory_bytes_max, from 0.01 to 1.0")?;
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
            ["timeouts", "poll_hold_s"] => {
                self.timeouts.poll_hold = Duration::from_secs(number(value, 1, 60)?);
            }
            ["enable_http_fallback"] => self.enable_http_fallback = boolean(value)?,
            ["fallback_poll_interval_ms"] => {
                self.fallback_poll_interval = Duration::from_millis(number(value, 100, 60_000)?);
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
            _ => {
                return self
                    .bounds
                    .take(&path, value)
                    .unwrap_or_else(|| Err(keys::known()));
            }
        }
        Ok(())
    }
}

/// Longer than an hour nobody waits for a peer.
fn grace(value: &Value) -> Result<Duration, String> {
    number(value, 0, 3_600_000).map(Duration::from_millis)
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
            ["presence_grace_ms"] => self.presence_grace = Some(grace(value)?),
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

impl Settings {
    /// Names the sources of values that are wrong only together, or only once what they name was looked
    /// at.
    pub(crate) fn attribute(&self, error: ConfigError) -> ConfigError {
        let source = |key: &str| {
            let known = |path: &[String]| {
                let written = dotted(path);
                key == written
                    || key
                        .strip_prefix(&written)
                        .is_some_and(|rest| rest.starts_with('['))
            };
            let found = self.values.iter().find(|(path, _)| known(path));
            found.map_or(Source::Default, |(_, setting)| setting.source.clone())
        };
        let problems = error.problems.into_iter();
        ConfigError {
            problems: problems
                .map(|problem| Problem {
                    source: source(&problem.key),
                    ..problem
                })
                .collect(),
        }
    }
}

/// A host as it stands in a `Host` header, without port.
fn host(text: &str) -> Result<String, String> {
    match origin::split_port(text) {
        Some((host, None)) if host == text => Ok(text.to_ascii_lowercase()),
        _ => Err("write the name or address alone, without port, as in \"admin.internal\"".into()),
    }
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
    list(value, "origins", |text| match origin::is_origin(text) {
        true => Ok(text.to_owned()),
        false => Err(
            "not an origin; write SCHEME://HOST[:PORT] as the browser sends it, as in \
                      \"https://app.example.com\""
                .into(),
        ),
    })
}
