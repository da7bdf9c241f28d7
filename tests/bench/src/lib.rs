//! Benchmarks of what runs natively. Each figure is a ratio against a baseline that is measured in the
//! same run, in turns, since machines are shared.
//!
//! `core/` measures the client core, `server/` the server under load. What runs in Chromium is in `../browser/`, and gets its messages
//! from here ([`core::stream`]).

pub mod core;
mod rounds;
mod row;
pub mod server;

pub use rounds::{Best, Rounds, Scale};
pub use row::Row;

/// One benchmark: a name, and what it prints.
pub struct Bench {
    /// What `cargo xtask bench NAME` selects it by; its rows are `name/…`.
    pub name: &'static str,
    /// Measures. Progress goes to standard error.
    pub run: fn(Scale) -> anyhow::Result<Vec<Row>>,
}

/// Every benchmark that runs natively.
pub const BENCHES: &[Bench] = &[
    Bench {
        name: "core-ingest",
        run: core::ingest::run,
    },
    Bench {
        name: "optimistic",
        run: core::optimistic::run,
    },
    Bench {
        name: "fanout",
        run: server::fanout,
    },
    Bench {
        name: "channels",
        run: server::channels,
    },
    Bench {
        name: "latency",
        run: server::latency,
    },
    Bench {
        name: "delivery",
        run: server::delivery,
    },
    Bench {
        name: "memory",
        run: server::memory,
    },
    Bench {
        name: "idle",
        run: server::idle,
    },
    Bench {
        name: "connect",
        run: server::connect,
    },
    Bench {
        name: "first-data",
        run: server::first_data,
    },
    Bench {
        name: "switches",
        run: server::switches,
    },
    Bench {
        name: "resume",
        run: server::resume,
    },
    Bench {
        name: "disk",
        run: server::disk,
    },
];

/// The benchmarks that have rows under one of these names; all of them without a name.
pub fn selected(names: &[String]) -> impl Iterator<Item = &'static Bench> {
    BENCHES.iter().filter(|bench| {
        let fits = |name: &String| {
            bench.name.starts_with(name.as_str()) || name.starts_with(&format!("{}/", bench.name))
        };
        names.is_empty() || names.iter().any(fits)
    })
}
