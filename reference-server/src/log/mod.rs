//! What a log consists of: entries, their tags, snapshots, what is asked of a log, and one in memory.
//!
//! The bottom module: brokers keep logs, channels fold them, and both look down on this one.

mod author;
pub mod codec;
mod entry;
mod memory;
mod request;
mod snapshot;
pub(crate) mod tag;

pub use author::Author;
pub use entry::{Entry, EntryBody, RunId};
pub use memory::Log;
pub(crate) use memory::{PART_ENTRIES_MAX, may_append};
pub use request::{BrokerReply, BrokerRequest};
pub use snapshot::{Snapshot, TableRow};
