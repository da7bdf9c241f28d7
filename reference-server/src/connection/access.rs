//! What settings and application say about principals and channels.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};
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
pub trait Outlets: Send {
    /// For this channel.
    fn outlet(&self, channel: &ChannelName) -> Arc<dyn Outlet>;
}

/// A principal that a refresh may replace, shared with the channels that act for it.
#[derive(Debug)]
pub(super) struct Bearer(RwLock<Principal>);

impl Bearer {
    pub(super) fn new(principal: Principal) -> Self {
        Self(RwLock::new(principal))
    }

    pub(super) fn now(&self) -> Principal {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn expiry(&self) -> Option<UnixTime> {
        let principal = self.0.read().unwrap_or_else(PoisonError::into_inner);
        principal.expiry()
    }

    pub(super) fn replace(&self, principal: Principal) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = principal;
    }
}

/// What a principal may do on one channel, asked by the channel when it acts.
pub(super) struct ChannelRights {
    pub(super) access: Arc<dyn Access>,
    pub(super) bearer: Arc<Bearer>,
    pub(super) channel: ChannelName,
}

impl ChannelRights {
    fn may(&self, action: Action) -> bool {
        let who = self.bearer.now();
        // A panic in the application's code must not take the channel along.
        let asked = AssertUnwindSafe(|| self.access.may(&who, &self.channel, action));
        catch_unwind(asked).unwrap_or(false)
    }
}

impl Rights for ChannelRights {
    fn may_write(&self) -> bool {
        self.may(Action::Write)
    }

    fn may_read(&self) -> bool {
        self.may(Action::Read)
    }
}
