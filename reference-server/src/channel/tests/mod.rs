//! The rules of docs/protocol.md §1–§4 and §8, one by one.

mod brokering;
mod claims;
mod clocks;
mod conditions;
mod deadlines;
mod fetching;
mod harness;
mod lagging;
mod loading;
mod presence;
mod pushing;
mod random;
mod subscribing;
