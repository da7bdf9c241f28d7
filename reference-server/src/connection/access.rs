//! What settings and application say about principals and channels.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tidewire_core::ChannelName;
use tidewire_core::time::{MonoTime, UnixTime};

use crate::channel::{Outlet, Rights};
use crate::principal::{Action, Principal};

/// How a channel comes to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// With its first authorised subscribe or push.
    OnUse,
    /// Over the admin door only.
    Admin,
}

/// What a connection asks while it handles a frame. Answers come at once: nothing here may block.
pub trait Access: Send + Sync {
    /// Whether a principal may do something on a channel, now.
    fn may(&self, who: &Principal, channel: &ChannelName, action: Action) -> bool;

    /// How channels of a namespace come to exist; `None`: it is not configured here.
    fn create(&self, namespace: &str) -> Option<Create>;

    /// Whether the broker would keep this channel.
    fn has_room(&self, channel: &ChannelName) -> bool;
}

/// A rate that this connection shares with others.
pub trait Pace: Send + Sync {
    /// Takes the price of so many frames; how long to wait before the next one.
    fn pace(&self, frames: usize, now: MonoTime) -> Duration;
}

/// Makes the way from a channel to this connection's send queue.
pub trait Outlets: Send + Sync {
    /// For this channel.
    fn outlet(self: Arc<Self>, channel: &ChannelName) -> Arc<dyn Outlet>;
}

/// A principal that a refresh may replace, shared with the channels that act for it.
pub(super) struct Bearer {
    access: Arc<dyn Access>,
    principal: RwLock<Principal>,
}

impl Bearer {
    pub(super) const fn new(access: Arc<dyn Access>, principal: Principal) -> Self {
        Self {
            access,
            principal: RwLock::new(principal),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Principal> {
        self.principal
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Principal {
        self.read().clone()
    }

    pub(super) fn expiry(&self) -> Option<UnixTime> {
        self.read().expiry()
    }

    pub(super) fn replace(&self, principal: Principal) {
        *self
            .principal
            .write()
            .unwrap_or_else(PoisonError::into_inner) = principal;
    }

    fn may(&self, channel: &ChannelName, action: Action) -> bool {
        let who = self.now();
        // A panic in the application's code must not take the channel along.
        let asked = AssertUnwindSafe(|| self.access.may(&who, channel, action));
        catch_unwind(asked).unwrap_or(false)
    }
}

impl Rights for Bearer {
    fn may_write(&self, channel: &ChannelName) -> bool {
        self.may(channel, Action::Write)
    }

    fn may_read(&self, channel: &ChannelName) -> bool {
        self.may(channel, Action::Read)
    }
}
