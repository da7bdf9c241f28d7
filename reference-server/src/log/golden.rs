//! Stored entries as a program in another language wrote them, from docs/protocol.md alone: a format is
//! what stays readable, and a tag is what others can compute.

use bytes::Bytes;
use serde_json::Value;
use tidewire_core::wire::Cursor;

use super::codec::{decode_entry, encode_entry};
use super::tag::tag;
use super::{SnapshotName, StoredSnapshot};

fn lines(file: &str) -> Vec<Value> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/golden/log/");
    let text = std::fs::read_to_string(format!("{dir}{file}")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

fn hex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

#[test]
fn golden_entries_are_read_named_and_written_as_ever() {
    let lines = lines("entries.jsonl");
    assert_eq!(lines.len(), 11);
    for line in lines {
        let name = &line["name"];
        let stored = hex(&line["stored"]);
        let entry = decode_entry(&stored).unwrap();
        assert_eq!(
            Some(entry.previous_tag),
            line["previous_tag"].as_u64(),
            "{name}"
        );
        assert_eq!(Some(entry.cursor.tag), line["tag"].as_u64(), "{name}");
        assert_eq!(tag(entry.previous_tag, &entry), entry.cursor.tag, "{name}");
        assert_eq!(encode_entry(&entry), stored, "{name}");
    }
}

#[test]
fn golden_parts_are_the_snapshot_that_they_were_committed_as() {
    let golden = &lines("snapshot.json")[0];
    let number = |name: &str| golden[name].as_u64().unwrap();
    let parts = golden["parts"].as_array().unwrap();
    let parts: Vec<Bytes> = parts.iter().map(|part| hex(part).into()).collect();
    let stored = StoredSnapshot {
        name: SnapshotName {
            cursor: Cursor::new(number("epoch"), number("seq"), number("tag")),
            parts: 3,
            digest: hex(&golden["digest"]).try_into().unwrap(),
        },
        parts,
    };
    let snapshot = stored.read().unwrap();
    assert_eq!(snapshot.document.len(), 3);
    let rejected: Vec<usize> = snapshot
        .table
        .iter()
        .map(|(_, row)| row.rejected.len())
        .collect();
    assert_eq!(rejected, [2, 0]);
    // Cut elsewhere, it says the same.
    let again = StoredSnapshot::encode(snapshot.clone(), 1);
    assert!(again.parts.len() > 3);
    assert_eq!(again.read(), Ok(snapshot));
}
