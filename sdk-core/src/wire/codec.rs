//! Bytes ↔ frames. Size limits come first, then decoding, then the rules that types cannot hold.

use bytes::{Bytes, BytesMut};
use prost::Message;

use super::SUBPROTOCOL_PROTO;
use super::client::{ClientFrame, ClientFrames, ClientKind};
use super::decode_error::DecodeError;
use super::in_place::{self, PATCH, Received, SNAPSHOT_PART};
#[cfg(feature = "json")]
use super::json;
use super::reading::{Malformed, Read, Reader, Value};
use super::server::{ServerFrame, ServerFrames, ServerKind};
use super::writing::Writer;

fn check_size(message: &Bytes, bytes_max: usize) -> Result<(), DecodeError> {
    if message.len() > bytes_max {
        return Err(DecodeError::TooLarge {
            bytes: message.len(),
            bytes_max,
        });
    }
    Ok(())
}

/// How frames become messages. The WebSocket subprotocol chooses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// Binary messages.
    #[default]
    Protobuf,
    /// Text messages, for people and for languages without Protobuf.
    #[cfg(feature = "json")]
    Json,
}

impl Codec {
    /// Every codec of this build, the best first.
    pub const ALL: &'static [Self] = &[
        Self::Protobuf,
        #[cfg(feature = "json")]
        Self::Json,
    ];

    /// The WebSocket subprotocol that speaks it.
    #[must_use]
    pub const fn subprotocol(self) -> &'static str {
        match self {
            Self::Protobuf => SUBPROTOCOL_PROTO,
            #[cfg(feature = "json")]
            Self::Json => super::SUBPROTOCOL_JSON,
        }
    }

    /// The media type of its messages over HTTP.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/vnd.tidewire.v1+proto",
            #[cfg(feature = "json")]
            Self::Json => "application/vnd.tidewire.v1+json",
        }
    }

    /// Whether its messages are text; otherwise they are binary.
    #[must_use]
    pub const fn is_text(self) -> bool {
        match self {
            Self::Protobuf => false,
            #[cfg(feature = "json")]
            Self::Json => true,
        }
    }

    /// Decodes one message from a client; see [`decode_client`].
    pub fn decode_client(
        self,
        message: Bytes,
        bytes_max: usize,
    ) -> Result<Vec<ClientKind>, DecodeError> {
        match self {
            Self::Protobuf => decode_client(message, bytes_max),
            #[cfg(feature = "json")]
            Self::Json => check_size(&message, bytes_max).and_then(|()| json::decode(&message)),
        }
    }

    /// Decodes one message from a server; see [`decode_server`].
    pub fn decode_server(
        self,
        message: Bytes,
        bytes_max: usize,
    ) -> Result<Vec<ServerKind>, DecodeError> {
        match self {
            Self::Protobuf => decode_server(message, bytes_max),
            #[cfg(feature = "json")]
            Self::Json => check_size(&message, bytes_max).and_then(|()| json::decode(&message)),
        }
    }

    /// A server's message in Protobuf, whatever it came in: the client's core reads only that, in place.
    pub(crate) fn into_protobuf(
        self,
        message: Bytes,
        bytes_max: usize,
    ) -> Result<Bytes, DecodeError> {
        check_size(&message, bytes_max)?;
        match self {
            Self::Protobuf => Ok(message),
            #[cfg(feature = "json")]
            Self::Json => {
                let mut again = BytesMut::new();
                for frame in json::decode(&message)? {
                    encode_server(frame, &mut again);
                }
                Ok(again.freeze())
            }
        }
    }

    /// Appends a client's frame to a message.
    pub fn encode_client(self, kind: ClientKind, message: &mut BytesMut) {
        match self {
            Self::Protobuf => encode_client(kind, message),
            #[cfg(feature = "json")]
            Self::Json => json::encode(&kind, message),
        }
    }

    /// Appends a server's frame to a message.
    pub fn encode_server(self, kind: ServerKind, message: &mut BytesMut) {
        match self {
            Self::Protobuf => encode_server(kind, message),
            #[cfg(feature = "json")]
            Self::Json => json::encode(&kind, message),
        }
    }

    /// Appends the frames of an encoded message to another. The result is never longer than both.
    pub fn append(self, next: &[u8], message: &mut BytesMut) {
        match self {
            Self::Protobuf => message.extend_from_slice(next),
            #[cfg(feature = "json")]
            Self::Json => json::append(next, message),
        }
    }
}

/// Decodes one message from a client. An empty message is no frames.
///
/// Values keep pointing into `message`; whoever stores one for long copies it.
pub fn decode_client(message: Bytes, bytes_max: usize) -> Result<Vec<ClientKind>, DecodeError> {
    check_size(&message, bytes_max)?;
    let frames =
        ClientFrames::decode(message).map_err(|e| DecodeError::Malformed(e.to_string()))?;
    frames
        .frames
        .into_iter()
        .map(|frame| frame.kind.ok_or(DecodeError::UnknownFrame))
        .collect()
}

/// Decodes one message from a server. An empty message is no frames.
pub fn decode_server(message: Bytes, bytes_max: usize) -> Result<Vec<ServerKind>, DecodeError> {
    check_size(&message, bytes_max)?;
    let mut frames = Frames(Vec::new());
    Reader::new(&message).read_into(&mut frames)?;
    let kinds = frames.0.into_iter().map(|AnyFrame(frame)| frame.kind);
    kinds
        .collect::<Option<_>>()
        .ok_or(DecodeError::UnknownFrame)
}

/// The same, with patches and parts of snapshots that stay where they are.
pub(crate) fn read_in_place(message: &Bytes) -> Result<Vec<Received<'_>>, DecodeError> {
    in_place::read_message(message)?.ok_or(DecodeError::UnknownFrame)
}

struct Frames(Vec<AnyFrame>);

/// With patches and parts of snapshots that own what they say.
#[derive(Default)]
struct AnyFrame(ServerFrame);

impl Read for Frames {
    fn read(&mut self, number: u32, value: Value<'_>) -> Result<(), Malformed> {
        match number {
            1 => value.messages(&mut self.0),
            _ => Ok(()),
        }
    }
}

impl Read for AnyFrame {
    fn read(&mut self, number: u32, value: Value<'_>) -> Result<(), Malformed> {
        match number {
            SNAPSHOT_PART => self.0.kind = Some(ServerKind::SnapshotPart(value.kind()?)),
            PATCH => self.0.kind = Some(ServerKind::Patch(value.kind()?)),
            _ => self.0.read(number, value)?,
        }
        Ok(())
    }
}

/// Appends a client's frame to a message. Messages may be concatenated.
pub fn encode_client(kind: ClientKind, message: &mut BytesMut) {
    let mut frames = Writer::default();
    frames.kind(1, &ClientFrame { kind: Some(kind) });
    message.extend_from_slice(&frames.into_bytes());
}

/// Appends a server's frame to a message. Messages may be concatenated.
pub fn encode_server(kind: ServerKind, message: &mut BytesMut) {
    let frames = ServerFrames {
        frames: vec![ServerFrame { kind: Some(kind) }],
    };
    frames
        .encode(message)
        .expect("a growing buffer takes every message");
}

/// One server's frame as a message of its own.
#[must_use]
pub fn server_message(kind: ServerKind) -> Bytes {
    let mut message = BytesMut::new();
    encode_server(kind, &mut message);
    message.freeze()
}

/// One client's frame as a message of its own.
#[must_use]
pub fn client_message(kind: ClientKind) -> Bytes {
    let mut message = BytesMut::new();
    encode_client(kind, &mut message);
    message.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Ping, Pong, Subscribe};

    #[test]
    fn messages_concatenate() {
        let mut message = BytesMut::new();
        encode_client(ClientKind::Ping(Ping { t: 1 }), &mut message);
        let subscribe = ClientKind::Subscribe(Subscribe {
            channel: "a:b".into(),
            have: None,
            max_epoch: 7,
            ..Subscribe::default()
        });
        message.extend_from_slice(&client_message(subscribe.clone()));
        assert_eq!(
            decode_client(message.freeze(), 100),
            Ok(vec![ClientKind::Ping(Ping { t: 1 }), subscribe])
        );
    }

    #[test]
    fn a_frame_of_the_other_direction_is_unknown() {
        let message = client_message(ClientKind::Ping(Ping { t: 1 }));
        assert_eq!(decode_server(message, 100), Err(DecodeError::UnknownFrame));
    }

    #[test]
    fn pong_travels_both_ways() {
        let message = client_message(ClientKind::Pong(Pong { t: 9 }));
        assert_eq!(
            decode_server(message, 100),
            Ok(vec![ServerKind::Pong(Pong { t: 9 })])
        );
    }

    #[test]
    fn size_is_checked_before_decoding() {
        let message = Bytes::from_static(&[0xff; 11]);
        assert_eq!(
            decode_client(message, 10),
            Err(DecodeError::TooLarge {
                bytes: 11,
                bytes_max: 10
            })
        );
    }
}
