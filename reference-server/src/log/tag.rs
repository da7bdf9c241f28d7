//! Tags: a running hash that names one log up to one entry.
//!
//! Invariant: two logs that differ in any entry up to a seq have different tags there, and the tag
//! does not depend on how a broker stores entries.

use prost::Message;
use sha2::{Digest, Sha256};
use tidewire_core::wire::{Cursor, Op};

use super::{Entry, EntryBody, RunId};

/// Gives an entry its cursor: the tag follows from the one before and all that the entry says.
pub(crate) fn entry(previous: &Cursor, epoch: u64, ms: u64, run: RunId, body: EntryBody) -> Entry {
    let mut entry = Entry {
        cursor: Cursor::new(epoch, previous.seq + 1, 0),
        ms,
        run,
        body,
    };
    entry.cursor.tag = tag(previous.tag, &entry);
    entry
}

/// The first 53 bits of SHA-256(previous tag ‖ canonical encoding of the entry).
///
/// The encoding: every number as 8 bytes big-endian, every text and list after its length, ops as
/// they travel (field order is fixed, so their bytes are too).
pub(crate) fn tag(previous: u64, entry: &Entry) -> u64 {
    let mut hash = Hash(Sha256::new());
    hash.number(previous);
    hash.number(entry.cursor.epoch);
    hash.number(entry.cursor.seq);
    hash.number(entry.ms);
    hash.number(entry.run.0);
    match &entry.body {
        EntryBody::Opening { ops } => {
            hash.number(1);
            hash.ops(ops);
        }
        EntryBody::Mutation {
            author,
            n,
            low,
            deadline_ms,
            outcome,
        } => {
            hash.number(2);
            hash.0.update(author.0);
            hash.number(*n);
            hash.number(*low);
            hash.number(*deadline_ms);
            match outcome {
                Ok(ops) => {
                    hash.number(0);
                    hash.ops(ops);
                }
                Err(rejection) => {
                    hash.number(u64::from(rejection.code as u32));
                    hash.text(rejection.detail.as_bytes());
                }
            }
        }
        EntryBody::Deletion => hash.number(3),
    }
    let digest = hash.0.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first) >> (64 - 53)
}

struct Hash(Sha256);

impl Hash {
    fn number(&mut self, number: u64) {
        self.0.update(number.to_be_bytes());
    }

    fn text(&mut self, text: &[u8]) {
        self.number(text.len() as u64);
        self.0.update(text);
    }

    fn ops(&mut self, ops: &[Op]) {
        self.number(ops.len() as u64);
        for op in ops {
            self.text(&op.encode_to_vec());
        }
    }
}
