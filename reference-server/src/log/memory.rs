//! One channel's log in memory: what every broker has to do, without anything else.
//!
//! Invariant: entries are contiguous and end at the head; what was trimmed is covered by the snapshot.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::planted;
use tidewire_core::time::UnixTime;
use tidewire_core::wire::Cursor;

use super::{BrokerReply, BrokerRequest, Entry, EntryBody, RunId, SnapshotName, StoredSnapshot};

/// One reply carries at most this many entries. `more` then says that there are others.
pub(crate) const PART_ENTRIES_MAX: usize = 1024;

/// One ordered log with compare-and-append. The memory broker keeps one per channel; the simulator
/// breaks them on purpose.
///
/// Its size is bounded by whoever appends: a channel cuts snapshots and trims.
#[derive(Clone, Debug)]
pub struct Log {
    run: RunId,
    part_entries_max: usize,
    snapshot: Option<Arc<StoredSnapshot>>,
    /// Parts of a snapshot that was not put yet: of one cursor, the newest that anybody began.
    parts: (Cursor, Vec<Bytes>),
    entries: VecDeque<Arc<Entry>>,
    entries_bytes: usize,
    head: Cursor,
    head_run: RunId,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(run: RunId) -> Self {
        Self {
            run,
            part_entries_max: PART_ENTRIES_MAX,
            snapshot: None,
            parts: Default::default(),
            entries: VecDeque::new(),
            entries_bytes: 0,
            head: Cursor::default(),
            head_run: RunId::default(),
        }
    }

    /// From now on a reply has at most so many entries, at least one. They are shared, so only
    /// brokers that copy them, and tests, have a reason to ask for small parts.
    pub fn set_part_entries_max(&mut self, entries: usize) {
        self.part_entries_max = entries.max(1);
    }

    /// Does what is asked, at this time of the broker's clock. Never fails, never says
    /// [`BrokerReply::Failed`].
    pub fn handle(&mut self, request: BrokerRequest, clock: UnixTime) -> BrokerReply {
        match request {
            BrokerRequest::Load => {
                let (entries, more) = self.part(0);
                BrokerReply::Loaded {
                    snapshot: self.snapshot.clone(),
                    entries,
                    more,
                    run: self.run,
                    clock,
                }
            }
            BrokerRequest::Read { after } => self.read(after, clock),
            BrokerRequest::Append { expected, entries } => self.append(expected, entries),
            BrokerRequest::PutPart {
                cursor,
                part,
                bytes,
            } => self.put_part(cursor, part, bytes),
            BrokerRequest::PutSnapshot {
                snapshot,
                trim_through,
            } => self.put_snapshot(snapshot, trim_through),
        }
    }

    /// The newest entry's cursor; zero when the log is empty.
    #[must_use]
    pub fn head(&self) -> Cursor {
        self.head
    }

    /// What it costs in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let snapshot = self.snapshot.as_ref().map_or(0, |stored| stored.bytes());
        let coming: usize = self.parts.1.iter().map(Bytes::len).sum();
        self.entries_bytes + snapshot + coming
    }

    /// What was not trimmed, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Arc<Entry>> {
        self.entries.iter()
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Arc<StoredSnapshot>> {
        self.snapshot.as_ref()
    }

    /// Another life of the broker begins, with what it has: an unclean start, a promotion.
    pub fn set_run(&mut self, run: RunId) {
        self.run = run;
    }

    fn first_seq(&self) -> u64 {
        self.entries
            .front()
            .map_or(self.head.seq + 1, |first| first.cursor.seq)
    }

    /// Entries from an index on, and whether there are more.
    fn part(&self, skip: usize) -> (Vec<Arc<Entry>>, bool) {
        let rest = self.entries.iter().skip(skip);
        let more = rest.len() > self.part_entries_max;
        (rest.take(self.part_entries_max).cloned().collect(), more)
    }

    fn read(&self, after: u64, clock: UnixTime) -> BrokerReply {
        if after > self.head.seq || after + 1 < self.first_seq() {
            return BrokerReply::Trimmed;
        }
        let skip = usize::try_from(after + 1 - self.first_seq()).unwrap_or(usize::MAX);
        let (entries, more) = self.part(skip);
        BrokerReply::Entries {
            entries,
            more,
            run: self.run,
            clock,
        }
    }

    fn append(&mut self, expected: Cursor, entries: Vec<Arc<Entry>>) -> BrokerReply {
        if !may_append(self.head, self.head_run, self.run, expected, &entries) {
            return BrokerReply::Conflict;
        }
        if let Some(last) = entries.last() {
            self.head = last.cursor;
            self.head_run = last.run;
        }
        self.entries_bytes += entries.iter().map(|entry| entry.bytes()).sum::<usize>();
        self.entries.extend(entries);
        BrokerReply::Appended
    }

    fn put_part(&mut self, cursor: Cursor, part: u32, bytes: Bytes) -> BrokerReply {
        let (of, parts) = &mut self.parts;
        if *of != cursor {
            *of = cursor;
            parts.clear();
        }
        // Parts come in order; one that comes again is the same.
        let at = part as usize;
        if at < parts.len() {
            parts[at] = bytes;
        } else if at == parts.len() {
            parts.push(bytes);
        } else {
            return BrokerReply::Conflict;
        }
        if planted!(PartCountsAtOnce) {
            let parts = parts.clone();
            self.snapshot = Some(Arc::new(StoredSnapshot::of(cursor, parts)));
        }
        BrokerReply::PartStored
    }

    fn put_snapshot(&mut self, name: SnapshotName, trim_through: u64) -> BrokerReply {
        let cursor = name.cursor;
        let newer = self
            .snapshot
            .as_ref()
            .is_none_or(|old| old.name.cursor.seq < cursor.seq);
        let on_the_line = self
            .entries
            .iter()
            .rev()
            .any(|entry| entry.cursor == cursor);
        let newer = newer || planted!(SnapshotGoesBack);
        let on_the_line = on_the_line || planted!(SnapshotOffTheLine);
        if !newer || !on_the_line {
            return BrokerReply::SnapshotStored;
        }
        let is_whole = self.parts.0 == cursor && self.parts.1.len() == name.parts as usize;
        if !is_whole && !planted!(PartsNotCounted) {
            return BrokerReply::Conflict;
        }
        let (_, parts) = std::mem::take(&mut self.parts);
        self.snapshot = Some(Arc::new(StoredSnapshot { name, parts }));
        let through = trim_through.min(cursor.seq);
        while self
            .entries
            .front()
            .is_some_and(|first| first.cursor.seq <= through)
        {
            let trimmed = self.entries.pop_front();
            self.entries_bytes -= trimmed.map_or(0, |entry| entry.bytes());
        }
        BrokerReply::SnapshotStored
    }
}

/// The comparison that safety rests on: whether a log with this head and run id takes these entries. Every broker
/// makes it, atomically with the append.
#[must_use]
pub fn may_append(
    head: Cursor,
    head_run: RunId,
    run: RunId,
    expected: Cursor,
    entries: &[Arc<Entry>],
) -> bool {
    let Some(first) = entries.first() else {
        return false;
    };
    let opens = matches!(first.body, EntryBody::Opening { .. });
    let contiguous = (head.seq + 1..)
        .zip(entries)
        .all(|(seq, entry)| entry.cursor.seq == seq && entry.run == run);
    let expected_head =
        expected == head || (planted!(AppendComparesSeqOnly) && expected.seq == head.seq);
    expected_head && contiguous && (opens || head_run == run)
}
