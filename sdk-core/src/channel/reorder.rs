//! Patches that came before their turn.
//!
//! Invariant: bounded in frames and bytes, whatever a server sends; a patch stands in it once.

use crate::wire::{Cursor, PatchInPlace};

/// Policy at either limit: the newcomer is refused, and the caller asks for the range again.
const FRAMES_MAX: usize = 256;
const BYTES_MAX: usize = 1024 * 1024;

/// Holds patches until the base has come to where they start.
#[derive(Debug, Default)]
pub(super) struct ReorderBuffer {
    /// Sorted by [`Kept::key`].
    kept: Vec<Kept>,
    bytes: usize,
}

/// A patch, taken out of the message that it came in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kept {
    from: u64,
    to: u64,
    to_tag: u64,
    epoch: u64,
    body: Box<[u8]>,
}

impl Kept {
    /// What was kept.
    pub(super) fn patch(&self) -> PatchInPlace<'_> {
        PatchInPlace::again(&self.body)
    }

    /// What a patch is told apart by; sorted by where it starts.
    const fn key(&self) -> (u64, u64, u64) {
        (self.from, self.to, self.to_tag)
    }
}

/// There is no room for another patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReorderFull;

impl ReorderBuffer {
    /// Keeps a copy of a patch. A second one changes nothing.
    pub(super) fn insert(&mut self, patch: &PatchInPlace<'_>) -> Result<(), ReorderFull> {
        let key = (patch.from, patch.to, patch.to_tag);
        let Err(place) = self.kept.binary_search_by_key(&key, Kept::key) else {
            return Ok(());
        };
        // As many as on the wire, so that one of any size fits.
        let body = patch.body();
        if self.kept.len() >= FRAMES_MAX || self.bytes + body.len() > BYTES_MAX {
            return Err(ReorderFull);
        }
        self.bytes += body.len();
        let kept = Kept {
            from: patch.from,
            to: patch.to,
            to_tag: patch.to_tag,
            epoch: patch.epoch,
            body: body.into(),
        };
        self.kept.insert(place, kept);
        Ok(())
    }

    /// Takes the first patch whose turn has come, and drops those that brought nothing new.
    pub(super) fn pop(&mut self, applied: Cursor) -> Option<Kept> {
        while self.first_from()? <= applied.seq {
            let kept = self.kept.remove(0);
            self.bytes -= kept.body.len();
            if kept.to > applied.seq {
                return Some(kept);
            }
        }
        None
    }

    /// Where the first patch starts: the end of the hole before it.
    pub(super) fn first_from(&self) -> Option<u64> {
        self.kept.first().map(|kept| kept.from)
    }

    /// Drops patches of epochs below this one. An answer that announces an epoch replays what its log
    /// holds of older ones; the rest of them may be of a log that is lost.
    pub(super) fn forget_below(&mut self, epoch: u64) {
        self.kept.retain(|kept| kept.epoch >= epoch);
        self.bytes = self.kept.iter().map(|kept| kept.body.len()).sum();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::wire::Patch;

    fn named(channel: &str, from: u64, to: u64) -> Vec<u8> {
        let patch = Patch {
            channel: channel.into(),
            epoch: 5,
            from,
            from_tag: from,
            to,
            to_tag: to,
            ..Patch::default()
        };
        patch.encode_to_vec()
    }

    fn patch(from: u64, to: u64) -> Vec<u8> {
        named("a:b", from, to)
    }

    fn insert(buffer: &mut ReorderBuffer, patch: &[u8]) -> Result<(), ReorderFull> {
        buffer.insert(&PatchInPlace::again(patch))
    }

    fn pop(buffer: &mut ReorderBuffer, applied: Cursor) -> Option<Vec<u8>> {
        let kept = buffer.pop(applied)?;
        assert_eq!(kept.patch().from, kept.from);
        Some(kept.body.into())
    }

    fn at(seq: u64) -> Cursor {
        Cursor::new(5, seq, seq)
    }

    #[test]
    fn patches_come_out_in_order_once_their_turn_has_come() {
        let mut buffer = ReorderBuffer::default();
        for from in [4, 2, 3, 2] {
            insert(&mut buffer, &patch(from, from + 1)).unwrap();
        }
        assert_eq!(buffer.first_from(), Some(2));
        assert_eq!(pop(&mut buffer, at(1)), None);
        for seq in 2..=4 {
            assert_eq!(pop(&mut buffer, at(seq)), Some(patch(seq, seq + 1)));
        }
        assert_eq!((buffer.first_from(), buffer.bytes), (None, 0));
    }

    #[test]
    fn what_the_base_has_passed_is_dropped_and_what_reaches_beyond_it_is_not() {
        let mut buffer = ReorderBuffer::default();
        insert(&mut buffer, &patch(2, 3)).unwrap();
        insert(&mut buffer, &patch(2, 9)).unwrap();
        assert_eq!(pop(&mut buffer, at(5)), Some(patch(2, 9)));
        assert_eq!(pop(&mut buffer, at(9)), None);
        assert_eq!(buffer.bytes, 0);
    }

    #[test]
    fn it_is_bounded_in_frames_and_in_bytes() {
        let mut buffer = ReorderBuffer::default();
        for from in 0..FRAMES_MAX as u64 {
            insert(&mut buffer, &patch(from, from + 1)).unwrap();
        }
        assert_eq!(insert(&mut buffer, &patch(1_000, 1_001)), Err(ReorderFull));
        assert_eq!(insert(&mut buffer, &patch(1, 2)), Ok(()), "a second copy");
        let mut buffer = ReorderBuffer::default();
        let large = |from| named(&"x".repeat(BYTES_MAX / 2 + 1), from, 9);
        insert(&mut buffer, &large(1)).unwrap();
        assert_eq!(insert(&mut buffer, &large(2)), Err(ReorderFull));
        buffer.clear();
        assert_eq!(insert(&mut buffer, &large(1)), Ok(()));
    }

    #[test]
    fn older_epochs_are_forgotten_on_request() {
        let mut buffer = ReorderBuffer::default();
        insert(&mut buffer, &patch(2, 3)).unwrap();
        buffer.forget_below(5);
        assert_eq!(buffer.first_from(), Some(2));
        buffer.forget_below(6);
        assert_eq!((buffer.first_from(), buffer.bytes), (None, 0));
    }

    proptest! {
        #[test]
        fn any_order_with_duplicates_comes_out_contiguous(
            order in Just((1..60u64).collect::<Vec<_>>()).prop_shuffle(),
            again in proptest::collection::vec(1..60u64, 0..40),
        ) {
            let mut buffer = ReorderBuffer::default();
            let mut seq = 1;
            for from in order.into_iter().chain(again) {
                insert(&mut buffer, &patch(from, from + 1)).unwrap();
                while let Some(next) = pop(&mut buffer, at(seq)) {
                    let next = PatchInPlace::again(&next);
                    prop_assert_eq!(next.from, seq);
                    seq = next.to;
                }
            }
            prop_assert_eq!(seq, 60);
            prop_assert_eq!(buffer.bytes, 0);
        }
    }
}
