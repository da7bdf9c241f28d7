//! One record: named fields, sorted by name.

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
        let mut record = Self {
            fields: Vec::with_capacity(fields.len()),
        };
        for field in fields {
            record.insert(&field.name, &field.value);
        }
        record
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.fields.binary_search_by(|(n, _)| (**n).cmp(name))
    }
}
