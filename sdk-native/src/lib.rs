#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! The core, [`tidewire_core::Session`], is a pure state machine. Here it sits behind a lock: reads and
//! commands run on the caller's thread and return at once, one task per client connects the core to
//! socket, clock and token provider. Invariant: the lock is never held across an await nor while the
//! application's code runs.

mod batch;
mod channel;
mod client;
mod clock;
mod collection;
mod decoded;
mod delivery;
mod driver;
mod endpoint;
mod fields;
mod mutation;
mod presence;
mod state;
mod store;
mod subscription;
mod token;
mod transport;

pub use batch::Batch;
pub use channel::{CONFLICTS_MAX, Channel, ChannelEvent, CommitError, Conflict, ReadyError};
pub use client::{BuildError, ChannelError, Client, ClientBuilder};
pub use collection::{Collection, Entry};
pub use decoded::DecodeError;
pub use endpoint::UrlError;
pub use mutation::{Mutation, MutationError};
pub use presence::{Peer, Presence};
pub use subscription::{ChangeStream, Changes, EventStream, PresenceStream};
pub use tidewire_core::document::{Record, Rejection};
pub use tidewire_core::wire::{Codec, Cursor, ErrorCode};
pub use tidewire_core::{
    CancelError, ChannelDelay, ChannelName, ChannelNameError, ChannelStatus, Config,
    ConnectionPhase, ConnectionState, MutateError, MutationId, MutationStatus, NetworkHint,
    PresenceError, Reason, Recovery, SubscribeError, TokenError, TransportKind,
};
pub use token::{TokenFuture, TokenProvider};
pub use transport::{HttpError, TlsError};
