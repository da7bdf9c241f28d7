//! Patches that came before their turn.
//!
//! Invariant: bounded in frames and bytes, whatever a server sends; a patch stands in it once.

use bytes::Bytes;

use crate::wire::{Cursor, OpKind, Patch};

/// Policy at either limit: the newcomer is refused, and the caller asks for the range again.
const FRAMES_MAX: usize = 256;
const BYTES_MAX: usize = 1024 * 1024;

/// Holds patches until the base has come to where they start.
#[derive(Debug, Default)]
pub(super) struct ReorderBuffer {
    /// Sorted by [`key`].
    kept: Vec<Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    patch: Patch,
    bytes: usize,
}

/// What a patch is told apart by; sorted by where it starts.
const fn key(patch: &Patch) -> (u64, u64, u64) {
    (patch.from, patch.to, patch.to_tag)
}

/// There is no room for another patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReorderFull;

impl ReorderBuffer {
    /// Keeps a patch. A second copy changes nothing.
    pub(super) fn insert(&mut self, mut patch: Patch) -> Result<(), ReorderFull> {
        let Err(place) = (self.kept).binary_search_by_key(&key(&patch), |kept| key(&kept.patch))
        else {
            return Ok(());
        };
        let bytes = detach(&mut patch);
        if self.kept.len() >= FRAMES_MAX || self.bytes + bytes > BYTES_MAX {
            return Err(ReorderFull);
        }
        self.bytes += bytes;
        self.kept.insert(place, Kept { patch, bytes });
        Ok(())
    }

    /// Takes the first patch whose turn has come, and drops those that brought nothing new.
    pub(super) fn pop(&mut self, applied: Cursor) -> Option<Patch> {
        while self.first_from()? <= applied.seq {
            let Kept { patch, bytes } = self.kept.remove(0);
            self.bytes -= bytes;
            if patch.to > applied.seq {
                return Some(patch);
            }
        }
        None
    }

    /// Where the first patch starts: the end of the hole before it.
    pub(super) fn first_from(&self) -> Option<u64> {
        self.kept.first().map(|kept| kept.patch.from)
    }

    /// Drops patches of epochs below this one. An answer that announces an epoch replays what its log
    /// holds of older ones; the rest of them may be of a log that is lost.
    pub(super) fn forget_below(&mut self, epoch: u64) {
        self.kept.retain(|kept| kept.patch.epoch >= epoch);
        self.bytes = self.kept.iter().map(|kept| kept.bytes).sum();
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Values share the memory of the whole message they came in: a copy frees the rest of it.
///
/// Gives back what the patch counts against [`BYTES_MAX`]: never more than its bytes on the wire, so that
/// one of any size fits, and something for every part of it.
fn detach(patch: &mut Patch) -> usize {
    let mut bytes = patch.channel.len();
    for op in &mut patch.ops {
        bytes += 4;
        let (collection, id, fields, unset) = match &mut op.kind {
            Some(OpKind::Put(put)) => (&put.collection, &put.id, &mut *put.fields, &[][..]),
            Some(OpKind::Merge(merge)) => (
                &merge.collection,
                &merge.id,
                &mut *merge.fields,
                &*merge.unset,
            ),
            Some(OpKind::Del(del)) => (&del.collection, &del.id, &mut [][..], &[][..]),
            Some(OpKind::Clear(_)) | None => continue,
        };
        bytes += collection.len() + id.len();
        bytes += unset.iter().map(|name| 2 + name.len()).sum::<usize>();
        for field in fields {
            bytes += 2 + field.name.len() + field.value.len();
            field.value = Bytes::copy_from_slice(&field.value);
        }
    }
    for mid in &mut patch.mids {
        bytes += 2 + mid.author.len() + mid.detail.len();
        mid.author = Bytes::copy_from_slice(&mid.author);
    }
    bytes
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
            buffer.insert(patch(from, from + 1)).unwrap();
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
        buffer.insert(patch(2, 3)).unwrap();
        buffer.insert(patch(2, 9)).unwrap();
        assert_eq!(buffer.pop(at(5)), Some(patch(2, 9)));
        assert_eq!(buffer.pop(at(9)), None);
        assert_eq!(buffer.bytes, 0);
    }

    #[test]
    fn it_is_bounded_in_frames_and_in_bytes() {
        let mut buffer = ReorderBuffer::default();
        for from in 0..FRAMES_MAX as u64 {
            buffer.insert(patch(from, from + 1)).unwrap();
        }
        assert_eq!(buffer.insert(patch(1_000, 1_001)), Err(ReorderFull));
        assert_eq!(buffer.insert(patch(1, 2)), Ok(()), "a second copy");
        let mut buffer = ReorderBuffer::default();
        let large = Patch {
            channel: "x".repeat(BYTES_MAX / 2 + 1),
            ..patch(1, 2)
        };
        buffer.insert(large.clone()).unwrap();
        assert_eq!(
            buffer.insert(Patch {
                from: 2,
                ..large.clone()
            }),
            Err(ReorderFull)
        );
        buffer.clear();
        assert_eq!(buffer.insert(large), Ok(()));
    }

    #[test]
    fn older_epochs_are_forgotten_on_request() {
        let mut buffer = ReorderBuffer::default();
        buffer.insert(patch(2, 3)).unwrap();
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
                buffer.insert(patch(from, from + 1)).unwrap();
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
