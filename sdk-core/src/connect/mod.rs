//! Getting and keeping a link: over which transport, when to try again, and when to call one dead. One mechanism each.

mod backoff;
mod chain;
mod liveness;
mod renewal;
mod server_clock;

pub(crate) use backoff::Backoff;
pub(crate) use chain::Chain;
pub use chain::TransportVerdict;
pub(crate) use liveness::{Liveness, Verdict};
pub(crate) use renewal::{Renewal, RenewalDue};
pub(crate) use server_clock::ServerClock;
