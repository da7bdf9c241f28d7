//! Who is present on a channel: ephemeral, last write wins, gone with the connection.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tidewire_core::PresenceError;

use crate::channel::ChannelHandle;
use crate::subscription::PresenceStream;

/// Presence on one channel. Cheap to clone; it keeps the channel open.
#[derive(Clone, Debug)]
pub struct Presence {
    channel: Arc<ChannelHandle>,
}

/// Somebody else who is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Names one session of a client, whatever links it has had, on all servers.
    pub number: u64,
    /// Who it is.
    pub principal: String,
    /// What they said, JSON text.
    pub data: Bytes,
}

impl Peer {
    /// What they said, as `T`.
    ///
    /// Errors: it does not fit `T`.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.data)
    }
}

impl Presence {
    pub(crate) const fn new(channel: Arc<ChannelHandle>) -> Self {
        Self { channel }
    }

    /// Says who one is; said again after each reconnect. Any value that serialises to JSON, at most 4 KiB.
    ///
    /// Errors: too large, or not JSON.
    pub fn set(&self, data: impl Serialize) -> Result<(), PresenceError> {
        let data = serde_json::to_vec(&data).map_err(|_| PresenceError::NotJson)?;
        self.say(Some(data.into()))
    }

    /// No longer present.
    ///
    /// Errors: none while the channel is open.
    pub fn clear(&self) -> Result<(), PresenceError> {
        self.say(None)
    }

    /// Who else is present, by number.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        let state = self.channel.owner.shared().lock();
        let peers = state.session().peers(self.channel.id);
        peers
            .into_iter()
            .map(|peer| Peer {
                number: peer.peer,
                principal: peer.principal.clone(),
                data: peer.data.clone().unwrap_or_default(),
            })
            .collect()
    }

    /// Says when to look again.
    pub fn changes(&self) -> PresenceStream {
        self.channel.presence_changes()
    }

    fn say(&self, data: Option<Bytes>) -> Result<(), PresenceError> {
        self.channel
            .owner
            .shared()
            .command(|state, now| state.session_mut().set_presence(now, self.channel.id, data))
    }
}
