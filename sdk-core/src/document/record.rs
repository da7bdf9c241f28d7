//! One record: named fields, sorted by name.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::value::write_json_string;
use crate::wire;

/// Names a record: collection and id. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordKey {
    /// The collection, 1–64 of `A–Z a–z 0–9 _ . -`.
    pub collection: Arc<str>,
    /// The id, 1–128 bytes without control characters.
    pub id: Arc<str>,
}

impl RecordKey {
    /// Names a record.
    #[must_use]
    pub fn new(collection: &str, id: &str) -> Self {
        Self {
            collection: collection.into(),
            id: id.into(),
        }
    }
}

/// The fields of one record in canonical order: sorted by name, each name once.
///
/// Values are JSON text. Stored values are copies: a record never keeps a whole network message alive.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    fields: Vec<(Arc<str>, Bytes)>,
}

impl Record {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Bytes> {
        self.position(name).ok().map(|at| &self.fields[at].1)
    }

    /// All fields, sorted by name.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &Bytes)> {
        self.fields.iter().map(|(name, value)| (&**name, value))
    }

    /// Bytes of names and values, what the limit of a record counts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.fields.iter().map(|(n, v)| n.len() + v.len()).sum()
    }

    /// Sets a field; tells whether that changed anything.
    pub fn insert(&mut self, name: &str, value: &[u8]) -> bool {
        match self.position(name) {
            Ok(at) if self.fields[at].1 == value => false,
            Ok(at) => {
                self.fields[at].1 = Bytes::copy_from_slice(value);
                true
            }
            Err(at) => {
                self.fields
                    .insert(at, (name.into(), Bytes::copy_from_slice(value)));
                true
            }
        }
    }

    /// Removes a field; tells whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let found = self.position(name);
        if let Ok(at) = found {
            self.fields.remove(at);
        }
        found.is_ok()
    }

    /// The record as JSON text, `{"field":value,…}` in canonical order.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(2 + self.bytes() + 4 * self.fields.len());
        out.push(b'{');
        for (at, (name, value)) in self.fields.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_json_string(name, &mut out);
            out.push(b':');
            out.extend_from_slice(value);
        }
        out.push(b'}');
        // Values were checked to be UTF-8 at the edge; a peer that lies shows up as U+FFFD.
        String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into())
    }

    /// The record as it travels.
    #[must_use]
    pub fn to_wire(&self, collection: &str, id: &str) -> wire::Record {
        wire::Record {
            collection: collection.into(),
            id: id.into(),
            fields: self
                .fields
                .iter()
                .map(|(name, value)| wire::Field {
                    name: (**name).into(),
                    value: value.clone(),
                })
                .collect(),
        }
    }

    /// Builds a record from fields in any order; the last one of a name wins.
    #[must_use]
    pub fn from_fields(fields: &[wire::Field]) -> Self {
        let mut record = Self::default();
        record.merge(fields);
        record
    }

    /// Sets fields in any order, the last one of a name wins; tells whether that changed anything.
    ///
    /// Cost: n log n, also for very many fields in the worst order.
    pub fn merge(&mut self, fields: &[wire::Field]) -> bool {
        let mut changed = false;
        let before = self.fields.len();
        for field in fields {
            let found = self.fields[..before].binary_search_by(|(n, _)| (**n).cmp(&field.name));
            match found {
                Ok(at) if self.fields[at].1 == field.value => {}
                Ok(at) => {
                    self.fields[at].1 = Bytes::copy_from_slice(&field.value);
                    changed = true;
                }
                Err(_) => {
                    let value = Bytes::copy_from_slice(&field.value);
                    self.fields.push((field.name.as_str().into(), value));
                }
            }
        }
        if self.fields.len() > before {
            changed = true;
            // Stable, so of one name the last stays last; then it takes the first one's place.
            self.fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            self.fields.dedup_by(|later, kept| {
                let same = later.0 == kept.0;
                if same {
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        changed
    }

    /// Takes the names that another record has too from there: one text in memory, and in the
    /// processor's cache, for all records.
    pub(super) fn share_names(&mut self, other: &Self) {
        for ((name, _), (known, _)) in self.fields.iter_mut().zip(&other.fields) {
            if name == known {
                *name = Arc::clone(known);
            }
        }
    }

    /// Removes fields; tells whether any was there.
    pub fn remove_all(&mut self, names: &[String]) -> bool {
        let before = self.fields.len();
        match names {
            [] => return false,
            [name] => return self.remove(name),
            _ => {
                let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
                self.fields.retain(|(name, _)| !names.contains(&**name));
            }
        }
        self.fields.len() < before
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.fields.binary_search_by(|(n, _)| (**n).cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<wire::Field> {
        let field = |&(name, value): &(&str, &str)| wire::Field {
            name: name.into(),
            value: value.to_owned().into(),
        };
        pairs.iter().map(field).collect()
    }

    #[test]
    fn fields_merge_in_any_order_and_the_last_of_a_name_wins() {
        let mut record = Record::from_fields(&fields(&[("c", "1"), ("a", "1"), ("c", "2")]));
        assert_eq!(record.to_json(), r#"{"a":1,"c":2}"#);
        assert!(record.merge(&fields(&[("b", "1"), ("a", "2"), ("b", "2"), ("a", "3")])));
        assert_eq!(record.to_json(), r#"{"a":3,"b":2,"c":2}"#);
        assert!(!record.merge(&fields(&[("b", "2"), ("a", "3")])));
        assert!(record.remove_all(&["a".into(), "x".into(), "c".into()]));
        assert!(!record.remove_all(&["a".into(), "x".into()]));
        assert_eq!(record.to_json(), r#"{"b":2}"#);
    }

    /// One by one, each insertion moved all that stood behind it: seconds of work for one small message.
    #[test]
    fn very_many_fields_in_the_worst_order_cost_no_more_than_sorting() {
        let wire: Vec<_> = (0..100_000)
            .rev()
            .map(|n| wire::Field {
                name: format!("{n:06}"),
                value: Bytes::from_static(b"1"),
            })
            .collect();
        let mut record = Record::from_fields(&wire);
        assert_eq!(record.fields().len(), wire.len());
        let names: Vec<String> = wire.into_iter().rev().map(|field| field.name).collect();
        assert!(record.remove_all(&names));
        assert_eq!(record, Record::default());
    }
}
