//! What is compared with this machine, compiled to wasm32: what came of a seed, as a number, and what a stream of
//! server-sent events holds.
//!
//! Invariant: nothing is done here. Core, channel logic, checkers and world are those of `tidewire-sim`, the reader of
//! events is the core's, and `cargo xtask test parity` compares.

use tidewire_core::event_stream::EventStream;
use wasm_bindgen::prelude::wasm_bindgen;

/// Runs a seed. Returns the hash of everything that happened; an error tells what was violated.
#[wasm_bindgen]
pub fn trace_hash(seed: u64) -> Result<u64, String> {
    let report = tidewire_sim::run(seed, false);
    match report.violation {
        None => Ok(report.trace_hash),
        Some((at_ms, violation)) => Err(format!(
            "{} violated at {at_ms} ms: {}",
            violation.rule, violation.detail
        )),
    }
}

/// Reads a stream that comes in pieces of these sizes: type and data of each event, one after the other.
#[wasm_bindgen]
pub fn read_events(stream: &[u8], sizes: &[u32]) -> Result<Vec<String>, String> {
    let mut reader = EventStream::new(1 << 20);
    let mut rest = stream;
    let mut events = Vec::new();
    for size in sizes {
        let (mut piece, left) = rest.split_at(*size as usize);
        rest = left;
        while let Some(event) = reader.next(&mut piece).map_err(|error| error.to_string())? {
            let data = String::from_utf8_lossy(&event.data).into_owned();
            events.extend([event.kind, data]);
        }
    }
    Ok(events)
}
