//! One encoded message, as every outlet gets it.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use tidewire_core::wire::{Codec, ServerKind, decode_server};

/// One or more frames, encoded once per codec and shared by everyone who gets them. Cheap to clone.
///
/// Protobuf is there from the start; JSON is made from it when the first JSON connection needs it, so
/// that channels without one never pay for it.
#[derive(Clone, Debug)]
pub struct Message {
    shared: Arc<Encoded>,
}

#[derive(Debug)]
struct Encoded {
    proto: Bytes,
    json: OnceLock<Bytes>,
}

impl Message {
    /// Encodes frames as one message.
    pub fn new(frames: impl IntoIterator<Item = ServerKind>) -> Self {
        Self::from_proto(encode(Codec::Protobuf, frames))
    }

    /// A message that is there as Protobuf.
    pub(super) fn from_proto(proto: Bytes) -> Self {
        Self {
            shared: Arc::new(Encoded {
                proto,
                json: OnceLock::new(),
            }),
        }
    }

    /// The message as Protobuf.
    #[must_use]
    pub fn proto(&self) -> &Bytes {
        &self.shared.proto
    }

    /// The message in a codec.
    #[must_use]
    pub fn encoded(&self, codec: Codec) -> &Bytes {
        match codec {
            Codec::Protobuf => &self.shared.proto,
            Codec::Json => self.shared.json.get_or_init(|| {
                let frames = decode_server(self.shared.proto.clone(), usize::MAX)
                    .expect("it was encoded here");
                encode(Codec::Json, frames)
            }),
        }
    }
}

impl From<ServerKind> for Message {
    fn from(frame: ServerKind) -> Self {
        Self::new([frame])
    }
}

fn encode(codec: Codec, frames: impl IntoIterator<Item = ServerKind>) -> Bytes {
    let mut message = BytesMut::new();
    for frame in frames {
        codec.encode_server(frame, &mut message);
    }
    message.freeze()
}

#[cfg(test)]
mod tests {
    use tidewire_core::wire::Lagged;

    use super::*;

    #[test]
    fn both_codecs_carry_the_same_frames_and_json_is_made_once() {
        let lagged = |name: &str| {
            ServerKind::Lagged(Lagged {
                channel: name.into(),
            })
        };
        let frames = [lagged("a:b"), lagged("a:c")];
        let message = Message::new(frames.clone());
        for codec in [Codec::Protobuf, Codec::Json] {
            let bytes = message.encoded(codec).clone();
            assert_eq!(codec.decode_server(bytes, usize::MAX).unwrap(), frames);
        }
        let again = message.clone();
        assert_eq!(
            message.encoded(Codec::Json).as_ptr(),
            again.encoded(Codec::Json).as_ptr()
        );
    }
}
