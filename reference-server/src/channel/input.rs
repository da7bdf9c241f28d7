//! What the world tells a channel, and what a channel asks of it.

use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{Cursor, ErrorCode, Push};

use super::message::Message;
use crate::log::{Author, BrokerReply, BrokerRequest};

/// One connection, as the channel knows it. Never used again within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

/// The bounded way to one connection. The channel hands it ready-made messages and never waits.
pub trait Outlet: Send + Sync {
    /// Takes one message whole, in the codec of the connection, or refuses it when the queue has no room.
    /// After a refusal the owner calls the channel with [`ChannelInput::Drained`] once there is room again.
    fn try_send(&self, message: &Message) -> Result<(), OutletFull>;
}

/// What the principal behind a connection may do on a channel. Asked at the moment when it
/// matters, since grants change while a push waits.
pub trait Rights: Send + Sync {
    /// Whether its mutations may be logged now. Must not block.
    fn may_write(&self, channel: &ChannelName) -> bool;

    /// Whether it may learn what the records say, if only by a precondition. Must not block.
    fn may_read(&self, channel: &ChannelName) -> bool;
}

/// Always the same.
impl Rights for bool {
    fn may_write(&self, _: &ChannelName) -> bool {
        *self
    }

    fn may_read(&self, _: &ChannelName) -> bool {
        *self
    }
}

/// The queue to a connection has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutletFull;

/// Who subscribes, and where answers go.
#[derive(Clone)]
pub struct Subscriber {
    /// The connection.
    pub conn: PeerId,
    /// As whom others see it: the same number on all links of one session, on all nodes. Below 2^53.
    pub peer: u64,
    /// The principal's name.
    pub principal: Arc<str>,
    /// Whose mutations its pushes are.
    pub author: Author,
    /// Where frames go.
    pub outlet: Arc<dyn Outlet>,
    /// What it may do.
    pub rights: Arc<dyn Rights>,
}

/// What the world tells a channel. The grant to read was checked by the caller.
pub enum ChannelInput {
    /// `subscribe`. Again from the same connection: the stream starts anew at `have`.
    Subscribe {
        /// Who.
        subscriber: Subscriber,
        /// What it has.
        have: Option<Cursor>,
        /// The highest epoch that its store has seen.
        max_epoch: u64,
        /// What came with the answer that named it.
        proof: Bytes,
    },
    /// `unsubscribe`, or the connection is gone. Ends its presence too, if no other link of its session is up.
    Unsubscribe {
        /// Who.
        conn: PeerId,
        /// The client said so: it does not come back on another link.
        cleanly: bool,
    },
    /// `push`. From a connection that has not subscribed it is answered all the same, through
    /// `subscriber`. Without the right to write only duplicates are acked.
    Push {
        /// Who.
        subscriber: Subscriber,
        /// What.
        push: Push,
    },
    /// `fetch`: the entries after one seq, up to another. Only who has subscribed is answered.
    Fetch {
        /// Who.
        conn: PeerId,
        /// The epoch that it stands in.
        epoch: u64,
        /// Exclusive.
        after: u64,
        /// Inclusive.
        through: u64,
    },
    /// `presence_set`.
    SetPresence {
        /// Who; must have subscribed.
        conn: PeerId,
        /// JSON text, or gone.
        data: Option<Bytes>,
    },
    /// The connection's queue has room again.
    Drained {
        /// Whose.
        conn: PeerId,
    },
    /// The admin door deletes the channel.
    Delete,
    /// The answer to a [`ChannelOutput::Broker`]. Every request is answered, if need be with `Failed`.
    Broker(BrokerReply),
    /// The broker's watch brings what somebody has published on this channel, perhaps this node.
    Published(Bytes),
    /// The broker's watch says that the log may have grown.
    Woken,
    /// The time that [`ChannelOutput::Wait`] named has come.
    Timeout,
}

/// What a channel asks for.
#[must_use]
#[derive(Debug)]
pub enum ChannelOutput {
    /// Talk to the broker; never two at a time.
    Broker(BrokerRequest),
    /// Publish this on the channel, to all nodes. It may get lost.
    Publish(Bytes),
    /// Close this connection. Unless the code is `slow_consumer` or `backpressure_overflow`, an
    /// `error` frame with the reason was handed to the outlet just before.
    Close {
        /// Which.
        conn: PeerId,
        /// With which code.
        code: ErrorCode,
    },
    /// Nothing to do until an input or this moment.
    Wait(Option<MonoTime>),
}
