//! What the simulated application does: small random changes that often meet each other.

use bytes::Bytes;
use fastrand::Rng;
use tidewire_core::wire::{Change, ChangeKind, Field, Inc, Record, RecordRef, Unset};

use crate::draw::Draw as _;
use crate::policy::{COLLECTIONS, LOCKED};

/// One act of an application.
#[derive(Clone, Debug)]
pub enum Act {
    /// Change records of a channel, all or nothing.
    Mutate(usize, Draft),
    /// Take back a mutation of a channel, one of the latest.
    Cancel(usize, usize),
    /// Want nothing of a channel for a while, and want it again.
    Pause(usize),
    /// See `Pause`.
    Resume(usize),
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
    let channel = rng.index(0..channels);
    match rng.u32(0..1000) {
        0..70 => {
            let data = rng
                .bool()
                .then(|| Bytes::from(format!("{{\"by\":\"{name}\"}}")));
            Act::Presence(channel, data)
        }
        70..110 => Act::Unsubscribe(channel),
        110..200 => Act::Subscribe(channel),
        200..202 if has_bursts => Act::Burst(channel, rng.index(50..400)),
        202..240 => Act::Cancel(channel, rng.index(0..4)),
        240..250 => Act::Pause(channel),
        250..280 => Act::Resume(channel),
        _ => Act::Mutate(channel, draw_draft(rng, name)),
    }
}

/// A mutation before it is made.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    /// What it changes.
    pub changes: Vec<Change>,
    /// What it demands.
    pub demands: Vec<Demand>,
    /// How long it is worth something.
    pub ttl_ms: Option<u64>,
    /// Whether it comes after the latest one of the channel.
    pub follows: bool,
    /// Which older one it makes superfluous.
    pub key: Option<u8>,
}

/// A precondition before it is made.
#[derive(Clone, Debug)]
pub enum Demand {
    /// The record is there, or is not.
    Presence(String, String, bool),
    /// A field has the value that the view shows, in some spelling, or this one.
    Value(String, String, String, Option<String>),
    /// Nobody else touched the record since the base, or since a place that the base has left.
    Unchanged(String, String, bool),
}

impl From<Vec<Change>> for Draft {
    fn from(changes: Vec<Change>) -> Self {
        Self {
            changes,
            ..Self::default()
        }
    }
}

/// Draws one mutation with what it asks for besides: mostly nothing.
pub fn draw_draft(rng: &mut Rng, name: &str) -> Draft {
    let mut draft = Draft::from(draw_changes(rng, name));
    if rng.u8(0..8) == 0 {
        let count = rng.index(1..=2);
        draft.demands = (0..count).map(|_| draw_demand(rng)).collect();
    }
    if rng.u8(0..12) == 0 {
        draft.ttl_ms = Some([300, 5_000, 20_000, 60_000][rng.index(0..4)]);
    }
    draft.follows = rng.u8(0..12) == 0;
    if rng.u8(0..8) == 0 {
        draft.key = Some(rng.u8(0..2));
    }
    draft
}

fn draw_demand(rng: &mut Rng) -> Demand {
    let collection = COLLECTIONS[rng.index(0..COLLECTIONS.len())].to_owned();
    let id = ["a", "b", "c"][rng.index(0..3)].to_owned();
    match rng.u8(0..4) {
        0 => Demand::Presence(collection, id, rng.u8(0..4) > 0),
        1 => Demand::Value(
            collection,
            id,
            ["count", "title"][rng.index(0..2)].to_owned(),
            (rng.u8(0..3) == 0).then(|| rng.i64(-2..3).to_string()),
        ),
        _ => Demand::Unchanged(collection, id, rng.bool()),
    }
}

/// Draws one mutation: mostly one change, sometimes several that stand or fall together.
pub fn draw_changes(rng: &mut Rng, name: &str) -> Vec<Change> {
    let count = if rng.u8(0..4) == 0 {
        rng.index(2..=4)
    } else {
        1
    };
    (0..count).map(|_| draw_change(rng, name)).collect()
}

fn draw_change(rng: &mut Rng, name: &str) -> Change {
    let collection = COLLECTIONS[rng.index(0..COLLECTIONS.len())].to_owned();
    let id = ["a", "a", "a", "b", "b", "c", "d", LOCKED][rng.index(0..8)].to_owned();
    let kind = match rng.u32(0..100) {
        0..35 => ChangeKind::Set(Record {
            collection,
            id,
            fields: draw_fields(rng, name),
            ..Record::default()
        }),
        35..52 => ChangeKind::Put(Record {
            collection,
            id,
            fields: draw_fields(rng, name),
            ..Record::default()
        }),
        52..60 => ChangeKind::Del(RecordRef { collection, id }),
        60..68 => ChangeKind::Unset(Unset {
            collection,
            id,
            fields: vec![FIELDS[rng.index(0..FIELDS.len())].to_owned()],
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
    let first = rng.index(0..FIELDS.len());
    let count = rng.index(1..=2);
    (first..first + count)
        .map(|at| {
            let field = FIELDS[at % FIELDS.len()];
            let value = match field {
                "count" => rng.i64(-5..10).to_string(),
                "title" => format!("\"{}\"", "t".repeat(rng.index(0..14))),
                _ => format!("\"{name}.{}\"", rng.u32(0..1_000_000)),
            };
            Field {
                name: field.to_owned(),
                value: value.into(),
                ..Field::default()
            }
        })
        .collect()
}
