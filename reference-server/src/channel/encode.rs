//! Frames of a channel as ready-made messages.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use tidewire_core::document::squash::squash;
use tidewire_core::planted;
use tidewire_core::wire::{
    Ack, Clear, Cursor, ErrorCode, ErrorFrame, Hold, Known, Lagged, Mid, Need, Op, OpKind, Ops,
    Patch, Peer, Presence, Resume, ServerKind, StaleEpoch, cut_detail, patch_message,
};

use super::message::Message;
use super::ring::{ENTRY_BYTES_MAX, Ring};
use crate::log::{Entry, EntryBody};

/// Snapshots and replays travel in messages of about this size, so that live frames get between them.
pub(super) const PART_BYTES: usize = 64 * 1024;

/// A squashed patch above this does not fit a frame safely.
const SQUASHED_BYTES_MAX: usize = 512 * 1024;

/// A patch and the cursors that it leads from and to.
#[derive(Clone, Debug)]
pub(super) struct PatchMessage {
    pub(super) from: Cursor,
    pub(super) to: Cursor,
    pub(super) message: Message,
}

/// The patches that lead on from `from` through entries that follow it, each of one epoch and about
/// `bytes_max` bytes. `None` if an entry is too large for a patch.
pub(super) fn patches(
    channel: &str,
    from: Cursor,
    entries: &[Arc<Entry>],
    bytes_max: usize,
) -> Option<Vec<PatchMessage>> {
    let mut patches = Vec::new();
    let mut patch = PatchBuilder::new(from);
    for entry in entries {
        let bytes = entry.bytes();
        if bytes > ENTRY_BYTES_MAX {
            return None;
        }
        if !patch.takes(entry, bytes, bytes_max) {
            let next = PatchBuilder::new(patch.to);
            patches.extend(std::mem::replace(&mut patch, next).finish(channel));
        }
        patch.push(entry, bytes);
    }
    patches.extend(patch.finish(channel));
    Some(patches)
}

/// The next patch for a reader at `from`: entries of one epoch, about a part's size of them.
/// `None` when the ring does not hold `from` or there is nothing after it.
pub(super) fn replay(channel: &str, ring: &Ring, from: Cursor) -> Option<PatchMessage> {
    replay_through(channel, ring, from, u64::MAX)
}

/// Like [`replay`], with no entry after `through`.
pub(super) fn replay_through(
    channel: &str,
    ring: &Ring,
    from: Cursor,
    through: u64,
) -> Option<PatchMessage> {
    let mut patch = PatchBuilder::new(from);
    for (entry, bytes) in ring.after(&from)? {
        if entry.cursor.seq > through || !patch.takes(entry, bytes, PART_BYTES) {
            break;
        }
        patch.push(entry, bytes);
    }
    patch.finish(channel)
}

/// Like [`replay`], with everything of the epoch squashed into one patch; `None` also when that is too large.
pub(super) fn replay_squashed(channel: &str, ring: &Ring, from: Cursor) -> Option<PatchMessage> {
    let mut patch = PatchBuilder::new(from);
    for (entry, bytes) in ring.after(&from)? {
        if !patch.takes(entry, bytes, usize::MAX) {
            break;
        }
        patch.push(entry, bytes);
    }
    let ops = patch.runs.iter().flat_map(|run| run.to_vec()).collect();
    let squashed = Ops::new(&squash(ops));
    patch.runs = vec![&squashed];
    patch
        .finish(channel)
        .filter(|patch| patch.message.proto().len() <= SQUASHED_BYTES_MAX)
}

struct PatchBuilder<'a> {
    from: Cursor,
    to: Cursor,
    bytes: usize,
    ms: u64,
    runs: Vec<&'a Ops>,
    mids: Vec<Mid>,
}

/// What a deletion does to records.
static CLEAR: LazyLock<Ops> = LazyLock::new(|| {
    Ops::new(&[Op {
        kind: Some(OpKind::Clear(Clear {})),
    }])
});

impl<'a> PatchBuilder<'a> {
    const fn new(from: Cursor) -> Self {
        Self {
            from,
            to: from,
            bytes: 0,
            ms: 0,
            runs: Vec::new(),
            mids: Vec::new(),
        }
    }

    /// Entries of different epochs never share a patch.
    fn takes(&self, entry: &Entry, bytes: usize, bytes_max: usize) -> bool {
        self.to == self.from
            || (entry.cursor.epoch == self.to.epoch && self.bytes + bytes <= bytes_max)
    }

    fn push(&mut self, entry: &'a Entry, bytes: usize) {
        self.to = entry.cursor;
        self.bytes += bytes;
        self.ms = entry.ms;
        self.runs.extend(match entry.body {
            EntryBody::Deletion => Some(&*CLEAR),
            _ => entry.body.ops(),
        });
        self.mids.extend(mid(&entry.body));
    }

    fn finish(self, channel: &str) -> Option<PatchMessage> {
        if self.to == self.from {
            return None;
        }
        let header = Patch {
            channel: channel.into(),
            epoch: self.to.epoch,
            from: self.from.seq,
            from_tag: self.from.tag,
            to: self.to.seq,
            to_tag: self.to.tag,
            ms: self.ms,
            ..Patch::default()
        };
        let message = patch_message(&header, self.runs.into_iter(), &self.mids);
        Some(PatchMessage {
            from: self.from,
            to: self.to,
            message: Message::from_proto(message),
        })
    }
}

fn mid(body: &EntryBody) -> Option<Mid> {
    let EntryBody::Mutation {
        author,
        n,
        check,
        trace,
        outcome,
        ..
    } = body
    else {
        return None;
    };
    let (code, detail) = match outcome {
        Ok(_) => (0, String::new()),
        Err(_) if planted!(MidsOfRejectionsDropped) => return None,
        Err(rejection) => (rejection.code as u32, rejection.detail.clone()),
    };
    let bytes = |field: Option<&[u8]>| field.map(Bytes::copy_from_slice).unwrap_or_default();
    Some(Mid {
        author: Bytes::copy_from_slice(&author.0),
        n: *n,
        code,
        detail,
        trace: bytes(trace.as_deref().map(|trace| &trace[..])),
        check: bytes(check.as_ref().map(|check| &check[..])),
    })
}

pub(super) fn resume(
    channel: &str,
    from: Cursor,
    head: Cursor,
    known: Known,
    proof: Bytes,
) -> ServerKind {
    ServerKind::Resume(Resume {
        channel: channel.into(),
        from: Some(from),
        head: Some(head),
        known: Some(known),
        proof,
    })
}

pub(super) fn ack(channel: &str, through: u64, seq: u64) -> ServerKind {
    ServerKind::Ack(Ack {
        channel: channel.into(),
        through,
        seq,
    })
}

pub(super) fn need(channel: &str, n: u64, cursor: Cursor) -> ServerKind {
    ServerKind::Need(Need {
        channel: channel.into(),
        n,
        cursor: Some(cursor),
    })
}

pub(super) fn hold(channel: &str, code: ErrorCode, retry_ms: u32) -> ServerKind {
    ServerKind::Hold(Hold {
        channel: channel.into(),
        code: code as u32,
        retry_ms,
    })
}

pub(super) fn stale_epoch(channel: &str, epoch: u64) -> ServerKind {
    ServerKind::StaleEpoch(StaleEpoch {
        channel: channel.into(),
        epoch,
    })
}

pub(super) fn lagged(channel: &str) -> ServerKind {
    ServerKind::Lagged(Lagged {
        channel: channel.into(),
    })
}

pub(super) fn presence(channel: &str, full: bool, peers: Vec<Peer>) -> ServerKind {
    ServerKind::Presence(Presence {
        channel: channel.into(),
        full,
        peers,
    })
}

pub(super) fn error(
    channel: &str,
    code: ErrorCode,
    fatal: bool,
    n: Option<u64>,
    detail: impl Into<String>,
) -> ServerKind {
    ServerKind::Error(ErrorFrame {
        code: code as u32,
        fatal,
        channel: Some(channel.into()),
        id: None,
        n,
        retry_ms: None,
        detail: cut_detail(detail.into()),
    })
}

/// A subscribe that gets no answer now.
pub(super) fn put_off(
    channel: &str,
    code: ErrorCode,
    retry_ms: Option<u32>,
    detail: &str,
) -> ServerKind {
    ServerKind::Error(ErrorFrame {
        code: code as u32,
        channel: Some(channel.into()),
        retry_ms,
        detail: cut_detail(detail.into()),
        ..ErrorFrame::default()
    })
}
