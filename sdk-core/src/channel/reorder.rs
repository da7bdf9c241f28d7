//! Patches that came before their turn.
//!
//! Invariant: bounded in frames and bytes, whatever a server sends; a patch stands in it once.

use std::collections::BTreeMap;

use prost::Message;

use crate::wire::{Cursor, Patch};

/// Policy at either limit: the newcomer is refused, and the caller asks for the range again.
const FRAMES_MAX: usize = 256;
const BYTES_MAX: usize = 1024 * 1024;

/// What a patch is told apart by; sorted by where it starts.
type Key = (u64, u64, u64);

/// Holds patches until the base has come to where they start.
#[derive(Debug, Default)]
pub(super) struct ReorderBuffer {
    patches: BTreeMap<Key, (Patch, usize)>,
    bytes: usize,
}

/// There is no room for another patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReorderFull;

impl ReorderBuffer {
    /// Keeps a patch. A second copy changes nothing.
    pub(super) fn insert(&mut self, patch: &Patch) -> Result<(), ReorderFull> {
        let key = (patch.from, patch.to, patch.to_tag);
        if self.patches.contains_key(&key) {
            return Ok(());
        }
        let bytes = patch.encoded_len();
        if self.patches.len() >= FRAMES_MAX || self.bytes + bytes > BYTES_MAX {
            return Err(ReorderFull);
        }
        // Values share the memory of the whole message they came in: a copy frees the rest of it.
        let Ok(copy) = Patch::decode(bytes::Bytes::from(patch.encode_to_vec())) else {
            return Err(ReorderFull);
        };
        self.bytes += bytes;
        self.patches.insert(key, (copy, bytes));
        Ok(())
    }

    /// Takes the first patch whose turn has come, and drops those that brought nothing new.
    pub(super) fn pop(&mut self, applied: Cursor) -> Option<Patch> {
        while let Some(first) = self.patches.first_entry() {
            if first.key().0 > applied.seq {
                return None;
            }
            let (patch, bytes) = first.remove();
            self.bytes -= bytes;
            if patch.to > applied.seq {
                return Some(patch);
            }
        }
        None
    }

    /// Where the first patch starts: the end of the hole before it.
    pub(super) fn first_from(&self) -> Option<u64> {
        self.patches.first_key_value().map(|(key, _)| key.0)
    }

    /// Drops patches of epochs below this one. An answer that announces an epoch replays what its log
    /// holds of older ones; the rest of them may be of a log that is lost.
    pub(super) fn forget_below(&mut self, epoch: u64) {
        self.patches.retain(|_, (patch, _)| patch.epoch >= epoch);
        self.bytes = self.patches.values().map(|(_, bytes)| bytes).sum();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn patch(from: u64, to: u64) -> Patch {
        Patch {
            epoch: 5,
            from,
            from_tag: from,
            to,
            to_tag: to,
            ..Patch::default()
        }
    }

    fn at(seq: u64) -> Cursor {
        Cursor::new(5, seq, seq)
    }

    #[test]
    fn patches_come_out_in_order_once_their_turn_has_come() {
        let mut buffer = ReorderBuffer::default();
        for from in [4, 2, 3, 2] {
            buffer.insert(&patch(from, from + 1)).unwrap();
        }
        assert_eq!(buffer.first_from(), Some(2));
        assert_eq!(buffer.pop(at(1)), None);
        for seq in 2..=4 {
            assert_eq!(buffer.pop(at(seq)), Some(patch(seq, seq + 1)));
        }
        assert_eq!((buffer.first_from(), buffer.bytes), (None, 0));
    }

    #[test]
    fn what_the_base_has_passed_is_dropped_and_what_reaches_beyond_it_is_not() {
        let mut buffer = ReorderBuffer::default();
        buffer.insert(&patch(2, 3)).unwrap();
        buffer.insert(&patch(2, 9)).unwrap();
        assert_eq!(buffer.pop(at(5)), Some(patch(2, 9)));
        assert_eq!(buffer.pop(at(9)), None);
        assert_eq!(buffer.bytes, 0);
    }

    #[test]
    fn it_is_bounded_in_frames_and_in_bytes() {
        let mut buffer = ReorderBuffer::default();
        for from in 0..FRAMES_MAX as u64 {
            buffer.insert(&patch(from, from + 1)).unwrap();
        }
        assert_eq!(buffer.insert(&patch(1_000, 1_001)), Err(ReorderFull));
        assert_eq!(buffer.insert(&patch(1, 2)), Ok(()), "a second copy");
        let mut buffer = ReorderBuffer::default();
        let large = Patch {
            channel: "x".repeat(BYTES_MAX / 2),
            ..patch(1, 2)
        };
        buffer.insert(&large).unwrap();
        assert_eq!(
            buffer.insert(&Patch {
                from: 2,
                ..large.clone()
            }),
            Err(ReorderFull)
        );
        buffer.clear();
        assert_eq!(buffer.insert(&large), Ok(()));
    }

    #[test]
    fn older_epochs_are_forgotten_on_request() {
        let mut buffer = ReorderBuffer::default();
        buffer.insert(&patch(2, 3)).unwrap();
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
                buffer.insert(&patch(from, from + 1)).unwrap();
                while let Some(next) = buffer.pop(at(seq)) {
                    prop_assert_eq!(next.from, seq);
                    seq = next.to;
                }
            }
            prop_assert_eq!(seq, 60);
            prop_assert_eq!(buffer.bytes, 0);
        }
    }
}
