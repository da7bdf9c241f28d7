//! What the world tells a connection, and what a connection asks of it.

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{Cursor, Goaway, ServerKind};

use super::ending::Fault;
use crate::channel::ChannelInput;
use crate::principal::{AuthError, Principal};

/// One channel's task, as long as it runs. A channel that ended and was started again is another one.
pub trait ChannelRef: Clone {
    /// What the channel has folded and handed to its subscribers.
    fn head(&self) -> Cursor;

    /// Whether the task is gone.
    fn is_closed(&self) -> bool;

    /// Whether both are the same task.
    fn is(&self, other: &Self) -> bool;
}

/// What the world tells a connection.
pub enum ConnectionInput<C> {
    /// A message of the client came. Only while [`ConnectionOutput::Wait`] says that it reads.
    Message(Bytes),
    /// The client was heard of otherwise.
    Heard,
    /// What came is no message at all, as its link sees it.
    Refused(Fault),
    /// The link is gone, or the send queue has ended: nobody is there any more.
    Gone {
        /// The client said goodbye: it does not come back on another link.
        cleanly: bool,
    },
    /// The answer to [`ConnectionOutput::Authenticate`].
    Authenticated(Result<Principal, AuthError>),
    /// The answer to [`ConnectionOutput::CheckOpen`]; `None`: the broker could not say.
    Opened(Option<bool>),
    /// The answer to a [`ConnectionOutput::Post`] that has one.
    Posted(Posted<C>),
    /// The client has to leave within a time.
    Drain(Goaway),
    /// The time that [`ConnectionOutput::Wait`] named has come.
    Timeout,
}

/// What became of an input for a channel.
pub enum Posted<C> {
    /// This task has it.
    Taken(C),
    /// As many wait there as may.
    Full,
    /// The task that it was for does not run; it comes back.
    Closed(ChannelInput),
    /// It would have to be started, and this server runs as many as it can.
    TooMany,
}

/// Whom an input is for.
#[derive(Clone, Debug)]
pub enum To<C> {
    /// The channel of this name, which is started if it does not run.
    Start {
        /// Which.
        name: ChannelName,
        /// Where it ran last, so that it need not be looked for.
        last: Option<C>,
    },
    /// The channel of this name, if it runs.
    Running(ChannelName),
    /// This task alone.
    Task(C),
}

impl<C> To<C> {
    pub(super) fn start(name: &ChannelName) -> Self {
        Self::Start {
            name: name.clone(),
            last: None,
        }
    }
}

/// How an input is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// It waits until there is room; answered.
    Waiting,
    /// It is refused when there is no room; answered.
    Trying,
    /// It goes in whether there is room or not, since a connection has at most one of its kind;
    /// not answered.
    Always,
}

/// What a connection asks for.
#[must_use]
pub enum ConnectionOutput<C> {
    /// Ask the application who bears this token. Always answered, if need be as unavailable.
    Authenticate {
        /// It.
        token: String,
    },
    /// The client was let in, as this principal.
    Welcomed(Principal),
    /// Ask whether a channel exists. Always answered.
    CheckOpen(ChannelName),
    /// Hand an input to a channel.
    Post {
        /// To which.
        to: To<C>,
        /// How.
        hand: Hand,
        /// What.
        input: ChannelInput,
    },
    /// From now on the client takes so many bytes in one message.
    MessageBytesMax(usize),
    /// Put a frame into the send queue.
    Send(ServerKind),
    /// Put a fatal error into the send queue, and end behind it.
    Fail(Fault),
    /// Nothing to do until an input or this moment.
    Wait {
        /// `None`: no time will come.
        at: Option<MonoTime>,
        /// Whether the next message may be read. While not, the client waits.
        reads: bool,
    },
}
