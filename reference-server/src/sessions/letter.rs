//! What nodes write to each other about sessions.

use std::time::Duration;

use bytes::Bytes;
use prost::{Message, Oneof};
use tidewire_core::wire::{Codec, ErrorCode};

use super::{Answered, Wish};
use crate::clock;
use crate::connection::http::Refused;

#[derive(Clone, PartialEq, Message)]
struct Envelope {
    #[prost(oneof = "Words", tags = "1, 2, 3")]
    words: Option<Words>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Words {
    #[prost(message, tag = "1")]
    Ask(Ask),
    #[prost(message, tag = "2")]
    Told(Told),
    #[prost(message, tag = "3")]
    Left(Left),
}

/// A request for a session of the node that reads this. Who sends it was authenticated by the node that wrote it.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Ask {
    #[prost(fixed32, tag = "1")]
    pub(super) reply_to: u32,
    #[prost(bytes = "bytes", tag = "2")]
    session: Bytes,
    #[prost(string, tag = "3")]
    who: String,
    #[prost(bool, tag = "4")]
    is_text: bool,
    /// 0: no poll.
    #[prost(uint32, tag = "5")]
    poll: u32,
    #[prost(uint64, tag = "6")]
    hold_ms: u64,
    #[prost(bytes = "bytes", tag = "7")]
    message: Bytes,
    /// 0: no POST, or one without a number.
    #[prost(uint32, tag = "8")]
    post: u32,
}

/// What became of one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Told {
    #[prost(bytes = "bytes", tag = "1")]
    asked: Bytes,
    /// 0: it broke off.
    #[prost(uint32, tag = "2")]
    status: u32,
    #[prost(bytes = "bytes", tag = "3")]
    body: Bytes,
    #[prost(uint32, tag = "4")]
    code: u32,
    #[prost(uint32, optional, tag = "5")]
    retry_ms: Option<u32>,
    #[prost(string, tag = "6")]
    detail: String,
}

/// Nobody waits any more for what became of one.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Left {
    #[prost(bytes = "bytes", tag = "1")]
    asked: Bytes,
}

impl Left {
    pub(super) fn new(asked: [u8; 16]) -> Self {
        let asked = Bytes::copy_from_slice(&asked);
        Self { asked }
    }

    pub(super) fn asked(&self) -> Option<[u8; 16]> {
        self.asked.as_ref().try_into().ok()
    }
}

impl Words {
    pub(super) fn into_bytes(self) -> Bytes {
        Envelope { words: Some(self) }.encode_to_vec().into()
    }

    pub(super) fn read(body: Bytes) -> Option<Self> {
        Envelope::decode(body).ok()?.words
    }
}

impl Ask {
    pub(super) fn new(reply_to: u32, session: [u8; 16], wish: &Wish) -> Self {
        let (poll, hold) = wish.poll.unwrap_or_default();
        Self {
            reply_to,
            session: Bytes::copy_from_slice(&session),
            who: wish.who.as_ref().into(),
            is_text: wish.codec.is_text(),
            poll,
            hold_ms: clock::millis(hold),
            message: wish.message.clone(),
            post: wish.post,
        }
    }

    pub(super) fn session(&self) -> Option<[u8; 16]> {
        self.session.as_ref().try_into().ok()
    }

    pub(super) const fn is_poll(&self) -> bool {
        self.poll > 0
    }

    pub(super) fn into_wish(self) -> Option<Wish> {
        self.session()?;
        Some(Wish {
            who: self.who.into(),
            codec: match self.is_text {
                true => Codec::Json,
                false => Codec::Protobuf,
            },
            poll: (self.poll > 0).then(|| (self.poll, Duration::from_millis(self.hold_ms))),
            post: self.post,
            message: self.message,
        })
    }
}

impl Told {
    pub(super) fn new(asked: [u8; 16], answer: Result<Answered, Refused>) -> Self {
        let asked = Bytes::copy_from_slice(&asked);
        match answer {
            Ok(Answered::Body(body)) => Self {
                asked,
                status: 200,
                body,
                ..Self::default()
            },
            Ok(Answered::Broken) => Self {
                asked,
                ..Self::default()
            },
            Err(refused) => Self {
                asked,
                status: u32::from(refused.status),
                code: refused.code as u32,
                retry_ms: refused.retry_ms,
                detail: refused.detail,
                ..Self::default()
            },
        }
    }

    pub(super) fn asked(&self) -> Option<[u8; 16]> {
        self.asked.as_ref().try_into().ok()
    }

    pub(super) fn into_answer(self) -> Result<Answered, Refused> {
        match self.status {
            0 => Ok(Answered::Broken),
            200 => Ok(Answered::Body(self.body)),
            status => Err(Refused {
                status: u16::try_from(status).unwrap_or(500),
                code: ErrorCode::from_number(self.code).unwrap_or(ErrorCode::Internal),
                retry_ms: self.retry_ms,
                detail: self.detail,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_and_told_arrives_as_it_was() {
        for (codec, poll) in [
            (Codec::Protobuf, None),
            (Codec::Json, Some((7, Duration::from_millis(25_000)))),
        ] {
            let wish = Wish {
                who: "ana".into(),
                codec,
                poll,
                post: 4,
                message: "frames".into(),
            };
            let words = Words::Ask(Ask::new(9, [3; 16], &wish));
            let Some(Words::Ask(ask)) = Words::read(words.into_bytes()) else {
                panic!("an ask");
            };
            assert_eq!((ask.reply_to, ask.session()), (9, Some([3; 16])));
            let read = ask.into_wish().unwrap();
            assert_eq!((&*read.who, read.codec, read.poll), ("ana", codec, poll));
            assert_eq!(read.post, 4);
            assert_eq!(read.message, "frames");
        }
        let refused = Refused::new(ErrorCode::Moved, "gone").after_ms(5);
        let words = Words::Told(Told::new([1; 16], Err(refused.clone())));
        match Words::read(words.into_bytes()) {
            Some(Words::Told(told)) => {
                assert_eq!(told.asked(), Some([1; 16]));
                assert_eq!(told.into_answer().err(), Some(refused));
            }
            other => panic!("{other:?}"),
        }
        match Words::read(Words::Left(Left::new([2; 16])).into_bytes()) {
            Some(Words::Left(left)) => assert_eq!(left.asked(), Some([2; 16])),
            other => panic!("{other:?}"),
        }
        assert_eq!(Words::read("no letter".into()), None);
    }
}
