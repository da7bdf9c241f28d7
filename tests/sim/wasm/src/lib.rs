//! The simulation for wasm32, with one function: what came of a seed, as a number.
//!
//! Invariant: nothing is simulated here. Core, channel logic, checkers and world are those of
//! `tidewire-sim`, and `cargo xtask test parity` compares what both builds make of a seed.

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
