//! `core-ingest`: from a message to the list of records that changed, against decoding alone and against
//! `serde_json` reading the same patches.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;
use tidewire_core::wire::{Codec, Limits};

use super::Opened;
use super::stream::Stream;
use crate::{Rounds, Row, Scale};

/// One patch as JSON, its value unparsed: what the protocol's field values are too.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "parsed, and then dropped")]
struct JsonPatch<'a> {
    channel: &'a str,
    epoch: u64,
    from: u64,
    to: u64,
    tag: u64,
    collection: &'a str,
    id: &'a str,
    #[serde(borrow)]
    set: BTreeMap<&'a str, &'a RawValue>,
}

/// Measures both rows.
///
/// Errors: none; a stream that the core refuses panics.
pub fn run(scale: Scale) -> anyhow::Result<Vec<Row>> {
    let records = scale.pick(10_000, 50);
    let stream = Stream::new(records, scale.pick(5_000, 5));
    let bytes_max = Limits::DEFAULT.frame_down_bytes as usize;
    let times = Rounds::<3>::run(scale.rounds(), |which| match which {
        0 => {
            let mut opened = Opened::new(&stream);
            let start = Instant::now();
            for message in &stream.messages {
                black_box(opened.receive(message.clone()));
            }
            start.elapsed()
        }
        1 => {
            let start = Instant::now();
            for message in &stream.messages {
                let frames = Codec::Protobuf.decode_server(message.clone(), bytes_max);
                black_box(frames.expect("frames of our own making"));
            }
            start.elapsed()
        }
        _ => {
            let start = Instant::now();
            for message in &stream.json {
                let patches: Vec<JsonPatch<'_>> =
                    serde_json::from_str(message).expect("JSON of our own making");
                black_box(patches);
            }
            start.elapsed()
        }
    });
    let [ours, decoding, serde] = [0, 1, 2].map(|which| times.nanos(which, stream.patches()));
    let unit = "ns/patch";
    Ok(vec![
        Row::new("core-ingest/vs-decode", unit, ours, decoding, "<= 3"),
        Row::new("core-ingest/vs-serde-json", unit, ours, serde, "<= 1"),
    ])
}
