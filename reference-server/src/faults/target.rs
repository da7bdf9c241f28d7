//! What actions are done to, apart from links: the plan knows no server, a server makes itself known.

use std::pin::Pin;

use tidewire_core::ChannelName;
use tidewire_core::wire::Goaway;

/// Says, once it is known, whether something was done in time.
pub(crate) type Done<'a> = Pin<Box<dyn Future<Output = Option<()>> + Send + 'a>>;

/// A server that a plan works on.
pub(crate) trait Target: Send + Sync {
    /// Whether the server still exists.
    fn is_there(&self) -> bool;

    /// Asks the clients of a principal, or all, to leave; says how many.
    fn ask_to_leave(&self, principal: Option<&str>, goaway: &Goaway) -> usize;

    /// Opens an epoch in a channel's log; `None` if that could not be done in time.
    fn open_epoch<'a>(&'a self, channel: &'a ChannelName) -> Done<'a>;
}
