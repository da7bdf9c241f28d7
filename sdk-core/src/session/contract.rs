//! What every frame from a server must fulfil, whatever the state: checked once, before anything of it
//! is used (docs/protocol.md §11). So arithmetic on its numbers cannot overflow, every op of a patch is
//! known before the first is applied, and whoever parses a value finds JSON.
//!
//! Cost: one pass over the bytes of values, less than the parsing that follows when they are shown.

use crate::document::value::is_json;
use crate::wire::{
    Cursor, ErrorCode, Field, Known, Mid, NUMBER_MAX, Op, OpKind, Peer, Record, ServerKind,
};

/// Errors: the code that ends the link.
pub(crate) fn check(frame: &ServerKind) -> Result<(), ErrorCode> {
    let kept = match frame {
        ServerKind::Resume(resume) => {
            cursor(resume.from) && cursor(resume.head) && known(resume.known.as_ref())
        }
        ServerKind::SnapshotBegin(begin) => cursor(begin.cursor) && known(begin.known.as_ref()),
        ServerKind::SnapshotPart(part) => part.records.iter().all(record),
        ServerKind::SnapshotEnd(end) => number(end.records) && cursor(end.cursor),
        ServerKind::Patch(patch) => {
            if patch.ops.iter().any(|op| op.kind.is_none()) {
                return Err(ErrorCode::UnknownFrame);
            }
            [
                patch.epoch,
                patch.from,
                patch.from_tag,
                patch.to,
                patch.to_tag,
            ]
            .into_iter()
            .all(number)
                && patch.ops.iter().all(op)
                && patch.mids.iter().all(mid)
        }
        ServerKind::Ack(ack) => number(ack.through) && number(ack.seq),
        ServerKind::Need(need) => number(need.n),
        ServerKind::Presence(presence) => presence.peers.iter().all(peer),
        ServerKind::Heartbeat(beat) => beat.heads.iter().all(|head| cursor(head.cursor)),
        ServerKind::Error(error) => error.n.is_none_or(number),
        ServerKind::Pong(_)
        | ServerKind::Welcome(_)
        | ServerKind::Hold(_)
        | ServerKind::StaleEpoch(_)
        | ServerKind::Lagged(_)
        | ServerKind::Reply(_)
        | ServerKind::Message(_)
        | ServerKind::Goaway(_)
        | ServerKind::Refreshed(_) => true,
    };
    kept.then_some(()).ok_or(ErrorCode::UnexpectedFrame)
}

const fn number(number: u64) -> bool {
    number <= NUMBER_MAX
}

fn cursor(cursor: Option<Cursor>) -> bool {
    cursor.is_none_or(|cursor| {
        [cursor.epoch, cursor.seq, cursor.tag]
            .into_iter()
            .all(number)
    })
}

fn known(known: Option<&Known>) -> bool {
    known.is_none_or(|known| number(known.last) && known.rejected.iter().all(|r| number(r.n)))
}

fn mid(mid: &Mid) -> bool {
    number(mid.n)
}

fn op(op: &Op) -> bool {
    match &op.kind {
        Some(OpKind::Put(put)) => record(put),
        Some(OpKind::Merge(merge)) => merge.fields.iter().all(field),
        Some(OpKind::Del(_) | OpKind::Clear(_)) | None => true,
    }
}

fn record(record: &Record) -> bool {
    record.fields.iter().all(field)
}

fn field(field: &Field) -> bool {
    is_json(&field.value)
}

fn peer(peer: &Peer) -> bool {
    number(peer.peer) && peer.data.as_ref().is_none_or(|data| is_json(data))
}
