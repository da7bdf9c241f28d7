//! Fuzz targets: for any bytes, what must hold.
//!
//! A target is a function of bytes that panics when something does not hold. It knows nothing of the
//! fuzzer: a plain `cargo test` replays the inputs kept in `corpus/`, so that what was found once stays a test; this
//! crate's program tries them damaged as well; `libfuzzer/` runs it under libFuzzer (docs/testing.md, "Fuzzing").
//!
//! Invariant: a target depends on nothing but its bytes, so a reproducer reproduces.

mod any;
mod channel;
mod config;
#[cfg(test)]
mod corpus;
mod damage;
mod events;
mod frames;
mod http;
mod script;
mod session;
mod stored;
mod values;

pub use damage::damaged;

/// Hashes alike in every process, so that a fuzzer with the same seed takes the same way.
type SameHasher = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

/// One thing that is fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Names its corpus, `corpus/NAME/`, and its dictionary, if it has one.
    pub name: &'static str,
    /// Panics if something does not hold for these bytes.
    pub run: fn(&[u8]),
}

/// All targets.
pub static TARGETS: [Target; 10] = [
    Target {
        name: "frames",
        run: frames::run,
    },
    Target {
        name: "frames-json",
        run: frames::run_json,
    },
    Target {
        name: "values",
        run: values::run,
    },
    Target {
        name: "stored",
        run: stored::run,
    },
    Target {
        name: "session",
        run: session::run,
    },
    Target {
        name: "channel",
        run: channel::run,
    },
    Target {
        name: "http-request",
        run: http::request,
    },
    Target {
        name: "http-response",
        run: http::response,
    },
    Target {
        name: "config",
        run: config::run,
    },
    Target {
        name: "events",
        run: events::run,
    },
];

/// A target by its name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
