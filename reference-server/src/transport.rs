//! What carries sessions.

/// The transports, by the names that clients know them by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Transport {
    WebSocket,
    Sse,
    LongPoll,
}

impl Transport {
    pub(crate) const ALL: [Self; 3] = [Self::WebSocket, Self::Sse, Self::LongPoll];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::Sse => "sse",
            Self::LongPoll => "long-poll",
        }
    }
}
