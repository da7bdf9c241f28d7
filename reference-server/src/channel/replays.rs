//! Ranges of the log that were encoded for one reader and serve the next ones: after a restart or a lost
//! network many come back to the same few places.
//!
//! Invariant: what is kept leads on from a cursor of the line that ends at `head`. A cursor's tag is the
//! hash of all that led to it, so the same head means the same entries.

use std::collections::VecDeque;

use tidewire_core::wire::Cursor;

use super::encode::PatchMessage;

/// At most so many ranges are kept, and so many bytes of them. The oldest go first, all of them once the
/// head moves.
const RANGES_MAX: usize = 32;
const BYTES_MAX: usize = 256 * 1024;

/// What was encoded for the present head.
#[derive(Debug, Default)]
pub(super) struct Replays {
    head: Cursor,
    ranges: VecDeque<PatchMessage>,
    bytes: usize,
}

impl Replays {
    /// The patch that leads on from `from` while the log ends at `head`: a known one, or a new one.
    pub(super) fn get_or_encode(
        &mut self,
        head: Cursor,
        from: Cursor,
        encode: impl FnOnce() -> Option<PatchMessage>,
    ) -> Option<PatchMessage> {
        if self.head != head {
            *self = Self {
                head,
                ..Self::default()
            };
        }
        if let Some(known) = self.ranges.iter().find(|range| range.from == from) {
            return Some(known.clone());
        }
        let range = encode()?;
        self.keep(range.clone());
        Some(range)
    }

    fn keep(&mut self, range: PatchMessage) {
        self.bytes += range.message.proto().len();
        self.ranges.push_back(range);
        while (self.ranges.len() > RANGES_MAX || self.bytes > BYTES_MAX)
            && let Some(oldest) = self.ranges.pop_front()
        {
            self.bytes -= oldest.message.proto().len();
        }
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::wire::{Lagged, ServerKind};

    use super::*;

    fn at(seq: u64) -> Cursor {
        Cursor::new(1, seq, seq)
    }

    fn range(from: u64, bytes: usize) -> PatchMessage {
        let channel = "c".repeat(bytes);
        PatchMessage {
            from: at(from),
            to: at(from + 1),
            message: ServerKind::Lagged(Lagged { channel }).into(),
        }
    }

    /// Whether the next reader at `from` is served without encoding anything.
    fn knows(replays: &mut Replays, head: u64, from: u64) -> bool {
        replays.get_or_encode(at(head), at(from), || None).is_some()
    }

    #[test]
    fn the_second_reader_of_a_range_gets_the_bytes_of_the_first() {
        let mut replays = Replays::default();
        let first = replays.get_or_encode(at(9), at(4), || Some(range(4, 10)));
        let second = replays.get_or_encode(at(9), at(4), || unreachable!("it is known"));
        let bytes = |patch: Option<PatchMessage>| patch.unwrap().message.proto().as_ptr();
        assert_eq!(bytes(first), bytes(second));
        assert!(!knows(&mut replays, 9, 5));
    }

    #[test]
    fn a_head_that_moved_forgets_everything() {
        let mut replays = Replays::default();
        replays.get_or_encode(at(9), at(4), || Some(range(4, 10)));
        assert!(!knows(&mut replays, 10, 4));
        assert!(!knows(&mut replays, 9, 4));
    }

    #[test]
    fn ranges_are_bounded_in_number_and_in_bytes_and_the_oldest_go() {
        let mut replays = Replays::default();
        for from in 0..=RANGES_MAX as u64 {
            replays.get_or_encode(at(99), at(from), || Some(range(from, 10)));
        }
        assert!(!knows(&mut replays, 99, 0));
        assert!(knows(&mut replays, 99, 1));
        let large = replays.get_or_encode(at(99), at(50), || Some(range(50, BYTES_MAX)));
        assert!(large.is_some(), "it is served, though it cannot be kept");
        assert!(replays.ranges.is_empty() && replays.bytes == 0);
    }
}
