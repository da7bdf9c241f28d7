//! `optimistic`: from `set` until the view shows it, with other records waiting for the server.

use std::hint::black_box;
use std::time::Instant;

use tidewire_core::MutateOptions;
use tidewire_core::wire::{Change, ChangeKind, Field, Record};

use super::Opened;
use super::stream::{COLLECTION, Stream, id};
use crate::{Rounds, Row, Scale};

const PENDING: [usize; 3] = [0, 10, 1_000];

/// How many edits of other records are timed; few, so that they add little to what is pending.
const EDITS: usize = 50;

/// Measures a row for each number of pending mutations above 0.
///
/// Errors: none; an edit that the core refuses panics.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let stream = Stream::new(scale.pick(10_000, 1_100), 0);
    let times = Rounds::<3>::run(scale.pick(40, 1), |which| {
        let mut opened = Opened::new(&stream);
        for record in 0..PENDING[which] {
            set(&mut opened, record, 0);
        }
        let start = Instant::now();
        for edit in 0..EDITS {
            // Away from those that wait.
            black_box(set(&mut opened, 1_000 + edit, edit));
        }
        start.elapsed()
    });
    let [none, rest @ ..] = [0, 1, 2].map(|which| times.nanos(which, EDITS));
    Ok(PENDING[1..]
        .iter()
        .zip(rest)
        .map(|(pending, nanos)| {
            let name = format!("optimistic/native-{pending}-pending");
            Row::new(name, "ns/set", nanos, none, "<= 1.2")
        })
        .collect())
}

/// A `set` of one field, and a look at the record.
fn set(opened: &mut Opened, record: usize, value: usize) -> String {
    let id = id(record);
    let change = Change {
        kind: Some(ChangeKind::Set(Record {
            collection: COLLECTION.into(),
            id: id.clone(),
            fields: vec![Field {
                name: "title".into(),
                value: format!("\"edited {value}\"").into(),
                ..Field::default()
            }],
            ..Record::default()
        })),
    };
    let (session, now, channel) = opened.parts();
    session
        .mutate(now, channel, vec![change], MutateOptions::default())
        .expect("a sound edit");
    opened.drain();
    let (session, _, channel) = opened.parts();
    let record = session.record(channel, COLLECTION, &id);
    record.expect("it is there").to_json()
}
