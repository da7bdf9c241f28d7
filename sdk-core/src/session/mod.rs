//! The client's logical life with a server: routes inputs to parts and owns the output queue.

mod input;
mod output;

use std::sync::Arc;

use bytes::Bytes;

pub use input::{ConnId, Input, LinkClosed, NetworkHint, TokenError, TransportKind};
pub use output::{ConnectionPhase, ConnectionState, Event, Output, Reason, Recovery};

use crate::channel::name::ChannelName;
use crate::channel::{ChannelId, ChannelStatus};
use crate::config::Config;
use crate::document::Record;
use crate::mutation::{ClientId, MutateError, MutationHandle, MutationId};
use crate::time::Now;
use crate::wire::{Change, Cursor, Peer};

/// SKELETON: signatures are final, bodies are being written.
#[derive(Debug)]
pub struct Session {}

/// Why a channel was not subscribed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The session was closed.
    #[error("the client is closed")]
    Closed,
    /// The limit of channels is reached.
    #[error("{max} channels are open already: close one first")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// Why presence was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// The channel was never subscribed or was let go.
    #[error("channel is not open: subscribe first")]
    NoSuchChannel,
    /// The data is over the limit.
    #[error("presence of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// What was given.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// Not JSON.
    #[error("presence data is not JSON nested at most 64 deep")]
    NotJson,
}

impl Session {
    /// `client`: 128 random bits; `seed`: for jitter. Nothing happens before [`Self::connect`].
    #[must_use]
    pub fn new(_config: Config, _client: ClientId, _seed: u64, _now: Now) -> Self {
        Self {}
    }
    /// Takes one fact about the world. Infallible: a misbehaving peer becomes `Close` and an event.
    pub fn handle_input(&mut self, _now: Now, _input: Input) {}
    /// The next thing to do. Poll until `Wait`, after every input and every command.
    pub fn poll_output(&mut self) -> Output {
        Output::Wait(None)
    }
    /// Starts connecting, or retries at once if the next attempt was waiting.
    pub fn connect(&mut self, _now: Now) {}
    /// Closes for good. Pending mutations stay undecided.
    pub fn close(&mut self, _now: Now) {}
    /// Opens a channel; the same name gives the same id while it is open.
    pub fn subscribe(&mut self, _now: Now, _name: ChannelName) -> Result<ChannelId, SubscribeError> {
        Ok(ChannelId(0))
    }
    /// Lets a channel go: its view and pending mutations are dropped.
    pub fn unsubscribe(&mut self, _now: Now, _channel: ChannelId) {}
    /// Applies a mutation to the view at once and queues it. All of its changes, or none.
    pub fn mutate(
        &mut self,
        _now: Now,
        _channel: ChannelId,
        _changes: Vec<Change>,
    ) -> Result<MutationHandle, MutateError> {
        Ok(MutationHandle(0))
    }
    /// Says who one is; `None`: no longer present. `data` is JSON text.
    pub fn set_presence(
        &mut self,
        _now: Now,
        _channel: ChannelId,
        _data: Option<Bytes>,
    ) -> Result<(), PresenceError> {
        Ok(())
    }
    /// A record as it looks with every pending mutation applied.
    #[must_use]
    pub fn record(&self, _channel: ChannelId, _collection: &str, _id: &str) -> Option<&Record> {
        None
    }
    /// The ids of a collection's visible records, sorted.
    #[must_use]
    pub fn ids(&self, _channel: ChannelId, _collection: &str) -> Vec<Arc<str>> {
        Vec::new()
    }
    /// Whether a mutation of this record waits for the server.
    #[must_use]
    pub fn is_pending(&self, _channel: ChannelId, _collection: &str, _id: &str) -> bool {
        false
    }
    /// A channel's state.
    #[must_use]
    pub fn status(&self, _channel: ChannelId) -> Option<&ChannelStatus> {
        None
    }
    /// How far the base of a channel has come.
    #[must_use]
    pub fn cursor(&self, _channel: ChannelId) -> Option<Cursor> {
        None
    }
    /// Who is present, by peer number; this connection is not among them.
    #[must_use]
    pub fn peers(&self, _channel: ChannelId) -> Vec<&Peer> {
        Vec::new()
    }
    /// The connection's state.
    #[must_use]
    pub fn connection(&self) -> &ConnectionState {
        unimplemented!()
    }
    /// The id of a mutation, once the store has the row.
    #[must_use]
    pub fn mutation_id(&self, _handle: MutationHandle) -> Option<MutationId> {
        None
    }
    /// Who the server says we are, once welcomed.
    #[must_use]
    pub fn principal(&self) -> Option<&str> {
        None
    }
}
