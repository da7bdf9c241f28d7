//! The client's own codec against the one that `prost` derives: two readers of the same bytes.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use prost::Message;
use tidewire_core::wire::{ServerFrames, decode_server, encode_server};

use super::{from_hex, golden};

fn messages() -> Vec<Bytes> {
    let server = golden().into_iter().filter(|line| line.from == "server");
    server.map(|line| from_hex(&line.proto)).collect()
}

/// What `prost` reads; `None` where it refuses, and for a frame of no kind.
fn second_reading(message: Bytes) -> Option<ServerFrames> {
    let frames = ServerFrames::decode(message).ok()?;
    let known = frames.frames.iter().all(|frame| frame.kind.is_some());
    known.then_some(frames)
}

proptest! {
    /// Damaged bytes may hold a oneof twice, of which ours is the last and not the sum, and groups, which
    /// ours refuses: so what `prost` read is written again and must then be read as the same.
    #[test]
    fn damaged_messages_are_read_alike(
        which in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.2),
    ) {
        let mut message = which.get(&messages()).to_vec();
        for (at, byte) in damage {
            let at = at.index(message.len());
            message[at] = byte;
        }
        if cut {
            message.truncate(end.index(message.len()));
        }
        let message = Bytes::from(message);
        let ours = decode_server(message.clone(), usize::MAX);
        let second = second_reading(message);
        prop_assert!(ours.is_err() || second.is_some(), "only `prost` refuses it");
        if let Some(second) = second {
            let again = Bytes::from(second.encode_to_vec());
            let kinds: Vec<_> = second.frames.into_iter().filter_map(|frame| frame.kind).collect();
            prop_assert_eq!(decode_server(again, usize::MAX), Ok(kinds));
        }
        if let Ok(ours) = ours {
            let mut again = BytesMut::new();
            for kind in ours.clone() {
                encode_server(kind, &mut again);
            }
            prop_assert_eq!(decode_server(again.freeze(), usize::MAX), Ok(ours));
        }
    }
}
