//! Tries the corpus of every target, whole and damaged, always in the same ways: what passed once passes
//! elsewhere. New ways are tried under libFuzzer (docs/testing.md, "Fuzzing").

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fastrand::Rng;
use tidewire_fuzz::{TARGETS, Target, damaged};

/// Inputs of each target, about the same number whatever its corpus holds.
const TRIES: usize = 12_000;

/// How many targets are tried at a time.
const PARALLEL: usize = 2;

fn main() -> ExitCode {
    let waiting = Mutex::new(TARGETS.iter());
    let found = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no holder panics").next();
                    let Some(target) = next else { break };
                    match try_all(target) {
                        Ok(tries) => println!("{}: {tries} inputs hold", target.name),
                        Err(input) => {
                            found.store(true, Ordering::Relaxed);
                            println!(
                                "{} FAILS (its panic stands above)\n  input {}\n  it is replayed by \
                                 `cargo test -p tidewire-fuzz` from now on: mend what it found, give it a name",
                                target.name,
                                input.display()
                            );
                        }
                    }
                }
            });
        }
    });
    if found.load(Ordering::Relaxed) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

/// How many inputs held, or where the first is that did not.
fn try_all(target: &Target) -> Result<usize, PathBuf> {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "the corpus of {} is empty", target.name);
    let holds = |input: &[u8]| catch_unwind(|| (target.run)(input)).is_ok();
    for input in &corpus {
        if !holds(input) {
            return Err(keep(target, input));
        }
    }
    let mut random = Rng::with_seed(1);
    for tried in 0..TRIES {
        let input = &corpus[tried % corpus.len()];
        let other = &corpus[random.usize(0..corpus.len())];
        let input = damaged(input, other, &mut random);
        if !holds(&input) {
            return Err(keep(target, &input));
        }
    }
    Ok(corpus.len() + TRIES)
}

fn directory(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name)
}

/// By name: a directory is read in whatever order its file system likes.
fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(directory(target))
        .expect("a target has a corpus")
        .map(|entry| entry.expect("the corpus is readable").path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("the corpus is readable"))
        .collect()
}

/// Puts an input that something was found with into the corpus.
fn keep(target: &Target, input: &[u8]) -> PathBuf {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = directory(target).join(format!("find-{:016x}", hasher.finish()));
    if let Err(error) = fs::write(&path, input) {
        eprintln!("cannot keep {}: {error}: {input:?}", path.display());
    }
    path
}
