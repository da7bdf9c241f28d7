//! The server under load. Every row compares it with a bare program that sends the same WebSocket
//! bytes and decides nothing.
//!
//! Three processes: this one publishes, subscribes and holds the clock ([`Crowd`] over many
//! [`Link`]s); the program under test runs by itself ([`Program`], [`serve`]), so that its processor
//! time and memory are its alone. A round starts both programs one after the other, each afresh.

mod arrival;
mod bare;
mod channels;
mod connect;
mod crowd;
mod disk;
mod fanout;
mod first_data;
mod lane;
mod latency;
mod link;
mod load;
mod memory;
mod patches;
mod program;
mod publisher;
mod resume;
mod serve;
mod throughput;

pub use crowd::{Crowd, Pace, Recording};
pub use link::{Link, Receiver, Sender};
pub use load::run as run_load;
pub use patches::Patch;
pub use program::Program;
pub use serve::{Serve, serve};

pub use {
    channels::run as channels, connect::run as connect, disk::run as disk, fanout::run as fanout,
    first_data::run as first_data, latency::run as latency, memory::run as memory,
    resume::run as resume,
};
