//! The table: what the log decided for each author, as long as anybody could ask.
//!
//! Invariant: each index has exactly the rows that it is about, by their latest deadline; so an entry evicts
//! what is due, and forgets what is too much, without looking at the rest. All of it follows from the rows
//! alone: whoever loads them from a snapshot goes on in the same way.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
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
        if self.n > row.last + 1 && !planted!(SkippedTakenForCommitted) {
            // Of what the author has given up, nobody will say that it was not rejected.
            row.forgotten = self.n - 1;
        }
        if self.outcome.is_ok() || !planted!(RejectionNotCounted) {
            row.last = self.n;
        }
        row.check = self.check;
        row.deadline_max = row.deadline_max.max(self.deadline_ms);
        row.low = row.low.max(self.low);
        let mut rejected = row.rejected.iter().rev();
        if let Some((passed, _)) = rejected.find(|(n, _)| *n < self.low)
            && !planted!(PassedNotMarked)
        {
            // An author needs it no more, unless it has lost a number and closes that gap: a copy of what it sent to come
            // after this one may arrive all the same.
            row.forgotten = row.forgotten.max(*passed);
        }
        row.rejected.retain(|(rejected, _)| *rejected >= self.low);
        if planted!(RejectionsForgottenEarly) {
            row.rejected.clear();
        }
        if let Err(rejection) = self.outcome {
            row.rejected.push((self.n, rejection.clone()));
        }
    }
}

/// What a row costs a table, in memory: about, and the same on every node, because the fold depends on it.
pub(super) const ROW_COST: usize = 160;
const REJECTION_COST: usize = 48;

fn cost(row: &TableRow) -> usize {
    let rejected = row.rejected.iter();
    let rejected = rejected.map(|(_, rejection)| REJECTION_COST + rejection.detail.len());
    ROW_COST + rejected.sum::<usize>()
}

type Index = BTreeSet<(u64, Author)>;

/// All rows.
#[derive(Debug)]
pub(super) struct Table {
    rows: BTreeMap<Author, TableRow>,
    due: Index,
    /// Those that list a rejection, and those that list one with a reason.
    listing: Index,
    explaining: Index,
    bytes: usize,
    bytes_max: usize,
}

impl Table {
    /// The rows of a snapshot. Above `bytes_max` rejections are forgotten.
    pub(super) fn new(rows: Vec<(Author, TableRow)>, bytes_max: usize) -> Self {
        let mut table = Self {
            rows: BTreeMap::new(),
            due: Index::new(),
            listing: Index::new(),
            explaining: Index::new(),
            bytes: 0,
            bytes_max,
        };
        for (author, row) in rows {
            table.put(author, row);
        }
        table
    }

    pub(super) fn get(&self, author: &Author) -> Option<&TableRow> {
        self.rows.get(author)
    }

    /// Sorted by author.
    pub(super) const fn rows(&self) -> &BTreeMap<Author, TableRow> {
        &self.rows
    }

    /// What its rows cost.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether so many further authors find room, rejections being forgotten for them.
    pub(super) fn has_room_for(&self, authors: usize) -> bool {
        (self.rows.len() + authors).saturating_mul(ROW_COST) <= self.bytes_max
    }

    /// Takes what an entry says.
    pub(super) fn decide(&mut self, author: Author, decision: Decision<'_>) {
        if let Some(row) = self.rows.get_mut(&author)
            && row.rejected.is_empty()
            && decision.outcome.is_ok()
        {
            // Nearly always: nothing but the row itself and perhaps its deadline moves.
            let before = row.deadline_max;
            decision.write(row);
            if row.deadline_max != before {
                self.due.remove(&(before, author));
                self.due.insert((row.deadline_max, author));
            }
            return;
        }
        let mut row = self.take(&author).unwrap_or_default();
        decision.write(&mut row);
        self.put(author, row);
    }

    /// Drops the rows whose retention is over at log time `ms`.
    pub(super) fn evict(&mut self, lifetime: &Lifetime, ms: u64) {
        while let Some((_, author)) = self.due.first().copied() {
            let row = self.rows.get(&author);
            if row.is_some_and(|row| !lifetime.is_evicted(row, ms)) {
                return;
            }
            self.take(&author);
        }
    }

    /// Forgets what is too much, once an entry has evicted what it evicts: reasons go before codes, and those
    /// of the author whose deadline is the earliest before all others'. Numbers whose codes went are marked:
    /// they may have been rejected.
    pub(super) fn make_room(&mut self) {
        while self.bytes > self.bytes_max && !planted!(TableNotBounded) {
            let (reasons_only, oldest) = match (self.explaining.first(), self.listing.first()) {
                (Some(oldest), _) => (true, *oldest),
                (None, Some(oldest)) => (false, *oldest),
                (None, None) => return,
            };
            let (_, author) = oldest;
            let Some(mut row) = self.take(&author) else {
                return;
            };
            if reasons_only {
                for (_, rejection) in &mut row.rejected {
                    rejection.detail = String::new();
                }
            } else {
                row.rejected = Vec::new();
                if !planted!(ForgottenNotMarked) {
                    row.forgotten = row.last;
                }
            }
            self.put(author, row);
        }
    }

    fn take(&mut self, author: &Author) -> Option<TableRow> {
        let row = self.rows.remove(author)?;
        let place = (row.deadline_max, *author);
        self.due.remove(&place);
        if !row.rejected.is_empty() {
            self.listing.remove(&place);
            self.explaining.remove(&place);
        }
        self.bytes -= cost(&row);
        Some(row)
    }

    fn put(&mut self, author: Author, row: TableRow) {
        let place = (row.deadline_max, author);
        self.due.insert(place);
        if !row.rejected.is_empty() {
            self.listing.insert(place);
        }
        if row.rejected.iter().any(|(_, r)| !r.detail.is_empty()) {
            self.explaining.insert(place);
        }
        self.bytes += cost(&row);
        self.rows.insert(author, row);
    }
}

/// A table row as it travels; `last: 0` when there is none. Its `low` is above everything of which nobody
/// knows any more whether it was rejected, whether the author said so or there was no room.
pub(super) fn known(row: Option<&TableRow>) -> Known {
    row.map_or_else(Known::default, |row| Known {
        last: row.last,
        check: row.check.map(Bytes::from_owner).unwrap_or_default(),
        low: if row.forgotten > 0 {
            row.low.max(row.forgotten + 1)
        } else {
            row.low
        },
        rejected: row
            .rejected
            .iter()
            .map(|(n, rejection)| Rejected {
                n: *n,
                code: rejection.code as u32,
                detail: rejection.detail.clone(),
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tidewire_core::wire::ErrorCode;

    use super::*;

    proptest! {
        /// The index finds exactly what a look at every row after every entry would.
        #[test]
        fn eviction_by_the_index_is_eviction_by_looking_at_every_row(
            entries in proptest::collection::vec((0..6u8, 0..2_000u64, 0..300u64), 0..80),
        ) {
            let lifetime = Lifetime::new(Duration::from_millis(100), Duration::from_millis(500));
            let mut table = Table::new(Vec::new(), usize::MAX);
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
                let loaded = Table::new(saved, usize::MAX);
                prop_assert_eq!(&loaded.due, &table.due);
            }
        }
    }

    fn rejected(n: u64, detail: &str) -> (u64, Result<Ops, Rejection>) {
        (n, Err(Rejection::new(ErrorCode::Conflict, detail)))
    }

    fn author(n: u32) -> Author {
        let mut author = [0; 16];
        author[..4].copy_from_slice(&n.to_be_bytes());
        Author(author)
    }

    fn reject(table: &mut Table, who: u32, n: u64) {
        let (n, outcome) = rejected(n, "precondition 1 does not hold: cards/c1 does not exist");
        let decision = Decision {
            n,
            low: 1,
            deadline_ms: 1_000 + u64::from(who),
            check: None,
            outcome: &outcome,
        };
        table.decide(author(who), decision);
        table.make_room();
    }

    #[test]
    fn rejections_of_very_many_authors_stay_in_the_budget() {
        const AUTHORS: u32 = 100_000;
        let bytes_max = 20 * 1024 * 1024;
        let mut table = Table::new(Vec::new(), bytes_max);
        for who in 0..AUTHORS {
            for n in 1..=5 {
                reject(&mut table, who, n);
            }
            assert!(table.bytes() <= bytes_max);
        }
        assert!(table.rows().values().all(|row| row.last == 5));
        assert!(!table.has_room_for(100_000));
        // Nobody is told that something was committed which was not.
        let unknown = |row: &TableRow| row.rejected.len() as u64 + row.forgotten;
        assert!(table.rows().values().all(|row| unknown(row) >= 5));
        let listed = table.rows().values().map(|row| row.rejected.len());
        assert!(listed.sum::<usize>() > 10_000, "what fits is kept");
    }

    #[test]
    fn reasons_go_before_codes_and_the_oldest_authors_first() {
        let mut table = Table::new(Vec::new(), 5 * ROW_COST);
        let at = |table: &Table, who| {
            let row = table.get(&author(who)).unwrap();
            let reasons = row.rejected.iter().filter(|(_, r)| !r.detail.is_empty());
            (row.rejected.len(), reasons.count(), row.forgotten)
        };
        reject(&mut table, 2, 1);
        reject(&mut table, 1, 1);
        reject(&mut table, 3, 1);
        assert_eq!([1, 2, 3].map(|who| at(&table, who)), [(1, 1, 0); 3]);
        // Without a single reason it is still too much: one author's codes go.
        reject(&mut table, 4, 1);
        assert_eq!(at(&table, 1), (0, 0, 1));
        assert_eq!([2, 3, 4].map(|who| at(&table, who)), [(1, 0, 0); 3]);
        // Five rows alone fill it: nothing is listed any more.
        reject(&mut table, 5, 1);
        assert_eq!([2, 3, 4].map(|who| at(&table, who)), [(0, 0, 1); 3]);
        assert_eq!(at(&table, 5), (0, 0, 1));
        assert!(!table.has_room_for(1));
    }

    #[test]
    fn a_row_says_below_which_number_nothing_is_known() {
        let mut table = Table::new(Vec::new(), ROW_COST);
        let low = |table: &Table, who| known(table.get(&author(who))).low;
        reject(&mut table, 1, 7);
        assert_eq!((low(&table, 1), low(&table, 2)), (8, 0));
        // The author needs nothing below 9 any more.
        let decision = Decision {
            n: 9,
            low: 9,
            deadline_ms: 0,
            check: None,
            outcome: &Ok(Ops::default()),
        };
        table.decide(author(1), decision);
        assert_eq!(low(&table, 1), 9);
    }

    proptest! {
        /// However it came to be: what was loaded from a snapshot goes on like what was folded from the start.
        #[test]
        fn what_is_forgotten_follows_from_the_rows_alone(
            entries in proptest::collection::vec((0..6u32, proptest::bool::ANY), 0..60),
            cut in 0..60usize,
        ) {
            let mut table = Table::new(Vec::new(), 6 * ROW_COST + 300);
            let mut loaded = None;
            for (at, (who, rejects)) in entries.into_iter().enumerate() {
                if at == cut {
                    let rows = table.rows().iter().map(|(a, row)| (*a, row.clone())).collect();
                    loaded = Some(Table::new(rows, 6 * ROW_COST + 300));
                }
                for table in [Some(&mut table), loaded.as_mut()].into_iter().flatten() {
                    let n = table.get(&author(who)).map_or(1, |row| row.last + 1);
                    if rejects {
                        reject(table, who, n);
                    } else {
                        table.decide(author(who), Decision {
                            n,
                            low: n,
                            deadline_ms: 0,
                            check: None,
                            outcome: &Ok(Ops::default()),
                        });
                        table.make_room();
                    }
                    prop_assert!(table.bytes() <= 6 * ROW_COST + 300);
                }
            }
            if let Some(loaded) = loaded {
                prop_assert_eq!(loaded.rows(), table.rows());
            }
        }
    }
}
