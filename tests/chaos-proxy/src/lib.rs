#![doc = include_str!("../README.md")]

mod conditions;
mod pace;
mod pipe;
mod proxy;

#[cfg(feature = "program")]
pub mod control;

pub use conditions::{Conditions, ConditionsError, Ending, Limit, Slicer};
pub use proxy::{CONNECTIONS_MAX, ChaosProxy, Counts, Direction};
