//! Answers to `fetch`: a range of the log for a subscriber who found a hole in its stream.
//!
//! Invariant: a fetch is served from memory alone. Each ends in patches, or in `lagged` when memory does
//! not reach back so far, or in nothing when it asks for nothing below the head; its bytes are bounded,
//! and a subscriber has one at a time: a later one replaces it.

use super::input::PeerId;
use super::seat::{Fetching, SeatLost};
use super::{Channel, source};

/// At most about this many bytes are handed over for one fetch. Whoever needs more asks again.
const BYTES_MAX: usize = 1024 * 1024;

impl Channel {
    pub(super) fn handle_fetch(&mut self, conn: PeerId, epoch: u64, after: u64, through: u64) {
        // Without a seat, or before the first answer, there is no stream that could have a hole.
        let (Some(fold), Some(seat)) = (&self.fold, self.seats.get_mut(&conn)) else {
            return;
        };
        // Nothing is missing below the head. Whoever has heard of more than this node gets it with its stream.
        if epoch == fold.head.epoch && after >= fold.head.seq {
            return;
        }
        let mut source = source(&self.name, &self.config, fold, &mut self.replays);
        let at = source
            .ring
            .cursor_at(after)
            .filter(|_| epoch == fold.head.epoch);
        let fetching = at.map(|at| Fetching {
            at,
            through,
            bytes_left: BYTES_MAX,
        });
        let served: Result<(), SeatLost> = seat.fetch(fetching, &mut source);
        if let Err(lost) = served {
            self.close(conn, lost);
        }
    }
}
