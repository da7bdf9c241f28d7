//! Replays what was kept, without a fuzzer.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{TARGETS, Target};

/// All corpora together. Above it `cargo xtask soak fuzz --keep` has to leave something out.
const BYTES_MAX: u64 = 1024 * 1024;

fn directory(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name)
}

fn inputs(target: &Target) -> Vec<PathBuf> {
    let directory = directory(target);
    let entries = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{} has no corpus: {error}", target.name));
    let mut inputs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    inputs
}

#[test]
fn every_kept_input_holds_still() {
    for target in &TARGETS {
        let inputs = inputs(target);
        assert!(!inputs.is_empty(), "the corpus of {} is empty", target.name);
        for path in inputs {
            let input = fs::read(&path).unwrap();
            let outcome = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(outcome.is_ok(), "{} fails: {}", target.name, path.display());
        }
    }
}

#[test]
fn every_target_takes_the_shortest_inputs() {
    for target in &TARGETS {
        (target.run)(&[]);
        for byte in 0..=255 {
            (target.run)(&[byte]);
        }
    }
}

/// Without a fuzzer's guidance, but enough of them to meet every kind of frame with every field.
#[test]
fn frames_take_inputs_of_chance() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..4_000 {
        let input: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .take(256)
        .collect();
        crate::frames::run(&input);
    }
}

#[test]
fn the_corpora_stay_small() {
    let bytes: u64 = TARGETS
        .iter()
        .flat_map(inputs)
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(bytes < BYTES_MAX, "{bytes} bytes are kept");
}
