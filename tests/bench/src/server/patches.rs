//! As much of a server's message as the load looks at: which entries its patches carry. To decode
//! everything would cost the load more than it costs the server.

use anyhow::{Context, bail};
use bytes::Bytes;
use prost::Message;
use tidewire_core::wire::{Codec, ServerKind, decode_server};

/// A patch as it came, ready to be sent again if it came in Protobuf.
#[derive(Clone, Debug)]
pub struct Patch {
    /// The seq before its entries.
    pub after: u64,
    /// The seq of its last entry.
    pub through: u64,
    frame: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Frames {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    frames: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct Frame {
    #[prost(message, optional, tag = "37")]
    patch: Option<Range>,
    #[prost(message, optional, tag = "38")]
    ack: Option<Ignored>,
    /// The list of peers, behind a snapshot.
    #[prost(message, optional, tag = "45")]
    presence: Option<Ignored>,
}

#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(uint64, tag = "3")]
    from: u64,
    #[prost(uint64, tag = "5")]
    to: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Ignored {}

impl Patch {
    /// The patches of a message; acks and presence are passed over.
    ///
    /// Errors: another frame is in it, which a load does not expect.
    pub fn read(codec: Codec, message: Bytes) -> anyhow::Result<Vec<Self>> {
        match codec {
            Codec::Protobuf => Self::read_protobuf(message),
            Codec::Json => Self::read_json(message),
        }
    }

    fn read_json(message: Bytes) -> anyhow::Result<Vec<Self>> {
        let mut patches = Vec::new();
        for frame in Codec::Json.decode_server(message, usize::MAX)? {
            match frame {
                ServerKind::Patch(patch) => patches.push(Self {
                    after: patch.from,
                    through: patch.to,
                    frame: Bytes::new(),
                }),
                ServerKind::Ack(_) | ServerKind::Presence(_) => {}
                said => bail!("the program under test said {said:?}"),
            }
        }
        Ok(patches)
    }

    fn read_protobuf(message: Bytes) -> anyhow::Result<Vec<Self>> {
        let frames = Frames::decode(message.clone())?.frames;
        let mut patches = Vec::with_capacity(frames.len());
        for bytes in frames {
            match Frame::decode(bytes.clone())? {
                Frame {
                    patch: Some(range), ..
                } => patches.push(Self {
                    after: range.from,
                    through: range.to,
                    frame: bytes,
                }),
                Frame { ack: Some(_), .. }
                | Frame {
                    presence: Some(_), ..
                } => {}
                _ => {
                    let said = decode_server(message, usize::MAX).context("no frames")?;
                    bail!("the program under test said {said:?}");
                }
            }
        }
        Ok(patches)
    }

    /// How many entries it carries.
    #[must_use]
    pub fn entries(&self) -> usize {
        (self.through - self.after) as usize
    }

    /// A message with nothing else.
    #[must_use]
    pub fn to_message(&self) -> Bytes {
        let frames = vec![self.frame.clone()];
        Frames { frames }.encode_to_vec().into()
    }
}

#[cfg(test)]
mod tests {
    use tidewire_core::wire::{self, ServerKind, server_message};

    use super::*;

    fn patch(from: u64, to: u64) -> Bytes {
        server_message(ServerKind::Patch(wire::Patch {
            channel: "a:b".into(),
            from,
            to,
            ..wire::Patch::default()
        }))
    }

    #[test]
    fn patches_are_found_among_other_frames_and_can_be_sent_again() {
        let ack = server_message(ServerKind::Ack(wire::Ack::default()));
        let presence = server_message(ServerKind::Presence(wire::Presence::default()));
        let message = [presence, patch(1, 4), ack, patch(4, 5)].concat();
        let patches = Patch::read(Codec::Protobuf, message.into()).unwrap();
        let entries: Vec<usize> = patches.iter().map(Patch::entries).collect();
        assert_eq!(entries, [3, 1]);
        assert_eq!(patches[1].to_message(), patch(4, 5));
    }

    #[test]
    fn a_frame_that_no_load_expects_is_an_error() {
        let lagged = server_message(ServerKind::Lagged(wire::Lagged::default()));
        assert!(Patch::read(Codec::Protobuf, lagged).is_err());
    }
}
