//! JSON Schema for the records of a collection.
//!
//! A schema judges the record as the change would leave it. References are never fetched: a schema
//! that points outside its own file does not compile.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;
use tidewire_core::document::change::{apply_change, target};
use tidewire_core::document::{Record, Rejection};
use tidewire_core::wire::{ChangeKind, ErrorCode, Limits};

use crate::config::{Config, ConfigError, dotted};

/// Compiled schemas by namespace and collection.
#[derive(Clone, Default)]
pub(crate) struct Schemas {
    namespaces: HashMap<String, HashMap<String, Arc<Validator>>>,
}

impl Schemas {
    /// Reads and compiles every schema that the configuration names.
    ///
    /// Errors: all schemas that cannot be used.
    pub(crate) fn load(config: &Config) -> Result<Self, ConfigError> {
        let mut schemas = Self::default();
        let mut problems = Vec::new();
        for (name, namespace) in &config.namespaces {
            for (collection, path) in &namespace.schemas {
                match compile(path) {
                    Ok(validator) => {
                        let collections = schemas.namespaces.entry(name.clone()).or_default();
                        collections.insert(collection.clone(), Arc::new(validator));
                    }
                    Err(fix) => {
                        let path_of = ["namespace", name, "collections", collection, "schema"];
                        let key = dotted(&path_of.map(str::to_owned));
                        let error = ConfigError::one(key, format_args!("{path:?}"), &fix);
                        problems.extend(error.problems);
                    }
                }
            }
        }
        match problems.is_empty() {
            true => Ok(schemas),
            false => Err(ConfigError { problems }),
        }
    }

    /// Whether the record that `change` leaves fits its collection's schema.
    ///
    /// Errors: `invalid` with the place and the reason. A change that cannot be applied at all is
    /// not judged here.
    pub(crate) fn check(
        &self,
        namespace: &str,
        lookup: impl Fn(&str, &str) -> Option<Record>,
        change: &ChangeKind,
        limits: &Limits,
    ) -> Result<(), Rejection> {
        let collections = self
            .namespaces
            .get(namespace)
            .or_else(|| self.namespaces.get("*"));
        let (collection, id) = target(change);
        let Some(validator) = collections.and_then(|schemas| schemas.get(collection)) else {
            return Ok(());
        };
        let Ok(Some(next)) = apply_change(lookup(collection, id).as_ref(), change, limits) else {
            return Ok(());
        };
        let invalid = |detail: String| Err(Rejection::new(ErrorCode::Invalid, detail));
        let value: Value = match serde_json::from_str(&next.to_json()) {
            Ok(value) => value,
            Err(error) => return invalid(format!("{collection}/{id}: {error}")),
        };
        match validator.validate(&value) {
            Ok(()) => Ok(()),
            Err(error) => invalid(format!(
                "{collection}/{id}{}: {error}",
                error.instance_path()
            )),
        }
    }
}

fn compile(path: &Path) -> Result<Validator, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{error}; name a JSON Schema file that this user can read"))?;
    let schema: Value = serde_json::from_str(&text)
        .map_err(|error| format!("not JSON: {error}; correct the file"))?;
    jsonschema::validator_for(&schema)
        .map_err(|error| format!("not a JSON Schema: {error}; correct the file"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidewire_core::wire::{Field, RecordRef, Unset};

    const CARD: &str = r##"{
        "type": "object",
        "properties": {
            "title": { "type": "string", "maxLength": 5 },
            "count": { "$ref": "#/$defs/count" }
        },
        "required": ["title"],
        "additionalProperties": false,
        "$defs": { "count": { "type": "integer" } }
    }"##;

    fn schemas(schema: &str) -> Result<Schemas, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("card.json");
        std::fs::write(&path, schema).unwrap();
        let mut config = Config::default();
        let board = config.namespaces.entry("board".into()).or_default();
        board.schemas.insert("cards".into(), path);
        Schemas::load(&config)
    }

    fn record(fields: &[(&str, &str)]) -> tidewire_core::wire::Record {
        tidewire_core::wire::Record {
            collection: "cards".into(),
            id: "1".into(),
            fields: fields
                .iter()
                .map(|(name, value)| Field {
                    name: (*name).into(),
                    value: (*value).to_owned().into(),
                    ..Field::default()
                })
                .collect(),
            ..tidewire_core::wire::Record::default()
        }
    }

    fn check(
        namespace: &str,
        current: &[(&str, &str)],
        change: &ChangeKind,
    ) -> Result<(), Rejection> {
        let schemas = schemas(CARD).unwrap();
        let lookup = |_: &str, _: &str| Some(Record::from_fields(&record(current).fields));
        schemas.check(namespace, lookup, change, &Limits::DEFAULT)
    }

    #[test]
    fn the_record_is_judged_as_it_would_become() {
        let good = [("title", "\"a\"")];
        let put = |fields: &[(&str, &str)]| ChangeKind::Put(record(fields));
        let set = |fields: &[(&str, &str)]| ChangeKind::Set(record(fields));
        check("board", &good, &put(&[("title", "\"b\""), ("count", "1")])).unwrap();
        check("board", &good, &set(&[("count", "1")])).unwrap();
        for bad in [
            put(&[]),
            put(&[("title", "1")]),
            set(&[("title", "\"toolong\"")]),
            set(&[("count", "1.5")]),
            set(&[("other", "1")]),
            ChangeKind::Unset(Unset {
                collection: "cards".into(),
                id: "1".into(),
                fields: vec!["title".into()],
            }),
        ] {
            let rejection = check("board", &good, &bad).unwrap_err();
            assert_eq!(rejection.code, ErrorCode::Invalid);
            assert!(
                rejection.detail.starts_with("cards/1"),
                "{}",
                rejection.detail
            );
        }
    }

    #[test]
    fn deletions_other_collections_and_other_namespaces_are_not_judged() {
        let del = ChangeKind::Del(RecordRef {
            collection: "cards".into(),
            id: "1".into(),
        });
        check("board", &[], &del).unwrap();
        check("chat", &[], &ChangeKind::Put(record(&[]))).unwrap();
        let mut lists = record(&[]);
        lists.collection = "lists".into();
        check("board", &[], &ChangeKind::Put(lists)).unwrap();
    }

    #[test]
    fn references_are_never_fetched() {
        for target in [
            "https://example.com/a.json",
            "http://127.0.0.1:1/a.json",
            "file:///etc/hostname",
        ] {
            let error = schemas(&format!("{{\"$ref\": \"{target}\"}}"))
                .err()
                .unwrap();
            assert_eq!(
                error.problems[0].key,
                "namespace.board.collections.cards.schema"
            );
        }
    }
}
