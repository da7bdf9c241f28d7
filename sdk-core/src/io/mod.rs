//! What goes in and out of the core: inputs that the world hands in, outputs that it has to do, events that it
//! has to tell. Links, channels and the session all speak of these.

mod input;
mod output;

pub use input::{
    ConnId, HttpResponse, Input, LinkClosed, LinkStage, NetworkHint, Probed, RequestId, TokenError,
    TransportKind,
};
pub use output::{ConnectionPhase, ConnectionState, Door, Event, Output, Reason, Recovery};
