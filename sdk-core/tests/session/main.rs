//! The session against a scripted server: one rule a test, in virtual time.

#[path = "../support/mod.rs"]
mod support;

mod cells;
mod channel;
mod choosing;
mod conflicts;
mod contract;
mod deadlines;
mod http;
mod idle;
mod interleave;
mod link;
mod liveness;
mod lossy;
mod moving;
mod mutations;
mod over;
mod pushing;
mod put_off;
mod snapshots;
mod stream;
mod token;
mod unsent;
