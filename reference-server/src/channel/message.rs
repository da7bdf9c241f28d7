//! One encoded message, as every outlet gets it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tidewire_core::wire::{ServerKind, encode_server};

/// One or more frames, encoded once and shared by everyone who gets them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Message {
    shared: Arc<Encoded>,
}

#[derive(Debug)]
struct Encoded {
    proto: Bytes,
}

impl Message {
    /// Encodes frames as one message.
    pub fn new(frames: impl IntoIterator<Item = ServerKind>) -> Self {
        let mut proto = BytesMut::new();
        for frame in frames {
            encode_server(frame, &mut proto);
        }
        let proto = proto.freeze();
        Self {
            shared: Arc::new(Encoded { proto }),
        }
    }

    /// The message as Protobuf.
    #[must_use]
    pub fn proto(&self) -> &Bytes {
        &self.shared.proto
    }
}

impl From<ServerKind> for Message {
    fn from(frame: ServerKind) -> Self {
        Self::new([frame])
    }
}
