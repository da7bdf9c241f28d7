//! The table: what the log decided for each author, as long as anybody could ask.
//!
//! Invariant: `due` has exactly the rows of `rows`, by their latest deadline; so an entry evicts what is
//! due without looking at the rest.

use std::collections::{BTreeMap, BTreeSet};

use tidewire_core::document::Rejection;
use tidewire_core::planted;
use tidewire_core::wire::{Known, Ops, Rejected};

use super::lifetime::Lifetime;
use crate::log::{Author, Check, TableRow};

/// What a mutation's entry says to its author's row.
#[derive(Clone, Copy)]
pub(super) struct Decision<'a> {
    pub(super) n: u64,
    pub(super) low: u64,
    pub(super) deadline_ms: u64,
    pub(super) check: Option<Check>,
    pub(super) outcome: &'a Result<Ops, Rejection>,
}

impl Decision<'_> {
    /// Writes it into the row.
    pub(super) fn write(self, row: &mut TableRow) {
        if self.outcome.is_ok() || !planted!(RejectionNotCounted) {
            row.last = self.n;
        }
        row.check = self.check;
        row.deadline_max = row.deadline_max.max(self.deadline_ms);
        row.low = row.low.max(self.low);
        row.rejected.retain(|(rejected, _)| *rejected >= self.low);
        if planted!(RejectionsForgottenEarly) {
            row.rejected.clear();
        }
        if let Err(rejection) = self.outcome {
            row.rejected.push((self.n, rejection.clone()));
        }
    }
}

/// All rows.
#[derive(Debug, Default)]
pub(super) struct Table {
    rows: BTreeMap<Author, TableRow>,
    due: BTreeSet<(u64, Author)>,
}

impl Table {
    /// The rows of a snapshot.
    pub(super) fn new(rows: Vec<(Author, TableRow)>) -> Self {
        Self {
            due: rows
                .iter()
                .map(|(author, row)| (row.deadline_max, *author))
                .collect(),
            rows: rows.into_iter().collect(),
        }
    }

    pub(super) fn get(&self, author: &Author) -> Option<&TableRow> {
        self.rows.get(author)
    }

    /// Sorted by author.
    pub(super) fn rows(&self) -> &BTreeMap<Author, TableRow> {
        &self.rows
    }

    /// Takes what an entry says.
    pub(super) fn decide(&mut self, author: Author, decision: Decision<'_>) {
        let row = self.rows.entry(author).or_default();
        let before = row.deadline_max;
        decision.write(row);
        self.due.remove(&(before, author));
        self.due.insert((row.deadline_max, author));
    }

    /// Drops the rows whose retention is over at log time `ms`.
    pub(super) fn evict(&mut self, lifetime: &Lifetime, ms: u64) {
        while let Some((_, author)) = self.due.first() {
            let row = self.rows.get(author);
            if row.is_some_and(|row| !lifetime.is_evicted(row, ms)) {
                return;
            }
            self.rows.remove(author);
            self.due.pop_first();
        }
    }
}

/// A table row as it travels; `last: 0` when there is none.
pub(super) fn known(row: Option<&TableRow>) -> Known {
    row.map_or_else(Known::default, |row| Known {
        last: row.last,
        rejected: row
            .rejected
            .iter()
            .map(|(n, rejection)| Rejected {
                n: *n,
                code: rejection.code as u32,
                detail: rejection.detail.clone(),
            })
            .collect(),
        ..Known::default()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The index finds exactly what a look at every row after every entry would.
        #[test]
        fn eviction_by_the_index_is_eviction_by_looking_at_every_row(
            entries in proptest::collection::vec((0..6u8, 0..2_000u64, 0..300u64), 0..80),
        ) {
            let lifetime = Lifetime::new(Duration::from_millis(100), Duration::from_millis(500));
            let mut table = Table::default();
            let mut plain: BTreeMap<Author, TableRow> = BTreeMap::new();
            let mut ms = 0;
            for (at, (who, deadline_ms, passes)) in entries.into_iter().enumerate() {
                ms += passes;
                let author = Author([who; 16]);
                let decision = Decision {
                    n: at as u64 + 1,
                    low: at as u64,
                    deadline_ms,
                    check: None,
                    outcome: &Ok(Ops::default()),
                };
                table.decide(author, decision);
                table.evict(&lifetime, ms);
                decision.write(plain.entry(author).or_default());
                plain.retain(|_, row| row.deadline_max + 500 >= ms);
                prop_assert_eq!(table.rows(), &plain);
                let saved: Vec<_> = plain.iter().map(|(a, row)| (*a, row.clone())).collect();
                let loaded = Table::new(saved);
                prop_assert_eq!(&loaded.due, &table.due);
            }
        }
    }
}
