//! Settings of a session. Each default has its reason in docs/defaults.md.

use std::time::Duration;

use crate::connect::TransportVerdict;
use crate::io::TransportKind;
use crate::mutation::Durability;
use crate::wire::Codec;

/// Settings of a [`crate::Session`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How frames become messages; the driver asks for its subprotocol.
    pub codec: Codec,
    /// What the driver offers and the application wants, the best first. Each at most once; without any there is
    /// WebSocket.
    pub transports: Vec<TransportKind>,
    /// Which of them were of no use here before.
    pub verdicts: Vec<TransportVerdict>,
    /// A transport that shows nothing useful for so long is joined by the next one.
    pub join_after: Duration,
    /// How long a transport that was of no use is tried last.
    pub verdict_ttl: Duration,
    /// How long after falling back a better transport is tried again; twice as long after each try.
    pub climb_delay_base: Duration,
    /// Longest time between such tries.
    pub climb_delay_max: Duration,
    /// First step of the back-off between attempts.
    pub retry_delay_base: Duration,
    /// Longest delay between attempts.
    pub retry_delay_max: Duration,
    /// How many attempts in a row may fail; `None` = no limit.
    pub retries_max: Option<u32>,
    /// How long a link must last before the back-off starts anew.
    pub stable_after: Duration,
    /// Longest time from `Open` to `welcome`.
    pub connect_timeout: Duration,
    /// How much longer than the server's heartbeat interval silence may last.
    pub heartbeat_grace: Duration,
    /// How long a probe waits for any frame.
    pub probe_timeout: Duration,
    /// How long a channel waits for progress, and a push for its answer.
    pub progress_timeout: Duration,
    /// Shortest time between two presence frames of a channel.
    pub presence_interval: Duration,
    /// How many mutations may wait for the server, over all channels.
    pub outbox_rows_max: usize,
    /// How many bytes of mutations may wait for the server, over all channels.
    pub outbox_bytes_max: usize,
    /// Longest life of a mutation: from the call with a `ttl`, else from its first send.
    pub ttl_max: Duration,
    /// How long after its deadline the server still knows how a mutation ended; the server's own setting
    /// must not be shorter.
    pub retention: Duration,
    /// A channel whose epoch the server does not know starts over after this long.
    pub start_over_after: Duration,
    /// What the driver's outbox survives, as long as the store has not said so itself.
    pub durability: Durability,
    /// Whose outbox it is, if the application knows that before the server says so.
    pub principal: Option<String>,
    /// How long after a failed transaction the store is asked again.
    pub store_retry: Duration,
    /// How many channels may be subscribed.
    pub channels_max: usize,
    /// Bytes of records that a snapshot may have.
    pub snapshot_bytes_max: usize,
    /// Whether an application hears of every record that changed, from the start; else of those that it
    /// follows ([`crate::Session::follow`]).
    pub follows_everything: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            codec: Codec::Protobuf,
            transports: vec![TransportKind::WebSocket],
            verdicts: Vec::new(),
            join_after: Duration::from_millis(1_500),
            verdict_ttl: Duration::from_secs(60 * 60),
            climb_delay_base: Duration::from_secs(15),
            climb_delay_max: Duration::from_secs(15 * 60),
            retry_delay_base: Duration::from_secs(1),
            retry_delay_max: Duration::from_secs(30),
            retries_max: None,
            stable_after: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(15),
            heartbeat_grace: Duration::from_secs(10),
            probe_timeout: Duration::from_secs(3),
            progress_timeout: Duration::from_secs(10),
            presence_interval: Duration::from_millis(50),
            outbox_rows_max: 10_000,
            outbox_bytes_max: 16 * 1024 * 1024,
            ttl_max: Duration::from_secs(7 * 24 * 60 * 60),
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            start_over_after: Duration::from_secs(30 * 60),
            durability: Durability::Memory,
            principal: None,
            store_retry: Duration::from_secs(1),
            channels_max: 1000,
            snapshot_bytes_max: 256 * 1024 * 1024,
            follows_everything: true,
        }
    }
}
