//! Sessions over HTTP, sans-IO: what a request says, whose session it is for, what it is answered.
//!
//! A stream or a poll opens a session, which is a [`super::Connection`] like any other; requests name it by its
//! [`Handle`]. Nothing here numbers what goes up: each frame that may be sent over HTTP means the same if it comes
//! twice or late. What goes down over polls is numbered, and each number is answered once.
//!
//! Invariant: a request of another principal, in another codec, or out of its turn changes nothing.

mod desk;
mod handle;
mod polls;
mod refused;
mod replies;
mod request;
mod session;

pub use desk::{Desk, DeskHeard, Polled};
pub use handle::Handle;
pub use polls::{OutOfTurn, Polls};
pub use refused::Refused;
pub use replies::Replies;
pub use request::{Door, HttpRequest, Post};
pub use session::HttpSession;

use tidewire_core::wire::Codec;

/// A message without frames.
#[must_use]
pub const fn no_frames(codec: Codec) -> &'static [u8] {
    match codec {
        Codec::Protobuf => b"",
        Codec::Json => b"[]",
    }
}
