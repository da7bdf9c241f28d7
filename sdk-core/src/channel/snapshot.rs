//! A snapshot on its way in: invisible until it is whole.
//!
//! Parts carry no cursor. On a link that reorders, one of an older snapshot may mix in: then count or
//! digest betray it, and the channel subscribes again. The end names the snapshot: parts and end of an
//! older one together would pass for this.

use bytes::Bytes;

use crate::document::Document;
use crate::planted;
use crate::wire::{Cursor, Known, PartInPlace, SnapshotBegin, SnapshotEnd};

/// Parts received so far.
#[derive(Debug)]
pub(super) struct IncomingSnapshot {
    pub(super) cursor: Cursor,
    /// Where the log stood when the server had been asked: patches lead there.
    pub(super) head: Cursor,
    pub(super) known: Known,
    pub(super) proof: Bytes,
    document: Document,
    records: u64,
    bytes: usize,
    /// What the end said, if it overtook a part.
    end: Option<SnapshotEnd>,
}

/// What a part or an end made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nothing that was not there already, or the end of another snapshot.
    Repeated,
    /// It grew.
    Grown,
    /// The end is here, and parts are missing.
    Awaiting,
    /// All of it is here.
    Whole,
    /// What arrived is not what was sent.
    Damaged,
    /// It is larger than this client takes.
    TooLarge,
}

impl IncomingSnapshot {
    /// `None`: a field is missing that every snapshot has, or it is of another epoch than its head.
    pub(super) fn new(begin: SnapshotBegin) -> Option<Self> {
        let (cursor, head) = (begin.cursor?, begin.head?);
        if cursor.epoch != head.epoch || cursor.seq > head.seq {
            return None;
        }
        Some(Self {
            cursor,
            head,
            known: begin.known?,
            // A copy: the message that it came in may be large.
            proof: Bytes::copy_from_slice(&begin.proof),
            document: Document::default(),
            records: 0,
            bytes: 0,
            end: None,
        })
    }

    /// Another answer names this head. Of two subscribes each may have been answered with this snapshot.
    pub(super) fn raise_head(&mut self, head: Cursor) {
        if head.order() > self.head.order() && !planted!(SecondAnswerIgnored) {
            self.head = head;
        }
    }

    pub(super) fn add(&mut self, part: &PartInPlace<'_>, bytes_max: usize) -> Progress {
        let before = self.records;
        for record in part.records() {
            let (before, now) = self.document.put_in_place(&record);
            // Else a second copy of a part.
            self.records += u64::from(before.is_none());
            self.bytes = self.bytes + now - before.unwrap_or(0);
        }
        if self.bytes > bytes_max {
            return Progress::TooLarge;
        }
        match self.verdict() {
            Progress::Grown if self.records == before => Progress::Repeated,
            verdict => verdict,
        }
    }

    pub(super) fn finish(&mut self, end: SnapshotEnd) -> Progress {
        if end.cursor.is_some_and(|cursor| cursor != self.cursor) {
            return Progress::Repeated;
        }
        self.end = Some(end);
        self.verdict()
    }

    pub(super) fn into_document(self) -> (Known, Document) {
        (self.known, self.document)
    }

    fn verdict(&self) -> Progress {
        let Some(end) = &self.end else {
            return Progress::Grown;
        };
        if planted!(SnapshotNotVerified) {
            return Progress::Whole;
        }
        match self.records.cmp(&end.records) {
            std::cmp::Ordering::Less => Progress::Awaiting,
            std::cmp::Ordering::Equal if self.document.digest() == end.digest => Progress::Whole,
            _ => Progress::Damaged,
        }
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::wire::{self, SnapshotPart};

    fn begin() -> SnapshotBegin {
        SnapshotBegin {
            channel: "a:b".into(),
            cursor: Some(Cursor::new(5, 1, 11)),
            known: Some(Known::default()),
            head: Some(Cursor::new(5, 1, 11)),
            ..SnapshotBegin::default()
        }
    }

    fn part(ids: &[&str]) -> Vec<u8> {
        let record = |id: &&str| wire::Record {
            collection: "c".into(),
            id: (*id).into(),
            fields: vec![wire::Field {
                name: "f".into(),
                value: "1".into(),
                ..wire::Field::default()
            }],
            ..wire::Record::default()
        };
        let part = SnapshotPart {
            channel: "a:b".into(),
            records: ids.iter().map(record).collect(),
        };
        part.encode_to_vec()
    }

    fn add(incoming: &mut IncomingSnapshot, ids: &[&str], bytes_max: usize) -> Progress {
        incoming.add(&PartInPlace::again(&part(ids)), bytes_max)
    }

    fn end(ids: &[&str]) -> SnapshotEnd {
        let mut whole = IncomingSnapshot::new(begin()).unwrap();
        add(&mut whole, ids, 1_000);
        SnapshotEnd {
            channel: "a:b".into(),
            records: ids.len() as u64,
            digest: whole.document.digest(),
            cursor: Some(Cursor::new(5, 1, 11)),
        }
    }

    #[test]
    fn the_end_of_another_snapshot_ends_nothing() {
        let mut incoming = IncomingSnapshot::new(begin()).unwrap();
        add(&mut incoming, &["x"], 1_000);
        let other = SnapshotEnd {
            cursor: Some(Cursor::new(5, 2, 12)),
            ..end(&["x"])
        };
        assert_eq!(incoming.finish(other), Progress::Repeated);
        assert_eq!(incoming.finish(end(&["x"])), Progress::Whole);
    }

    #[test]
    fn parts_may_come_twice_and_after_the_end() {
        let mut incoming = IncomingSnapshot::new(begin()).unwrap();
        assert_eq!(add(&mut incoming, &["x"], 1_000), Progress::Grown);
        assert_eq!(add(&mut incoming, &["x"], 1_000), Progress::Repeated);
        assert_eq!(incoming.finish(end(&["x", "y"])), Progress::Awaiting);
        assert_eq!(add(&mut incoming, &["y"], 1_000), Progress::Whole);
        assert_eq!(incoming.into_document().1.len(), 2);
    }

    #[test]
    fn what_does_not_belong_to_it_damages_it() {
        let mut incoming = IncomingSnapshot::new(begin()).unwrap();
        add(&mut incoming, &["x"], 1_000);
        assert_eq!(incoming.finish(end(&["y"])), Progress::Damaged);
        let mut incoming = IncomingSnapshot::new(begin()).unwrap();
        add(&mut incoming, &["x", "y"], 1_000);
        assert_eq!(incoming.finish(end(&["x"])), Progress::Damaged);
    }

    #[test]
    fn its_size_is_bounded_and_copies_do_not_count() {
        let mut incoming = IncomingSnapshot::new(begin()).unwrap();
        for _ in 0..100 {
            assert_ne!(add(&mut incoming, &["x"], 10), Progress::TooLarge);
        }
        assert_eq!(add(&mut incoming, &["x", "y", "z"], 10), Progress::TooLarge);
    }

    #[test]
    fn without_its_table_row_or_the_head_it_is_none() {
        let without_row = SnapshotBegin {
            known: None,
            ..begin()
        };
        let without_head = SnapshotBegin {
            head: None,
            ..begin()
        };
        assert!(IncomingSnapshot::new(without_row).is_none());
        assert!(IncomingSnapshot::new(without_head).is_none());
    }

    #[test]
    fn a_head_below_it_or_of_another_epoch_makes_it_none() {
        for head in [
            Cursor::new(5, 0, 0),
            Cursor::new(6, 2, 12),
            Cursor::new(4, 1, 11),
        ] {
            let begin = SnapshotBegin {
                head: Some(head),
                ..begin()
            };
            assert!(IncomingSnapshot::new(begin).is_none(), "{head:?}");
        }
    }
}
