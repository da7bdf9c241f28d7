//! What the end-to-end tests stand on: the real server as a child process, a front door whose address
//! stays while servers come and go behind it, and clients with short back-offs.
//!
//! Invariant: nothing here sleeps for a fixed time but to watch that nothing happens in it; whoever waits, waits for a
//! condition with a deadline.

mod board;
mod front;
mod impostor;
mod over;
mod program;
#[cfg(target_os = "linux")]
mod quiet;
mod restless;
mod server;
mod wait;

pub use board::{Board, Card, client, client_with, json_client, quick};
pub use front::Front;
pub use impostor::{Answer, Impostor, Wrong};
pub use program::program;
#[cfg(target_os = "linux")]
pub use quiet::{Effort, effort};
pub use server::{Broker, Server};
pub use wait::{DEADLINE, SOON, soon, soon_until, until, within};

/// Rust in documents that belong to no crate: it compiles, as `cargo test --doc` sees to.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
}
