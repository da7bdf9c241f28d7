//! The browser driver of tidewire: runs the sans-IO core over a WebSocket and one timer.
//!
//! Only the npm package calls what is exported here; its TypeScript facade is the public API.
//! Invariant: nothing of the core is borrowed while JavaScript runs, so every call from a callback
//! is fine. The document stays in here: a flush says which records changed of those that
//! JavaScript follows, and it pulls the ones that it shows.

mod client;
mod clock;
mod convert;
mod driver;
mod error;
mod timer;
mod transport;

pub use client::JsClient;
pub use error::CallError;
