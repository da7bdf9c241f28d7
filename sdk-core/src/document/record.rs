//! One record: named fields, sorted by name, in one piece of memory.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::value::write_json_string;
use crate::wire;

/// Names a record: collection and id. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

impl Ord for RecordKey {
    fn cmp(&self, other: &Self) -> Ordering {
        // Keys of one document share the names of its collections.
        let by_collection = if Arc::ptr_eq(&self.collection, &other.collection) {
            Ordering::Equal
        } else {
            self.collection.cmp(&other.collection)
        };
        by_collection.then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for RecordKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The fields of one record in canonical order: sorted by name, each name once.
///
/// Values are JSON text. Names and values are copies: a record never keeps a whole network message alive.
///
/// Shape: field by field the length of the name, the length of the value (4 bytes each), name and value.
/// So a record is one allocation, a changed value is written over the old one, and equal records are
/// equal bytes. Cost: finding a field takes time with the number of fields.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Record {
    packed: Vec<u8>,
}

/// Bytes of the two lengths.
const LENGTHS: usize = 8;

/// How many fields are set or removed one by one; each moves what stands behind it. More of them at once
/// are sorted and woven in.
const FEW: usize = 8;

impl Record {
    /// The value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let field = self.find(name.as_bytes()).ok()?;
        Some(&self.packed[field][LENGTHS + name.len()..])
    }

    /// All fields, sorted by name.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.packed().map(|(name, value)| (as_text(name), value))
    }

    /// Bytes of names and values, what the limit of a record counts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.packed().map(|(n, v)| n.len() + v.len()).sum()
    }

    /// Sets a field; tells whether that changed anything.
    pub fn insert(&mut self, name: &str, value: &[u8]) -> bool {
        match self.find(name.as_bytes()) {
            Ok(field) => {
                let old = field.start + LENGTHS + name.len()..field.end;
                if self.packed[old.clone()] == *value {
                    return false;
                }
                let lengths = field.start..field.start + LENGTHS;
                self.make_gap(&old, value.len());
                self.packed[lengths].copy_from_slice(&lengths_of(name.as_bytes(), value));
                self.packed[old.start..][..value.len()].copy_from_slice(value);
            }
            Err(at) => {
                self.make_gap(&(at..at), LENGTHS + name.len() + value.len());
                let (lengths, rest) = self.packed[at..].split_at_mut(LENGTHS);
                lengths.copy_from_slice(&lengths_of(name.as_bytes(), value));
                rest[..name.len()].copy_from_slice(name.as_bytes());
                rest[name.len()..][..value.len()].copy_from_slice(value);
            }
        }
        true
    }

    /// Removes a field; tells whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        let found = self.find(name.as_bytes());
        if let Ok(field) = &found {
            self.make_gap(field, 0);
        }
        found.is_ok()
    }

    /// The record as JSON text, `{"field":value,…}` in canonical order.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Vec::with_capacity(2 + self.packed.len());
        out.push(b'{');
        for (name, value) in self.fields() {
            if out.len() > 1 {
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
        let field = |(name, value): (&str, &[u8])| wire::Field {
            name: name.into(),
            value: value.to_vec().into(),
            ..wire::Field::default()
        };
        wire::Record {
            collection: collection.into(),
            id: id.into(),
            fields: self.fields().map(field).collect(),
            ..wire::Record::default()
        }
    }

    /// Builds a record from fields in any order; the last one of a name wins.
    #[must_use]
    pub fn from_fields(fields: &[wire::Field]) -> Self {
        Self::of(fields.iter().map(wire::Field::parts))
    }

    /// Sets fields in any order, the last one of a name wins; tells whether that changed anything.
    ///
    /// Cost: n log n, also for very many fields in the worst order.
    pub fn merge(&mut self, fields: &[wire::Field]) -> bool {
        self.set_all(fields.iter().map(wire::Field::parts))
    }

    /// Removes fields; tells whether any was there.
    pub fn remove_all<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let mut names = names.into_iter();
        let mut removed = false;
        for name in names.by_ref().take(FEW) {
            removed |= self.remove(name);
        }
        let mut names: Vec<&[u8]> = names.map(str::as_bytes).collect();
        if !names.is_empty() {
            names.sort_unstable();
            let mut next = Vec::with_capacity(self.packed.len());
            let kept = |&(name, _): &(&[u8], &[u8])| names.binary_search(&name).is_err();
            for (name, value) in self.packed().filter(kept) {
                push(name, value, &mut next);
            }
            removed |= next.len() < self.packed.len();
            self.packed = next;
        }
        removed
    }

    /// [`Self::from_fields`] of fields that stand elsewhere.
    pub(super) fn of<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut record = Self::default();
        record.weave(fields.collect());
        record
    }

    /// [`Self::merge`] of fields that stand elsewhere.
    pub(super) fn set_all<'a>(
        &mut self,
        mut fields: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) -> bool {
        let mut changed = false;
        for (name, value) in fields.by_ref().take(FEW) {
            changed |= self.insert(name, value);
        }
        let rest: Vec<_> = fields.collect();
        if !rest.is_empty() {
            changed |= self.weave(rest);
        }
        changed
    }

    /// Sets fields in one pass over the record; tells whether that changed anything.
    fn weave(&mut self, mut fields: Vec<(&str, &[u8])>) -> bool {
        // Stable, so of one name the last stays last; then it takes the first one's place.
        fields.sort_by_key(|&(name, _)| name);
        fields.dedup_by(|later, kept| {
            let same = later.0 == kept.0;
            if same {
                std::mem::swap(later, kept);
            }
            same
        });
        let added = fields.iter().map(|(n, v)| LENGTHS + n.len() + v.len());
        let mut next = Vec::with_capacity(self.packed.len() + added.sum::<usize>());
        let mut old = self.packed().peekable();
        for (name, value) in fields {
            let name = name.as_bytes();
            while let Some((name, value)) = old.next_if(|(old, _)| *old < name) {
                push(name, value, &mut next);
            }
            old.next_if(|(old, _)| *old == name);
            push(name, value, &mut next);
        }
        old.for_each(|(name, value)| push(name, value, &mut next));
        next.shrink_to_fit();
        let changed = next != self.packed;
        self.packed = next;
        changed
    }

    /// Where a field stands; else where it would have to.
    fn find(&self, name: &[u8]) -> Result<Range<usize>, usize> {
        let mut at = 0;
        for (other, value) in self.packed() {
            let end = at + LENGTHS + other.len() + value.len();
            if other == name {
                return Ok(at..end);
            }
            at = end;
        }
        let before = self.packed().take_while(|(other, _)| *other < name);
        Err(before.map(|(n, v)| LENGTHS + n.len() + v.len()).sum())
    }

    /// Makes a part longer or shorter, and moves what stands behind it.
    fn make_gap(&mut self, part: &Range<usize>, length: usize) {
        let (old, end) = (self.packed.len(), part.start + length);
        if end == part.end {
            return;
        }
        if end > part.end {
            self.packed.reserve_exact(end - part.end);
            self.packed.resize(old + end - part.end, 0);
        }
        self.packed.copy_within(part.end..old, end);
        self.packed.truncate(end + old - part.end);
    }

    /// All fields in order.
    const fn packed(&self) -> Packed<'_> {
        Packed {
            rest: self.packed.as_slice(),
        }
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

/// Reads fields one after the other.
#[derive(Clone)]
struct Packed<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packed<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.rest.split_first_chunk()?;
        let (value, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at(u32::from_le_bytes(*name) as usize);
        let (value, rest) = rest.split_at(u32::from_le_bytes(*value) as usize);
        self.rest = rest;
        Some((name, value))
    }
}

fn push(name: &[u8], value: &[u8], packed: &mut Vec<u8>) {
    packed.extend_from_slice(&lengths_of(name, value));
    packed.extend_from_slice(name);
    packed.extend_from_slice(value);
}

fn lengths_of(name: &[u8], value: &[u8]) -> [u8; LENGTHS] {
    let length = |part: &[u8]| u32::try_from(part.len()).expect("no message is that long");
    let both = u64::from(length(name)) | u64::from(length(value)) << 32;
    both.to_le_bytes()
}

fn as_text(name: &[u8]) -> &str {
    str::from_utf8(name).expect("names come in as text")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Vec<wire::Field> {
        let field = |&(name, value): &(&str, &str)| wire::Field {
            name: name.into(),
            value: value.to_owned().into(),
            ..wire::Field::default()
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
        assert!(record.remove_all(["a", "x", "c"]));
        assert!(!record.remove_all(["a", "x"]));
        assert_eq!(record.to_json(), r#"{"b":2}"#);
    }

    #[test]
    fn a_value_takes_the_place_of_a_longer_or_a_shorter_one() {
        let mut record = Record::from_fields(&fields(&[("a", "1"), ("b", "\"two\""), ("c", "3")]));
        for (value, changes) in [("\"longer\"", true), ("0", true), ("0", false), ("9", true)] {
            assert_eq!(record.insert("b", value.as_bytes()), changes);
            assert_eq!(record.field("b"), Some(value.as_bytes()));
            assert_eq!(record.to_json(), format!(r#"{{"a":1,"b":{value},"c":3}}"#));
        }
        assert!(record.remove("b") && !record.remove("b"));
        assert_eq!(record.to_json(), r#"{"a":1,"c":3}"#);
        assert_eq!(record.bytes(), 4);
    }

    /// One by one, each insertion moved all that stood behind it: seconds of work for one small message.
    #[test]
    fn very_many_fields_in_the_worst_order_cost_no_more_than_sorting() {
        let wire: Vec<_> = (0..100_000)
            .rev()
            .map(|n| wire::Field {
                name: format!("{n:06}"),
                value: Bytes::from_static(b"1"),
                ..wire::Field::default()
            })
            .collect();
        let mut record = Record::from_fields(&wire);
        assert_eq!(record.fields().count(), wire.len());
        let names = wire.iter().rev().map(|field| &*field.name);
        assert!(record.remove_all(names));
        assert_eq!(record, Record::default());
    }

    proptest! {
        /// Few at a time, and many.
        #[test]
        fn it_is_a_map(
            steps in prop::collection::vec(
                (any::<bool>(), prop::collection::vec(("[a-d]{0,2}", "[0-9]{1,6}"), 0..14)),
                0..8,
            ),
        ) {
            let (mut record, mut known) = (Record::default(), BTreeMap::new());
            for (set, pairs) in steps {
                if set {
                    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (&**n, &**v)).collect();
                    record.merge(&fields(&pairs));
                    known.extend(pairs.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())));
                } else {
                    let names: Vec<&str> = pairs.iter().map(|(name, _)| &**name).collect();
                    let before = known.len();
                    known.retain(|name, _| !names.contains(&&**name));
                    prop_assert_eq!(record.remove_all(names), known.len() < before);
                }
                prop_assert!(record.fields().eq(known.iter().map(|(n, v)| (&**n, v.as_bytes()))));
                let pairs: Vec<_> = known.iter().rev().map(|(n, v)| (&**n, &**v)).collect();
                prop_assert_eq!(&Record::from_fields(&fields(&pairs)), &record);
            }
        }
    }
}
