//! What goes in and out of the core: inputs that the world hands in, outputs that it has to do, events that it
//! has to tell. Links, channels and the session all speak of these.

mod input;
mod output;

pub use input::{ConnId, Input, LinkClosed, LinkStage, NetworkHint, TokenError, TransportKind};
pub use output::{ConnectionPhase, ConnectionState, Event, Output, Reason, Recovery};
