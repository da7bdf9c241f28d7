//! Tags: a running hash that names one log up to one entry.
//!
//! Invariant: two logs that differ in any entry up to a seq have different tags there, and the tag
//! does not depend on how a broker stores entries. A trace alone is not covered.

use sha2::{Digest, Sha256};
use tidewire_core::document::Rejection;
use tidewire_core::wire::{Cursor, Ops};

use super::{Entry, EntryBody, LogKind, RunId};

/// Gives an entry its cursor: the tag follows from the one before and all that the entry says.
#[must_use]
pub fn entry(previous: &Cursor, epoch: u64, ms: u64, run: RunId, body: EntryBody) -> Entry {
    let mut entry = Entry {
        cursor: Cursor::new(epoch, previous.seq + 1, 0),
        previous_tag: previous.tag,
        ms,
        run,
        body,
    };
    entry.cursor.tag = tag(previous.tag, &entry);
    entry
}

/// The first 53 bits of SHA-256(previous tag, epoch, seq, ms, run ‖ kind ‖ fixed fields ‖ check ‖ ops).
///
/// Every number is 8 bytes big-endian; texts, the check and the run of ops come after their length, which
/// is 0 for what an entry does not have. docs/protocol.md names the kinds and their fields.
#[must_use]
pub fn tag(previous: u64, entry: &Entry) -> u64 {
    let mut hash = Hash(Sha256::new());
    let run = entry.run.0;
    hash.numbers(&[
        previous,
        entry.cursor.epoch,
        entry.cursor.seq,
        entry.ms,
        run,
    ]);
    let mut checked: &[u8] = &[];
    match &entry.body {
        EntryBody::Opening { kind, .. } => {
            let kind = match kind {
                LogKind::State => 1,
                LogKind::Stream => 2,
            };
            hash.numbers(&[1, kind]);
        }
        EntryBody::Mutation {
            author,
            n,
            low,
            deadline_ms,
            schema,
            check,
            trace: _,
            outcome,
        } => {
            hash.numbers(&[2]);
            hash.0.update(author.0);
            hash.numbers(&[*n, *low, *deadline_ms, u64::from(*schema)]);
            hash.outcome(outcome);
            checked = check.as_ref().map_or(checked, |check| check);
        }
        EntryBody::Deletion => hash.numbers(&[3]),
        EntryBody::Keyed {
            key,
            body_hash,
            expires_ms,
            outcome,
        } => {
            hash.numbers(&[4]);
            hash.text(key);
            hash.0.update(body_hash);
            hash.numbers(&[*expires_ms]);
            hash.outcome(outcome);
        }
        EntryBody::Expiry { .. } => hash.numbers(&[5]),
        EntryBody::Close => hash.numbers(&[6]),
    }
    hash.text(checked);
    hash.text(entry.body.ops().map_or(&[], |ops| ops.bytes()));
    let digest = hash.0.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first) >> (64 - 53)
}

struct Hash(Sha256);

impl Hash {
    fn numbers(&mut self, numbers: &[u64]) {
        for number in numbers {
            self.0.update(number.to_be_bytes());
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.numbers(&[text.len() as u64]);
        self.0.update(text);
    }

    /// A code, 0 = committed, and the reason of a rejection.
    fn outcome(&mut self, outcome: &Result<Ops, Rejection>) {
        match outcome {
            Ok(_) => self.numbers(&[0]),
            Err(rejection) => {
                self.numbers(&[u64::from(rejection.code as u32)]);
                self.text(rejection.detail.as_bytes());
            }
        }
    }
}
