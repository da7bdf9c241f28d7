//! Field values and documents, against `serde_json` and a document made of maps.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use tidewire_core::document::change::{apply_change, check_changes, target, to_op};
use tidewire_core::document::squash::squash;
use tidewire_core::document::value::{
    VALUE_DEPTH_MAX, as_integer, from_integer, is_json, write_json_string,
};
use tidewire_core::document::{Document, Record, json_equal};
use tidewire_core::wire::{Limits, Op, OpKind};

use crate::any;
use crate::script::Script;

/// The first byte chooses between one value as it is and documents built from a script.
pub(crate) fn run(input: &[u8]) {
    let mut script = Script::new(input);
    match script.byte() {
        0..48 => value(script.rest()),
        48..80 => equality(script.rest()),
        80..96 => string(&String::from_utf8_lossy(script.rest())),
        96..176 => ops(&mut script),
        176..=255 => changes(&mut script),
    }
}

fn value(text: &[u8]) {
    let oracle = std::str::from_utf8(text).is_ok_and(|text| {
        serde_json::from_str::<IgnoredAny>(text).is_ok()
            && text.trim() == text
            && depth(text.as_bytes()) <= VALUE_DEPTH_MAX
    });
    assert_eq!(is_json(text), oracle);
    let integer = as_integer(text);
    match serde_json::from_slice::<i64>(text) {
        Ok(oracle) => assert_eq!(integer, is_json(text).then_some(oracle)),
        // The one integer that serde_json takes for a float.
        Err(_) => assert!(integer.is_none_or(|integer| integer == 0)),
    }
    if let Some(integer) = integer {
        assert!(is_json(text));
        assert_eq!(as_integer(&from_integer(integer)), Some(integer));
    }
}

/// How deep arrays and objects nest in well-formed JSON.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0, 0, false, false);
    for &b in text {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    deepest
}

/// Two values, with a zero byte between them.
fn equality(texts: &[u8]) {
    let mut parts = texts.splitn(2, |b| *b == 0);
    let (a, b) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let equal = json_equal(a, b);
    assert!(json_equal(a, a) && json_equal(b, b));
    assert_eq!(json_equal(b, a), equal);
    let oracle = |text| Canonical::of(is_json(text).then_some(text)?);
    if let (Some(canonical_a), Some(canonical_b)) = (oracle(a), oracle(b)) {
        assert_eq!(equal, canonical_a == canonical_b);
    } else if !is_json(a) || !is_json(b) {
        assert_eq!(equal, a == b);
    }
}

/// A value as it compares, made by `serde_json`, numbers aside.
#[derive(PartialEq)]
enum Canonical {
    Text(String),
    /// Negative, digits without zeros at either end, exponent of the last one.
    Number(bool, String, i128),
    List(Vec<Self>),
    Object(BTreeMap<String, Self>),
    /// `true`, `false` or `null`.
    Word(String),
}

impl Canonical {
    /// `None` where `serde_json` cannot say: lone surrogates; and exponents that are compared as written.
    fn of(json: &[u8]) -> Option<Self> {
        let raw: Box<RawValue> = serde_json::from_slice(json).expect("it is JSON");
        let text = raw.get();
        Some(match text.as_bytes()[0] {
            b'"' => Self::Text(serde_json::from_str(text).ok()?),
            b'[' => {
                let items: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
                let items = items.iter().map(|item| Self::of(item.get().as_bytes()));
                Self::List(items.collect::<Option<_>>()?)
            }
            b'{' => {
                let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(text).ok()?;
                let members = members
                    .into_iter()
                    .map(|(key, value)| Some((key, Self::of(value.get().as_bytes())?)));
                Self::Object(members.collect::<Option<_>>()?)
            }
            b'-' | b'0'..=b'9' => Self::number(text)?,
            _ => Self::Word(text.into()),
        })
    }

    fn number(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((_, exponent)) if exponent.trim_start_matches(['+', '-', '0']).len() > 18 => {
                return None;
            }
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i128>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let negative = whole.starts_with('-');
        let digits = format!("{}{fraction}", whole.trim_start_matches('-'));
        let significant = digits.trim_end_matches('0');
        let places = i128::try_from(digits.len() - significant.len()).ok()?
            - i128::try_from(fraction.len()).ok()?;
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Some(Self::Number(false, String::new(), 0));
        }
        let exponent = exponent.checked_add(places)?;
        Some(Self::Number(negative, significant.into(), exponent))
    }
}

fn string(text: &str) {
    let mut json = Vec::new();
    write_json_string(text, &mut json);
    assert!(is_json(&json));
    let read: String = serde_json::from_slice(&json).expect("it is JSON");
    assert_eq!(read, text);
}

/// A document as the definition of the ops has it.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model(BTreeMap<(String, String), BTreeMap<String, Vec<u8>>>);

impl Model {
    fn apply(&mut self, op: &Op) {
        match op.kind.clone() {
            Some(OpKind::Put(put)) => {
                let fields = put.fields.into_iter();
                let fields = fields.map(|f| (f.name, f.value.to_vec())).collect();
                self.0.insert((put.collection, put.id), fields);
            }
            Some(OpKind::Merge(merge)) => {
                let record = self.0.entry((merge.collection, merge.id)).or_default();
                for field in merge.fields {
                    record.insert(field.name, field.value.to_vec());
                }
                for name in merge.unset {
                    record.remove(&name);
                }
            }
            Some(OpKind::Del(del)) => {
                self.0.remove(&(del.collection, del.id));
            }
            Some(OpKind::Clear(_)) => self.0.clear(),
            Some(OpKind::Splice(_) | OpKind::Message(_)) | None => {}
        }
    }

    fn of(document: &Document) -> Self {
        let records = document.records().map(|(collection, id, record)| {
            let fields = record.fields().map(|(n, v)| (n.to_owned(), v.to_vec()));
            (
                (collection.to_string(), id.to_string()),
                fields.collect::<BTreeMap<_, _>>(),
            )
        });
        Self(records.collect())
    }
}

fn ops(script: &mut Script<'_>) {
    let before: Vec<Op> = (0..script.below(6)).map(|_| any::op(script)).collect();
    let mut ops = Vec::new();
    while !script.is_over() && ops.len() < 64 {
        ops.push(any::op(script));
    }
    let mut document = Document::default();
    let mut model = Model::default();
    for op in &before {
        document.apply(op);
        model.apply(op);
    }
    let mut at_once = document.clone();
    for op in &ops {
        document.apply(op);
        model.apply(op);
    }
    assert_eq!(Model::of(&document), model);
    assert_eq!(document.len(), model.0.len());
    assert_eq!(document.is_empty(), model.0.is_empty());
    for op in squash(ops) {
        at_once.apply(&op);
    }
    assert_eq!(at_once, document, "squashed ops do something else");
    assert_eq!(at_once.digest(), document.digest());
    // What travels is what arrives.
    let mut copy = Document::default();
    for (collection, id, record) in document.records() {
        let wire = record.to_wire(collection, id);
        assert_eq!(&Record::from_fields(&wire.fields), record);
        copy.replace(collection, id, Some(Record::from_fields(&wire.fields)));
        to_json(record);
    }
    assert_eq!(copy, document);
}

fn to_json(record: &Record) {
    if record.fields().all(|(_, value)| is_json(value)) {
        let json = record.to_json();
        assert!(serde_json::from_str::<IgnoredAny>(&json).is_ok());
    }
}

/// What the client predicts of a change is what the op that the server makes of it does.
fn changes(script: &mut Script<'_>) {
    let limits = Limits {
        record_bytes: 64 + script.number32() % 1024,
        ..Limits::DEFAULT
    };
    let mut document = Document::default();
    for _ in 0..script.below(6) {
        document.apply(&any::op(script));
    }
    for _ in 0..64 {
        if script.is_over() {
            return;
        }
        let change = any::change(script);
        let legal = check_changes(std::slice::from_ref(&change), &limits);
        let Some(kind) = change.kind else {
            assert!(legal.is_err());
            continue;
        };
        let (collection, id) = target(&kind);
        let (collection, id) = (collection.to_owned(), id.to_owned());
        let current = document.record(&collection, &id).cloned();
        match apply_change(current.as_ref(), &kind, &limits) {
            Ok(next) => {
                document.apply(&to_op(&kind, next.as_ref()));
                assert_eq!(document.record(&collection, &id), next.as_ref());
                let bytes = next.map_or(0, |record| record.bytes());
                assert!(bytes <= limits.record_bytes as usize);
            }
            Err(rejection) => {
                assert!(rejection.detail.len() <= tidewire_core::wire::DETAIL_BYTES_MAX);
                assert!(!rejection.code.name().is_empty());
            }
        }
    }
}
