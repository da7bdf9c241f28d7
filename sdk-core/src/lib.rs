//! The sans-IO core of tidewire.
mod channel;
mod config;
mod connect;
pub mod document;
mod mutation;
mod session;
pub mod time;
pub mod wire;

pub use channel::name::{ChannelName, ChannelNameError};
pub use channel::{ChannelId, ChannelStatus};
pub use config::Config;
pub use mutation::{
    ClientId, MemoryOutbox, MutateError, MutationHandle, MutationId, MutationStatus, OutboxReply,
    OutboxRequest, Settlement,
};
pub use session::{
    ConnId, ConnectionPhase, ConnectionState, Event, Input, LinkClosed, NetworkHint, Output,
    PresenceError, Reason, Recovery, Session, SubscribeError, TokenError, TransportKind,
};
