//! The session against a scripted server: one rule a test, in virtual time.

#[path = "../support/mod.rs"]
mod support;

mod channel;
mod contract;
mod link;
mod mutations;
mod pushing;
mod snapshots;
mod stream;
mod token;
