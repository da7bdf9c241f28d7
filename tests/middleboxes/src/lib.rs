//! What stands between clients and servers: nginx and HAProxy as programs of their own, and two boxes that no
//! configuration of theirs makes. [`ROWS`] says what each transport meets behind each of them; docs/transports.md has the
//! same table for people.
//!
//! The tests of this crate hold it with plain WebSockets and requests, so that what a server owes is known without any
//! client of ours. A client is tested by going through [`ROWS`] too: start a [`Middlebox`] for each and expect data over
//! [`Row::first_that_works`] within [`FIRST_DATA`].

mod forward;
mod middlebox;
mod row;
mod servers;
mod upgrade;

pub use forward::ForwardProxy;
pub use middlebox::{Middlebox, repository};
pub use row::{Fate, Kind, ROWS, Row, table};
pub use servers::{Server, broker};

/// How long it may take, behind any of these boxes, until a client has data.
pub const FIRST_DATA: std::time::Duration = std::time::Duration::from_secs(5);
