#![cfg_attr(feature = "net", doc = include_str!("../README.md"))]
#![cfg_attr(
    not(feature = "net"),
    doc = "The channel logic of tidewire's reference server, without its network half."
)]
//!
//! # Inside
//!
//! `log` is the bottom: what `broker` keeps and `channel` folds. These three know neither socket nor
//! clock; everything behind the feature `net` drives them.
//!
//! Invariant: safety comes from the broker's compare-and-append alone; whatever this process gets
//! wrong costs speed, never data.

pub mod broker;
#[cfg(feature = "net")]
mod budget;
pub mod channel;
#[cfg(feature = "config")]
mod channel_pattern;
pub mod connection;
mod epoch_key;
pub mod health;
pub mod log;

#[cfg(feature = "net")]
mod address;
#[cfg(feature = "net")]
mod admin_client;
#[cfg(feature = "net")]
mod admission;
#[cfg(feature = "net")]
mod api_keys;
#[cfg(feature = "net")]
mod app;
#[cfg(feature = "net")]
mod auth;
#[cfg(feature = "net")]
mod channels;
#[cfg(feature = "net")]
pub mod cli;
#[cfg(feature = "net")]
mod clock;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "net")]
mod connections;
#[cfg(feature = "net")]
mod decisions;
#[cfg(feature = "net")]
mod drain;
#[cfg(feature = "net")]
mod driver;
#[cfg(feature = "net")]
pub mod faults;
#[cfg(feature = "net")]
mod file_limit;
#[cfg(feature = "net")]
mod handle;
#[cfg(feature = "net")]
mod http;
#[cfg(feature = "net")]
mod inbox;
#[cfg(feature = "net")]
mod key_file;
mod limit;
#[cfg(feature = "net")]
mod machine_memory;
#[cfg(feature = "net")]
mod origin;
#[cfg(feature = "net")]
mod policy;
#[cfg(feature = "net")]
mod pressure;
mod principal;
#[cfg(feature = "net")]
mod registry;
#[cfg(feature = "net")]
mod schema;
#[cfg(feature = "net")]
mod server;
#[cfg(feature = "net")]
mod sessions;
#[cfg(feature = "net")]
mod socket;
#[cfg(feature = "net")]
mod telemetry;
#[cfg(feature = "net")]
mod testing;
#[cfg(feature = "net")]
mod token_checks;
#[cfg(feature = "net")]
mod transport;

pub use epoch_key::{EpochKey, EpochKeyError};
pub use principal::{Action, AuthError, Principal};
#[cfg(feature = "net")]
pub use {
    auth::AuthRequest,
    channel::View,
    faults::Faults,
    key_file::KeyFileError,
    server::{BuildError, RunError, Server, ServerBuilder},
    testing::TestServer,
};
#[cfg(feature = "config")]
pub use {
    channel_pattern::{ChannelPattern, ChannelPatternError},
    config::Config,
};

/// The web framework of [`ServerBuilder::routes`] and [`Server::router`], in the version that they take.
#[cfg(feature = "net")]
pub use axum;

/// What an application's rules are written in, so that it needs no other crate for them.
#[cfg(feature = "net")]
pub use tidewire_core::{
    ChannelName, ChannelNameError,
    document::{Document, Record, Rejection},
    time::UnixTime,
    wire::{Change, ChangeKind, ErrorCode},
};
