//! Tags as docs/protocol.md defines them, written a second time: what names an entry must be computable
//! by whoever has read that page.

use sha2::{Digest, Sha256};
use tidewire_server::broker::{Entry, EntryBody, LogKind};

/// The tag of an entry after one with tag `previous`.
#[must_use]
pub(crate) fn tag(previous: u64, entry: &Entry) -> u64 {
    let run = entry.run.0;
    let mut hashed = Vec::new();
    let mut check = Vec::new();
    let mut ops = Vec::new();
    numbers(
        &mut hashed,
        &[
            previous,
            entry.cursor.epoch,
            entry.cursor.seq,
            entry.ms,
            run,
        ],
    );
    match &entry.body {
        EntryBody::Opening { kind, ops: initial } => {
            let of_stream = *kind == LogKind::Stream;
            numbers(&mut hashed, &[1, if of_stream { 2 } else { 1 }]);
            ops = initial.bytes().to_vec();
        }
        EntryBody::Mutation {
            author,
            n,
            low,
            deadline_ms,
            schema,
            check: of_item,
            trace: _,
            outcome,
        } => {
            numbers(&mut hashed, &[2]);
            hashed.extend(author.0);
            numbers(&mut hashed, &[*n, *low, *deadline_ms, u64::from(*schema)]);
            match outcome {
                Ok(done) => {
                    numbers(&mut hashed, &[0]);
                    ops = done.bytes().to_vec();
                }
                Err(rejection) => {
                    let detail = rejection.detail.as_bytes();
                    let code = u64::from(rejection.code as u32);
                    numbers(&mut hashed, &[code, detail.len() as u64]);
                    hashed.extend(detail);
                }
            }
            check.extend(of_item.iter().flatten());
        }
        EntryBody::Deletion => numbers(&mut hashed, &[3]),
        // Nothing writes them in this version: no tag is right.
        EntryBody::Keyed { .. } | EntryBody::Expiry { .. } | EntryBody::Close => return u64::MAX,
    }
    for text in [check, ops] {
        numbers(&mut hashed, &[text.len() as u64]);
        hashed.extend(text);
    }
    let first = Sha256::digest(&hashed).into_iter().take(8);
    first.fold(0, |tag, byte| tag << 8 | u64::from(byte)) >> 11
}

fn numbers(hashed: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        hashed.extend(number.to_be_bytes());
    }
}
