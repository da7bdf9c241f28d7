//! Deterministic simulation: real client cores against the server's real connections and channels, in virtual time.
//!
//! Invariant: a run is a function of its seed and the code. Everything that a real run leaves to
//! chance (time, order, loss, the store, the broker) is an event in one queue, drawn from one
//! generator; the checkers trust nothing but their own model of every log ([`truth`]).
//!
//! ```text
//! run      one seed: faults, healing, calm      world     queue, time, everybody
//! shape    what the seed's world is made of     network   links in the world
//! faults   which faults, how often              havoc     how they strike, how they heal
//! awkward  faults at the moments that rules exist for
//! drivers  what clients and nodes want done     requests  requests to the broker, and their fate
//! client   Session, driver loop, store          node      Connection, Channel, their driver
//! app      what applications do                 policy    what they may do
//! link     first in, first out, until it dies   stray     what leaves that order
//! http     requests and answers in the world    walls     networks that keep something out
//! draw     draws, the same on every target
//! truth    the logs as they really are          watch     what every view has to show
//! model    records as the checkers keep them    tag       what names an entry, computed again
//! report   many seeds and their sum             scene     a calm world that a test disturbs
//! ```

pub mod app;
mod awkward;
pub mod broker;
pub mod client;
pub mod draw;
mod drivers;
pub mod faults;
mod havoc;
mod http;
pub mod judge;
pub mod link;
pub mod model;
mod network;
pub mod node;
pub mod policy;
pub mod report;
mod requests;
pub mod run;
pub mod scene;
pub mod shape;
mod stray;
mod tag;
pub mod trace;
pub mod truth;
pub mod violation;
pub mod walls;
pub mod watch;
pub mod words;
pub mod world;

pub use faults::{Fault, Faults};
pub use run::{Report, run};
pub use shape::Shape;
pub use violation::{Checked, Violation};
pub use world::World;
