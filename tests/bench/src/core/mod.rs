//! The client core, through the interface that drivers use.

pub mod ingest;
pub mod optimistic;
mod session;
pub mod stream;

pub use session::Opened;
