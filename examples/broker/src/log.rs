//! One channel's log, and the four rules of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tidewire_core::wire::Cursor;
use tidewire_server::UnixTime;
use tidewire_server::broker::{
    BrokerReply, BrokerRequest, Entry, EntryBody, RunId, SnapshotName, StoredSnapshot,
};

/// A reply has at most so many entries.
const PART_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct ChannelLog {
    /// By seq. The oldest ones go once a snapshot covers them.
    entries: BTreeMap<u64, Arc<Entry>>,
    head: Cursor,
    /// Under which run id the head was appended.
    head_run: Option<RunId>,
    snapshot: Option<Arc<StoredSnapshot>>,
    /// Parts of a snapshot that does not count yet.
    parts: (Cursor, Vec<Bytes>),
}

impl ChannelLog {
    pub(crate) fn head(&self) -> Cursor {
        self.head
    }

    pub(crate) fn handle(&mut self, request: BrokerRequest, run: RunId) -> BrokerReply {
        match request {
            BrokerRequest::Load => {
                let (entries, more) = self.part(0);
                BrokerReply::Loaded {
                    snapshot: self.snapshot.clone(),
                    entries,
                    more,
                    run,
                    clock: now(),
                }
            }
            BrokerRequest::Read { after } => self.read(after, run),
            BrokerRequest::Append { expected, entries } => self.append(expected, &entries, run),
            BrokerRequest::PutPart {
                cursor,
                part,
                bytes,
            } => self.put_part(cursor, part as usize, bytes),
            BrokerRequest::PutSnapshot {
                snapshot,
                trim_through,
            } => self.put_snapshot(snapshot, trim_through),
        }
    }

    /// Rule 1: a read returns all entries after a seq, in order, or says that it cannot.
    fn read(&self, after: u64, run: RunId) -> BrokerReply {
        let oldest = self.entries.keys().next().copied();
        let oldest = oldest.unwrap_or(self.head.seq + 1);
        if after > self.head.seq || after < oldest - 1 {
            return BrokerReply::Trimmed;
        }
        let (entries, more) = self.part(after);
        BrokerReply::Entries {
            entries,
            more,
            run,
            clock: now(),
        }
    }

    fn part(&self, after: u64) -> (Vec<Arc<Entry>>, bool) {
        let mut rest = self.entries.range(after + 1..).map(|(_, entry)| entry);
        let part = rest.by_ref().take(PART_MAX).cloned().collect();
        (part, rest.next().is_some())
    }

    /// Rule 2: an append happens whole, iff the head is the expected one and run ids fit.
    fn append(&mut self, expected: Cursor, entries: &[Arc<Entry>], run: RunId) -> BrokerReply {
        let Some((first, last)) = entries.first().zip(entries.last()) else {
            return BrokerReply::Conflict;
        };
        let seqs = self.head.seq + 1..;
        let follows = seqs
            .zip(entries)
            .all(|(seq, entry)| entry.cursor.seq == seq && entry.run == run);
        // Only an opening may follow an entry of another life of this broker, or nothing at all.
        let opens = matches!(first.body, EntryBody::Opening { .. });
        if expected != self.head || !follows || !(opens || self.head_run == Some(run)) {
            return BrokerReply::Conflict;
        }
        self.head = last.cursor;
        self.head_run = Some(last.run);
        let by_seq = |entry: &Arc<Entry>| (entry.cursor.seq, Arc::clone(entry));
        self.entries.extend(entries.iter().map(by_seq));
        BrokerReply::Appended
    }

    /// Rule 3: parts of a snapshot change nothing. Those of another snapshot take the place of the ones before.
    fn put_part(&mut self, cursor: Cursor, part: usize, bytes: Bytes) -> BrokerReply {
        if self.parts.0 != cursor {
            self.parts = (cursor, Vec::new());
        }
        let parts = &mut self.parts.1;
        match part.checked_sub(parts.len()) {
            None => parts[part] = bytes,
            Some(0) => parts.push(bytes),
            Some(_) => return BrokerReply::Conflict,
        }
        BrokerReply::PartStored
    }

    /// Rule 4: a snapshot counts in one step, only forward, only for an entry of this log; then entries may go that
    /// it covers, and no others.
    fn put_snapshot(&mut self, name: SnapshotName, trim_through: u64) -> BrokerReply {
        let SnapshotName { cursor, parts, .. } = name;
        let old = self.snapshot.as_ref().map_or(0, |old| old.name.cursor.seq);
        let at = self.entries.get(&cursor.seq);
        if cursor.seq <= old || at.is_none_or(|entry| entry.cursor != cursor) {
            return BrokerReply::SnapshotStored;
        }
        if self.parts.0 != cursor || self.parts.1.len() != parts as usize {
            return BrokerReply::Conflict;
        }
        let (_, parts) = std::mem::take(&mut self.parts);
        self.snapshot = Some(Arc::new(StoredSnapshot { name, parts }));
        let covered = trim_through.min(cursor.seq);
        self.entries = self.entries.split_off(&(covered + 1));
        BrokerReply::SnapshotStored
    }
}

fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    UnixTime(u64::try_from(millis).unwrap_or(u64::MAX))
}
