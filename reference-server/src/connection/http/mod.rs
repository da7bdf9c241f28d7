//! Sessions over HTTP, sans-IO: what a request says, whose session it is for, what it is answered.
//!
//! A stream or a poll opens a session, which is a [`super::Connection`] like any other; requests name it by its
//! [`Handle`]. Nothing here numbers what goes up: each frame that may be sent over HTTP means the same if it comes
//! twice or late. What goes down over polls is numbered, and each number is answered once.
//!
//! Invariant: a request of another principal, in another codec, or out of its turn changes nothing.

mod handle;
mod polls;
mod refused;
mod replies;
mod request;
mod session;

pub use handle::Handle;
pub use polls::{OutOfTurn, Polls};
pub use refused::Refused;
pub use replies::Replies;
pub use request::{Door, HttpRequest, Post};
pub use session::HttpSession;

use tidewire_core::wire::Codec;

/// The media type of a codec's messages.
#[must_use]
pub const fn media_type(codec: Codec) -> &'static str {
    match codec {
        Codec::Protobuf => "application/vnd.tidewire.v1+proto",
        Codec::Json => "application/vnd.tidewire.v1+json",
    }
}

/// A message without frames.
#[must_use]
pub const fn no_frames(codec: Codec) -> &'static [u8] {
    match codec {
        Codec::Protobuf => b"",
        Codec::Json => b"[]",
    }
}
