//! The server under load. Rows compare it with a bare program that sends the same WebSocket bytes and decides nothing, or
//! other transports with WebSocket.
//!
//! Three processes: this one publishes, subscribes and holds the clock ([`Crowd`] over many
//! [`Link`]s); the program under test runs by itself ([`Program`], [`serve`]), so that its processor
//! time and memory are its alone. A round starts both programs one after the other, each afresh.

mod arrival;
mod bare;
mod channels;
mod connect;
mod crowd;
mod delivery;
mod disk;
mod events;
mod fanout;
mod first_data;
mod idle;
mod lane;
mod latency;
mod link;
mod load;
mod memory;
mod patches;
mod polls;
mod program;
mod publisher;
mod requests;
mod resume;
mod serve;
mod switches;
mod throughput;

pub use crowd::{Crowd, Pace, Recording};
pub use events::Events;
pub use link::{Introduction, Link, Over, Receiver, Sender};
pub use load::run as run_load;
pub use patches::Patch;
pub use polls::Polls;
pub use program::Program;
pub use serve::{Serve, serve};

pub use {
    channels::run as channels, connect::run as connect, delivery::run as delivery,
    disk::run as disk, fanout::run as fanout, first_data::run as first_data, idle::run as idle,
    latency::run as latency, memory::run as memory, resume::run as resume,
    switches::run as switches,
};
