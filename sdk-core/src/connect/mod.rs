//! Keeping a link: when to try again, and when to call one dead. One mechanism each.

mod backoff;
mod liveness;
mod renewal;
mod server_clock;

pub(crate) use backoff::Backoff;
pub(crate) use liveness::{Liveness, Verdict};
pub(crate) use renewal::{Renewal, RenewalDue};
pub(crate) use server_clock::ServerClock;
