//! What a log consists of: entries, their tags, snapshots, what is asked of a log, and one in memory.
//!
//! The bottom module: brokers keep logs, channels fold them, and both look down on this one.

mod author;
pub mod codec;
mod entry;
#[cfg(test)]
mod golden;
mod memory;
mod node;
mod parts;
mod request;
mod snapshot;
pub mod tag;

pub use author::Author;
pub use entry::{Check, Entry, EntryBody, LogKind, RunId, Trace};
#[cfg(feature = "net")]
pub(crate) use memory::PART_ENTRIES_MAX;
pub use memory::{Log, may_append};
pub use node::NodeId;
pub use parts::{Encoding, SnapshotName, StoredSnapshot};
pub use request::{BrokerReply, BrokerRequest};
pub use snapshot::{Snapshot, TableRow};
