//! The reference server of tidewire.
pub mod broker;
pub mod channel;
