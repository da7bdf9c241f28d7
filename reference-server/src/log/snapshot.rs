//! Snapshots: what a log folds to up to a cursor, without its entries.

use std::sync::Arc;

use tidewire_core::document::{Document, Rejection};
use tidewire_core::wire::Cursor;

use super::{Author, Check, LogKind};

/// State and table at a cursor; what a log may be trimmed to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Which entry it includes last.
    pub cursor: Cursor,
    /// Log time there.
    pub ms: u64,
    /// Whether the last fact about the channel is its deletion.
    pub deleted: bool,
    /// What the log is for.
    pub kind: LogKind,
    /// All records.
    pub document: Arc<Document>,
    /// The whole table, sorted by author.
    pub table: Vec<(Author, TableRow)>,
}

/// One author's row of the table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableRow {
    /// The highest decided number.
    pub last: u64,
    /// The rejected ones among those at or above the author's `low`.
    pub rejected: Vec<(u64, Rejection)>,
    /// The latest deadline of its mutations, Unix milliseconds: the row is kept for the retention after it.
    pub deadline_max: u64,
    /// The highest `low` that its pushes named: what was rejected below it is forgotten.
    pub low: u64,
    /// Up to this number nobody knows any more which ones were rejected: there was no room to list them.
    pub forgotten: u64,
    /// Of the item that was decided last, if its store keeps checks.
    pub check: Option<Check>,
}
