//! The rules of docs/protocol.md §1–§3 and §8, one by one.

mod harness;
mod pushing;
