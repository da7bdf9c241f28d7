//! What the log says, judged entry by entry as it grows.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidewire_core::document::Document;
use tidewire_core::document::change::{apply_change, check_changes, target};
use tidewire_core::document::precondition::{holds, subject};
use tidewire_core::wire::{
    ChangeKind, Cursor, ErrorCode, Item, Limits, NUMBER_MAX, Ops, PreconditionKind,
};
use tidewire_server::broker::{Entry, EntryBody, Log};
use tidewire_server::channel::Author;

use crate::SameHasher;

/// The log so far, and every state that it ever had.
#[derive(Default)]
pub(super) struct Truth {
    line: Vec<Cursor>,
    states: HashMap<Cursor, Document, SameHasher>,
    /// The last number of each author on the present line.
    last: BTreeMap<Author, u64>,
    /// Whatever any line ever decided.
    decided: BTreeSet<(Author, u64)>,
    /// The highest `low` of each author: by its own word everything below is over.
    low: BTreeMap<Author, u64>,
    /// What well-behaved authors asked for, by number.
    pub(super) asked: BTreeMap<(Author, u64), Item>,
}

impl Truth {
    pub(super) fn head(&self) -> Cursor {
        self.line.last().copied().unwrap_or_default()
    }

    pub(super) fn state(&self, cursor: Cursor) -> Option<&Document> {
        self.states.get(&cursor)
    }

    pub(super) fn is_decided(&self, author: Author, n: u64) -> bool {
        let low = self.low.get(&author).copied().unwrap_or_default();
        n < low || self.decided.contains(&(author, n))
    }

    /// Takes what was appended.
    pub(super) fn grow(&mut self, log: &Log) {
        let known = self.head().seq;
        for entry in log.entries().filter(|entry| entry.cursor.seq > known) {
            self.take(entry);
        }
        assert_eq!(self.head(), log.head());
    }

    /// The log lost its newest entries.
    pub(super) fn shrink(&mut self, log: &Log) {
        let kept = usize::try_from(log.head().seq).expect("a short log");
        self.line.truncate(kept);
        assert_eq!(self.head(), log.head());
        self.last.clear();
        // Lost numbers are asked for again, others never.
        for entry in log.entries() {
            if let EntryBody::Mutation { author, n, .. } = &entry.body {
                self.last.insert(*author, *n);
            }
        }
    }

    fn take(&mut self, entry: &Entry) {
        let head = self.head();
        let cursor = entry.cursor;
        assert_eq!(cursor.seq, head.seq + 1, "entries are contiguous");
        assert!(cursor.tag <= NUMBER_MAX && cursor.epoch <= NUMBER_MAX);
        let opens = matches!(entry.body, EntryBody::Opening { .. });
        assert_eq!(
            cursor.epoch > head.epoch,
            opens,
            "epochs begin with openings"
        );
        let mut document = self.states.get(&head).cloned().unwrap_or_default();
        match &entry.body {
            EntryBody::Opening { ops, .. } => ops.to_vec().iter().for_each(|op| {
                document.apply(op);
            }),
            EntryBody::Deletion => document = Document::default(),
            EntryBody::Keyed { .. } | EntryBody::Expiry { .. } | EntryBody::Close => {
                panic!("nothing writes {:?} yet", entry.body)
            }
            EntryBody::Mutation {
                author,
                n,
                low,
                outcome,
                ..
            } => {
                let before = self.last.insert(*author, *n);
                if let Some(item) = self.asked.get(&(*author, *n)) {
                    assert!(
                        before.is_none_or(|last| last < *n),
                        "{n} is in the log twice"
                    );
                    judge(
                        &document,
                        item,
                        entry,
                        outcome.as_ref().map_err(|r| r.code).err(),
                    );
                }
                self.decided.insert((*author, *n));
                let highest = self.low.entry(*author).or_default();
                *highest = (*highest).max(*low);
                for op in outcome.iter().flat_map(Ops::to_vec) {
                    document.apply(&op);
                }
                if let (Some(item), Ok(_)) = (self.asked.get(&(*author, *n)), outcome) {
                    let before = self.states.get(&head).cloned().unwrap_or_default();
                    assert_eq!(result(before, item), Ok(document.clone()));
                }
            }
        }
        self.line.push(cursor);
        self.states.insert(cursor, document);
    }
}

/// What an item makes of a document.
fn result(mut document: Document, item: &Item) -> Result<Document, ErrorCode> {
    for kind in item
        .changes
        .iter()
        .filter_map(|change| change.kind.as_ref())
    {
        let (collection, id) = target(kind);
        let next = apply_change(document.record(collection, id), kind, &Limits::DEFAULT)
            .map_err(|rejection| rejection.code)?;
        let (collection, id) = (collection.to_owned(), id.to_owned());
        document.replace(&collection, &id, next);
    }
    Ok(document)
}

/// Whether an outcome is one that the item could have at this place of the log.
fn judge(document: &Document, item: &Item, entry: &Entry, code: Option<ErrorCode>) {
    if item.noop {
        return assert!(code.is_none() || !item.changes.is_empty());
    }
    let preconditions = || item.pre.iter().filter_map(|pre| pre.kind.as_ref());
    let told = |kind: &PreconditionKind| {
        let (collection, id) = subject(kind);
        holds(kind, document.record(collection, id))
    };
    let late = item.deadline_ms != 0 && item.deadline_ms < entry.ms;
    match code {
        None => {
            assert!(!late, "applied after its deadline");
            assert!(check_changes(&item.changes, &Limits::DEFAULT).is_ok());
            assert!(preconditions().all(|kind| told(kind) != Some(false)));
        }
        Some(ErrorCode::Expired) => assert!(late, "expired before its deadline"),
        Some(ErrorCode::Conflict) => {
            // `unchanged` is for the log alone to tell.
            assert!(preconditions().any(|kind| told(kind) != Some(true)));
        }
        Some(ErrorCode::DepFailed) => assert!(item.after > 0),
        Some(ErrorCode::NotFound) => {
            assert_eq!(result(document.clone(), item), Err(ErrorCode::NotFound));
        }
        Some(ErrorCode::Refused) => assert!(
            item.changes
                .iter()
                .any(|change| matches!(change.kind, Some(ChangeKind::Del(_))))
        ),
        Some(_) => {}
    }
}
