//! The rules of docs/protocol.md §1–§3 and §8, one by one.

mod brokering;
mod harness;
mod lagging;
mod presence;
mod pushing;
mod random;
mod subscribing;
