//! Where values come from: flags over environment over file over defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::Value;

#[cfg(feature = "net")]
use super::key::Key;
use super::key::Shape;
use super::keys::{self, keys};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A command line flag.
    Flag(String),
    /// An environment variable.
    Env(String),
    /// The file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
    /// The program that built the configuration.
    Program,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Default => f.write_str("default"),
            Self::Program => f.write_str("set by the program"),
        }
    }
}

/// One raw value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// What it says; nobody has looked at it yet.
    pub value: Value,
    /// Who said it.
    pub source: Source,
}

/// What the command line says. `None`: the flag was not given.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// All other flags that were given, by key.
    pub values: BTreeMap<&'static str, Value>,
}

/// Why the sources could not be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file is not readable.
    #[error("config = {path:?} ({origin}): {error}; name a file that this user can read")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Who named it.
        origin: Source,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("config = {path:?} ({origin}) is not TOML: {error}")]
    NotToml {
        /// Which.
        path: PathBuf,
        /// Who named it.
        origin: Source,
        /// Where and why.
        error: Box<toml::de::Error>,
    },
}

fn namespace_defaults() -> [(&'static str, Value); 4] {
    [
        ("kind", Value::String("state".into())),
        ("history", Value::Integer(2000)),
        ("lag", Value::String("resync".into())),
        ("create", Value::String("on_use".into())),
    ]
}

/// All raw values by key, each with its source.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) values: BTreeMap<Vec<String>, Setting>,
    /// Paths inside the file are relative to where it is.
    pub(super) directory: PathBuf,
}

impl Settings {
    /// Reads all sources.
    ///
    /// `env` looks up an environment variable. Errors: only what keeps the values from being read;
    /// whether they make sense is for [`super::Config::from_settings`].
    pub fn load(
        overrides: &Overrides,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, LoadError> {
        Self::load_with(overrides, env, |path| std::fs::read_to_string(path))
    }

    /// Like [`Self::load`], with another way to the text of the file.
    pub fn load_with(
        overrides: &Overrides,
        env: impl Fn(&str) -> Option<String>,
        read: impl FnOnce(&Path) -> std::io::Result<String>,
    ) -> Result<Self, LoadError> {
        let mut values = BTreeMap::new();
        let mut set = |path: Vec<String>, value, source| {
            values.insert(path, Setting { value, source });
        };
        for key in keys() {
            set(key.owned_path(), key.default, Source::Default);
        }
        let mut directory = PathBuf::new();
        let mut names = Vec::new();
        if let Some((path, origin)) = file_path(overrides, &env) {
            let table = parse_file(&path, origin, read)?;
            if let Some(Value::Table(namespaces)) = table.get("namespace") {
                names.extend(namespaces.keys().cloned());
            }
            let source = Source::File(path.clone());
            flatten(&mut Vec::new(), Value::Table(table), &mut |path, value| {
                // A namespace without any key is complete: its defaults follow below.
                let bare = path.len() == 2 && path[0] == "namespace" && value.is_table();
                if !bare {
                    set(path, value, source.clone());
                }
            });
            directory = path.parent().map(Path::to_path_buf).unwrap_or_default();
        } else {
            names.push("*".into());
        }
        for key in keys() {
            let names = key.alias.map(str::to_owned).into_iter();
            for name in names.chain(key.variable()) {
                if let Some(text) = env(&name) {
                    let value = from_env(key.shape, text);
                    set(key.owned_path(), value, Source::Env(name));
                }
            }
        }
        for (key, value) in &overrides.values {
            let name = format!("--{}", key.replace('_', "-"));
            set(vec![(*key).into()], value.clone(), Source::Flag(name));
        }
        if names.is_empty() && !values.contains_key(&vec!["namespace".to_owned()]) {
            names.push("*".into());
        }
        for name in names {
            for (key, value) in namespace_defaults() {
                let path = vec!["namespace".into(), name.clone(), key.into()];
                values.entry(path).or_insert(Setting {
                    value,
                    source: Source::Default,
                });
            }
        }
        Ok(Self { values, directory })
    }

    /// The raw value of a key, as in `["namespace", "board", "history"]`.
    #[must_use]
    pub fn value(&self, path: &[&str]) -> Option<&Setting> {
        let path: Vec<String> = path.iter().map(|&part| part.into()).collect();
        self.values.get(&path)
    }
}

impl fmt::Display for Settings {
    /// TOML again: one line per value, where it came from as a comment.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<(String, &Setting)> = self
            .values
            .iter()
            .map(|(path, setting)| {
                let value = keys::shown(path, &setting.value);
                (format!("{} = {value}", dotted(path)), setting)
            })
            .collect();
        let width = lines.iter().map(|(line, _)| line.len()).max();
        let width = width.unwrap_or_default().min(60);
        for (line, setting) in lines {
            writeln!(f, "{line:width$}  # {}", setting.source)?;
        }
        Ok(())
    }
}

/// Those of `names` that look like settings of the server and are none: typos, mostly.
///
/// They are not errors, because other programs of the same machine may have their own. `others` are known
/// elsewhere.
#[cfg(feature = "net")]
pub(crate) fn unknown_env(names: impl Iterator<Item = String>, others: &[&str]) -> Vec<String> {
    let known: Vec<String> = keys().iter().filter_map(Key::variable).collect();
    names
        .filter(|name| {
            let looks = name.starts_with("TIDEWIRE_") && name != "TIDEWIRE_CONFIG";
            let looks = looks && !others.contains(&name.as_str());
            looks && !known.iter().any(|known| known.eq_ignore_ascii_case(name))
        })
        .collect()
}

/// A path as TOML writes it.
pub(crate) fn dotted(path: &[String]) -> String {
    let bare = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    let parts: Vec<String> = path
        .iter()
        .map(|part| match bare(part) {
            true => part.clone(),
            false => Value::String(part.clone()).to_string(),
        })
        .collect();
    parts.join(".")
}

fn file_path(
    overrides: &Overrides,
    env: impl Fn(&str) -> Option<String>,
) -> Option<(PathBuf, Source)> {
    if let Some(path) = &overrides.config {
        return Some((path.clone(), Source::Flag("--config".into())));
    }
    let path = env("TIDEWIRE_CONFIG")?;
    Some((path.into(), Source::Env("TIDEWIRE_CONFIG".into())))
}

fn parse_file(
    path: &Path,
    origin: Source,
    read: impl FnOnce(&Path) -> std::io::Result<String>,
) -> Result<toml::Table, LoadError> {
    let text = read(path).map_err(|error| LoadError::Unreadable {
        path: path.into(),
        origin: origin.clone(),
        error,
    })?;
    text.parse().map_err(|error| LoadError::NotToml {
        path: path.into(),
        origin,
        error: Box::new(error),
    })
}

/// Calls `leaf` for every value that is not a table, and for empty tables below the top.
fn flatten(path: &mut Vec<String>, value: Value, leaf: &mut impl FnMut(Vec<String>, Value)) {
    match value {
        Value::Table(table) if path.is_empty() || !table.is_empty() => {
            for (key, value) in table {
                path.push(key);
                flatten(path, value, leaf);
                path.pop();
            }
        }
        value => leaf(path.clone(), value),
    }
}

/// Text that does not have the shape stays text: it is printed as it is, and judged later.
fn from_env(shape: Shape, text: String) -> Value {
    match shape {
        Shape::Text => Value::String(text),
        Shape::Bool => match text.as_str() {
            "true" | "1" => Value::Boolean(true),
            "false" | "0" => Value::Boolean(false),
            _ => Value::String(text),
        },
        Shape::Integer => match text.parse() {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::String(text),
        },
        Shape::Float => match text.parse() {
            Ok(number) => Value::Float(number),
            Err(_) => Value::String(text),
        },
        Shape::List | Shape::Secrets | Shape::Tables => Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(|part| Value::String(part.into()))
                .collect(),
        ),
    }
}
