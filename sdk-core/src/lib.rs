//! The sans-IO core of tidewire: the client's side of the protocol as a pure state machine, and what it
//! shares with the server: frames and documents.
//!
//! There is no clock, socket, thread or OS randomness in here. Time, seed and I/O come in as [`Input`]s
//! and go out as [`Output`]s; a driver is a loop around [`Session`]:
//!
//! ```
//! use tidewire_core::time::Now;
//! use tidewire_core::{ClientId, Config, Input, MemoryOutbox, Output, Session};
//!
//! let now = Now::default();
//! let mut session = Session::new(Config::default(), 42, now);
//! let mut store = MemoryOutbox::new(ClientId([7; 16]));
//! session.connect(now);
//! let deadline = loop {
//!     match session.poll_output() {
//!         Output::FetchToken => session.handle_input(now, Input::Token(Ok("dev:ana".into()))),
//!         Output::Outbox(request) => {
//!             let reply = store.handle(request);
//!             session.handle_input(now, Input::Outbox(reply));
//!         }
//!         Output::Wait(deadline) => break deadline,
//!         // A real driver opens, sends, requests, closes, and hands events to the application.
//!         _ => {}
//!     }
//! };
//! assert!(deadline.is_some());
//! ```
//!
//! Invariant: an overlay of a mutation leaves only in the step in which the base contains it or its
//! rejection is known. The seed is the only randomness: the same inputs give the same outputs.
//!
//! Semantics and state tables: docs/protocol.md.

mod channel;
mod config;
mod connect;
pub mod document;
pub mod event_stream;
mod io;
mod link;
mod mutation;
#[doc(hidden)]
pub mod planted;
mod session;
mod sorted;
mod text_map;
pub mod time;
pub mod wire;

pub use channel::name::{ChannelName, ChannelNameError};
pub use channel::{ChannelDelay, ChannelId, ChannelState, ChannelStatus, StreamCounts};
pub use config::Config;
pub use connect::TransportVerdict;
pub use io::{
    ConnId, ConnectionPhase, ConnectionState, Door, Event, HttpResponse, Input, LinkClosed,
    LinkStage, NetworkHint, Output, Probed, Reason, Recovery, RequestId, TokenError, TransportKind,
};
#[cfg(any(test, feature = "testing"))]
pub use mutation::outbox::conformance;
pub use mutation::{
    AHEAD_MAX, After, CancelError, ClientId, CommittedRow, Durability, Follow, Judgement, Low,
    MemoryOutbox, MutateError, MutateOptions, MutationHandle, MutationId, MutationStatus, NewRow,
    Opened, OutboxReply, OutboxRequest, OutboxRow, OutboxStore, Settlement, StoredChannel,
};
pub use session::{PresenceError, Session, SubscribeError};
