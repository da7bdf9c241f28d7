//! What the simulated application does: small random changes that often meet each other.

use bytes::Bytes;
use fastrand::Rng;
use tidewire_core::wire::{Change, ChangeKind, Field, Inc, Record, RecordRef, Unset};

use crate::policy::{COLLECTIONS, LOCKED};

/// One act of an application.
#[derive(Clone, Debug)]
pub enum Act {
    /// Change records of a channel, all or nothing.
    Mutate(usize, Vec<Change>),
    /// Many mutations at once, more than a push window holds.
    Burst(usize, usize),
    /// Say who one is, or that one is gone.
    Presence(usize, Option<Bytes>),
    /// Open a channel.
    Subscribe(usize),
    /// Let a channel go.
    Unsubscribe(usize),
}

/// Draws the next act. `name` makes every written value different.
pub fn draw(rng: &mut Rng, channels: usize, has_bursts: bool, name: &str) -> Act {
    let channel = rng.usize(0..channels);
    match rng.u32(0..1000) {
        0..70 => {
            let data = rng
                .bool()
                .then(|| Bytes::from(format!("{{\"by\":\"{name}\"}}")));
            Act::Presence(channel, data)
        }
        70..110 => Act::Unsubscribe(channel),
        110..200 => Act::Subscribe(channel),
        200..202 if has_bursts => Act::Burst(channel, rng.usize(50..400)),
        _ => Act::Mutate(channel, draw_changes(rng, name)),
    }
}

/// Draws one mutation: mostly one change, sometimes several that stand or fall together.
pub fn draw_changes(rng: &mut Rng, name: &str) -> Vec<Change> {
    let count = if rng.u8(0..4) == 0 {
        rng.usize(2..=4)
    } else {
        1
    };
    (0..count).map(|_| draw_change(rng, name)).collect()
}

fn draw_change(rng: &mut Rng, name: &str) -> Change {
    let collection = COLLECTIONS[rng.usize(0..COLLECTIONS.len())].to_owned();
    let id = ["a", "a", "a", "b", "b", "c", "d", LOCKED][rng.usize(0..8)].to_owned();
    let kind = match rng.u32(0..100) {
        0..35 => ChangeKind::Set(Record {
            collection,
            id,
            fields: draw_fields(rng, name),
        }),
        35..52 => ChangeKind::Put(Record {
            collection,
            id,
            fields: draw_fields(rng, name),
        }),
        52..60 => ChangeKind::Del(RecordRef { collection, id }),
        60..68 => ChangeKind::Unset(Unset {
            collection,
            id,
            fields: vec![FIELDS[rng.usize(0..FIELDS.len())].to_owned()],
        }),
        _ => ChangeKind::Inc(Inc {
            collection,
            id,
            field: if rng.u8(0..8) == 0 { "title" } else { "count" }.to_owned(),
            by: if rng.u8(0..40) == 0 {
                i64::MAX
            } else {
                rng.i64(-3..=4)
            },
        }),
    };
    Change { kind: Some(kind) }
}

const FIELDS: &[&str] = &["count", "title", "note", "colour"];

fn draw_fields(rng: &mut Rng, name: &str) -> Vec<Field> {
    let first = rng.usize(0..FIELDS.len());
    let count = rng.usize(1..=2);
    (first..first + count)
        .map(|at| {
            let field = FIELDS[at % FIELDS.len()];
            let value = match field {
                "count" => rng.i64(-5..10).to_string(),
                "title" => format!("\"{}\"", "t".repeat(rng.usize(0..14))),
                _ => format!("\"{name}.{}\"", rng.u32(0..1_000_000)),
            };
            Field {
                name: field.to_owned(),
                value: value.into(),
            }
        })
        .collect()
}
