//! The numbers of one connection.

use std::time::Duration;

use tidewire_core::wire::Limits;

/// What clients are told that may leave WebSocket for HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// The node, in the handle of a session over HTTP.
    pub home: u32,
    /// Between two polls of a client that has no place for a held one.
    pub poll: Duration,
}

/// The numbers of every connection of a server.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// What `welcome` tells clients.
    pub limits: Limits,
    /// From the opened link to `hello`.
    pub hello: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Silence of a client after which its link is taken for dead.
    pub silence: Duration,
    /// Heads in one heartbeat that moved since the last one. Policy: the rest comes with the next.
    pub heads_moved_max: usize,
    /// Other heads, in turn: a hole inside the server is found this way too.
    pub heads_others_max: usize,
    /// Bytes of a token. Policy: a longer one ends the connection.
    pub token_bytes_max: usize,
    /// Between two new tokens of one connection in the long run. Policy: one that comes sooner is not looked
    /// at, and the client is told when to come again.
    pub refresh: Duration,
    /// So many may come at once.
    pub refresh_burst: u32,
    /// Frames of one message. Policy: a message of more ends the connection.
    pub frames_per_message_max: usize,
    /// Frames per second that a client may send for long; 0: as many as it likes. Policy: it is read more
    /// slowly.
    pub frames_per_second: u32,
    /// Frames that it may send at once before that.
    pub frames_burst: u32,
    /// `None`: this server speaks WebSocket alone.
    pub fallback: Option<Fallback>,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            limits: Limits::DEFAULT,
            hello: Duration::from_secs(5),
            heartbeat: Duration::from_secs(25),
            silence: Duration::from_secs(75),
            heads_moved_max: 256,
            heads_others_max: 16,
            token_bytes_max: 16 * 1024,
            refresh: Duration::from_secs(5),
            refresh_burst: 4,
            frames_per_message_max: 4096,
            frames_per_second: 1000,
            frames_burst: 4000,
            fallback: None,
        }
    }
}
