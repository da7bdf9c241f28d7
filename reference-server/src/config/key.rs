//! What a setting is: where it stands, and how its text becomes a value.

use toml::Value;

/// How the text of a flag or an environment variable becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Text,
    Bool,
    Integer,
    Float,
    List,
    /// A list that is never printed.
    Secrets,
    /// A list of tables: in the file alone.
    Tables,
}

pub(super) struct Key {
    pub(super) path: &'static [&'static str],
    pub(super) shape: Shape,
    pub(super) default: Value,
    /// An environment variable that deployments set already; its own one goes before it.
    pub(super) alias: Option<&'static str>,
}

impl Key {
    /// The environment variable that sets it.
    pub(super) fn variable(&self) -> Option<String> {
        let name = || format!("TIDEWIRE_{}", self.path.join("_").to_ascii_uppercase());
        (self.shape != Shape::Tables).then(name)
    }

    pub(super) fn owned_path(&self) -> Vec<String> {
        self.path.iter().map(|&part| part.to_owned()).collect()
    }
}
