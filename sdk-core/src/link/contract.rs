//! What every frame from a server must fulfil, whatever the state: checked once, before anything of it
//! is used (docs/protocol.md §11). So arithmetic on its numbers cannot overflow, every op of a patch is
//! known before the first is applied, and whoever parses a value finds JSON.
//!
//! Cost: one pass over the bytes of values, less than the parsing that follows when they are shown.

use crate::document::value::is_json;
use crate::wire::{
    Cursor, ErrorCode, Known, NUMBER_MAX, PartInPlace, PatchInPlace, Peer, ServerKind,
};

/// Errors: the code that ends the link.
pub(crate) fn check(frame: &ServerKind) -> Result<(), ErrorCode> {
    let kept = match frame {
        ServerKind::Resume(resume) => {
            cursor(resume.from) && cursor(resume.head) && known(resume.known.as_ref())
        }
        ServerKind::SnapshotBegin(begin) => {
            cursor(begin.cursor) && cursor(begin.head) && known(begin.known.as_ref())
        }
        ServerKind::SnapshotEnd(end) => number(end.records) && cursor(end.cursor),
        ServerKind::Ack(ack) => number(ack.through) && number(ack.seq),
        ServerKind::Need(need) => number(need.n),
        ServerKind::Presence(presence) => presence.peers.iter().all(peer),
        ServerKind::Heartbeat(beat) => beat.heads.iter().all(|head| cursor(head.cursor)),
        ServerKind::Error(error) => error.n.is_none_or(number),
        ServerKind::Patch(_)
        | ServerKind::SnapshotPart(_)
        | ServerKind::Pong(_)
        | ServerKind::Welcome(_)
        | ServerKind::Hold(_)
        | ServerKind::StaleEpoch(_)
        | ServerKind::Lagged(_)
        | ServerKind::Reply(_)
        | ServerKind::Message(_)
        // Nobody asks for one yet.
        | ServerKind::Page(_)
        | ServerKind::Goaway(_)
        | ServerKind::Refreshed(_) => true,
    };
    kept.then_some(()).ok_or(ErrorCode::UnexpectedFrame)
}

/// The same for a patch: who read it has looked at its values.
pub(crate) fn check_patch(patch: &PatchInPlace<'_>) -> Result<(), ErrorCode> {
    if patch.has_unknown_op {
        return Err(ErrorCode::UnknownFrame);
    }
    let numbers = [
        patch.epoch,
        patch.from,
        patch.from_tag,
        patch.to,
        patch.to_tag,
        patch.mid_max,
    ];
    let kept = numbers.into_iter().all(number) && !patch.has_unsound_value;
    kept.then_some(()).ok_or(ErrorCode::UnexpectedFrame)
}

/// The same for a part of a snapshot.
pub(crate) const fn check_part(part: &PartInPlace<'_>) -> Result<(), ErrorCode> {
    match part.has_unsound_value {
        false => Ok(()),
        true => Err(ErrorCode::UnexpectedFrame),
    }
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
    known.is_none_or(|known| {
        number(known.last) && number(known.low) && known.rejected.iter().all(|r| number(r.n))
    })
}

fn peer(peer: &Peer) -> bool {
    number(peer.peer) && peer.data.as_ref().is_none_or(|data| is_json(data))
}
