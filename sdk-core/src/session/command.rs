//! What an application asks of a session, and why it may be refused.

use bytes::Bytes;

use super::Session;
use super::phase::Phase;
use crate::channel::load::Load;
use crate::channel::name::ChannelName;
use crate::channel::unsent::is_oversized;
use crate::channel::{Channel, ChannelId, ChannelStatus};
use crate::document::Rejection;
use crate::document::change::{changes_bytes, check_changes};
use crate::document::precondition::check_preconditions;
use crate::document::value::is_json;
use crate::mutation::dirty::Dirty;
use crate::mutation::queue::{Row, Stage};
use crate::mutation::{
    CancelError, Durability, Follow, MutateError, MutateOptions, MutationHandle, MutationStatus,
    OutboxRequest,
};
use crate::time::Now;
use crate::wire::{Change, ErrorCode, encode_item};

/// Why a channel was not subscribed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The session was closed.
    #[error("the client is closed")]
    Closed,
    /// The limit of channels is reached.
    #[error("{max} channels are open already: close one first")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

/// Why presence was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PresenceError {
    /// The channel was never subscribed or was let go.
    #[error("channel is not open: subscribe first")]
    NoSuchChannel,
    /// The data is over the limit.
    #[error("presence of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// What was given.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// Not JSON.
    #[error("presence data is not JSON nested at most 64 deep")]
    NotJson,
}

impl Session {
    /// Opens a channel; the same name gives the same id while it is open. A failed one is tried again.
    pub fn subscribe(&mut self, now: Now, name: ChannelName) -> Result<ChannelId, SubscribeError> {
        self.observe(now);
        if self.is_closed() {
            return Err(SubscribeError::Closed);
        }
        if let Some(&id) = self.names.get(&name) {
            self.with_channel(id, |channel, turn| channel.revive(turn));
            self.ask_beside(id);
            return Ok(id);
        }
        if self.channels.len() >= self.config.channels_max {
            return Err(SubscribeError::TooMany {
                max: self.config.channels_max,
            });
        }
        self.last_channel += 1;
        let id = ChannelId(self.last_channel);
        self.names.insert(name.clone(), id);
        if self.store.is_some() {
            self.ask_store(OutboxRequest::Load {
                channel: name.clone(),
            });
        }
        let dirty = if self.config.follows_everything {
            Dirty::default()
        } else {
            Dirty::on_request()
        };
        let channel = Channel::new(id, name, dirty);
        self.channels.insert(id, Box::new(channel));
        if let Phase::Linked(links) = &self.phase
            && links.current.welcomed().is_some()
        {
            let conn = links.current.conn;
            self.with_channel(id, |channel, turn| channel.handle_connected(turn, conn));
        }
        Ok(id)
    }

    /// Lets a channel go. Its pending mutations are still brought to their outcome; then it closes.
    pub fn unsubscribe(&mut self, now: Now, channel: ChannelId) {
        self.observe(now);
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.released = true;
            channel.presence_mut().set(None);
        }
        self.with_channel(channel, |channel, turn| {
            // What it has mutated is brought to its outcome, paused or not.
            if channel.queue.len() > 0 {
                channel.resume(turn);
            }
        });
        self.ask_beside(channel);
        self.finish_turn();
    }

    /// Wants nothing from a channel for a while: the server is told, and presence ends. The view stays,
    /// and what is mutated meanwhile waits, shown as pending. Lasts over reconnects, until
    /// [`Self::resume`].
    pub fn pause(&mut self, now: Now, channel: ChannelId) {
        self.observe(now);
        self.with_channel(channel, |channel, turn| channel.pause(turn));
        self.finish_turn();
    }

    /// Ends a pause: the channel comes back to the head, and what waits is pushed.
    pub fn resume(&mut self, now: Now, channel: ChannelId) {
        self.observe(now);
        self.with_channel(channel, |channel, turn| channel.resume(turn));
        self.ask_beside(channel);
    }

    /// Gives up what the channel has seen of a server that does not know it any more (`recovery_required`),
    /// instead of waiting for [`crate::Config::start_over_after`]: the next view is the server's, and
    /// `HistoryLost` says what it takes the place of. What was sent and not answered ends as
    /// `indeterminate`.
    pub fn start_over(&mut self, now: Now, channel: ChannelId) {
        self.observe(now);
        self.with_channel(channel, |channel, turn| channel.start_over(turn));
        self.finish_turn();
    }

    /// Applies a mutation to the view at once and queues it. All of its changes, or none.
    ///
    /// Errors: what [`MutateError`] lists; then nothing was changed.
    pub fn mutate(
        &mut self,
        now: Now,
        channel: ChannelId,
        changes: Vec<Change>,
        options: MutateOptions,
    ) -> Result<MutationHandle, MutateError> {
        self.observe(now);
        if self.is_closed() {
            return Err(MutateError::Closed);
        }
        let open = self
            .channels
            .get(&channel)
            .filter(|channel| !channel.released)
            .ok_or(MutateError::NoSuchChannel)?;
        if let ChannelStatus::Failed { code, .. } = open.status {
            return Err(MutateError::ChannelFailed(code));
        }
        check_changes(&changes, &self.limits)?;
        check_preconditions(
            &options.preconditions,
            changes_bytes(&changes),
            &self.limits,
        )?;
        let item = encode_item(&changes, &options.preconditions);
        let codec = self.config.codec;
        let encoded = codec.item_bytes_of(&item, (&changes, &options.preconditions));
        if is_oversized(encoded, &self.limits) {
            return Err(MutateError::Invalid(Rejection::new(
                ErrorCode::TooLarge,
                format!("mutation of {encoded} encoded bytes does not fit into one message"),
            )));
        }
        let Load { rows, bytes, .. } = self.attention.load;
        if rows >= self.config.outbox_rows_max || bytes >= self.config.outbox_bytes_max {
            return Err(MutateError::QueueFull { rows });
        }
        if options.require_durable && self.durability() == Durability::Memory {
            return Err(MutateError::NotDurable);
        }
        let mut options = options;
        let mut failed = false;
        if let Some(after) = options.after {
            match self.dependency(channel, after)? {
                None => {}
                // Nothing to wait for, and the server need not know.
                Some(MutationStatus::Committed) => options.after = None,
                Some(_) => failed = true,
            }
        }
        self.last_handle += 1;
        let handle = MutationHandle(self.last_handle);
        self.with_channel(channel, |channel, turn| {
            channel.mutate(turn, handle, changes, &options, (item, encoded));
            if failed {
                channel.neutralise(turn, handle, MutationStatus::dep_failed());
            }
        });
        self.finish_turn();
        Ok(handle)
    }

    /// How the mutation that another one is to come after has ended; `None`: it has not.
    fn dependency(
        &self,
        channel: ChannelId,
        after: MutationHandle,
    ) -> Result<Option<MutationStatus>, MutateError> {
        let open = self.channels.get(&channel);
        let row = open.and_then(|channel| channel.queue.row(after));
        // The store may still know better than to let it fail.
        let is_unsure = |row: &Row| {
            row.stage == Stage::Settling && !row.noop && row.status != MutationStatus::Committed
        };
        if row.is_some_and(|row| row.ending || is_unsure(row)) {
            return Ok(None);
        }
        let status = row.map(|row| &row.status);
        let status = status.or_else(|| self.ended.status(after));
        let status = status.ok_or(MutateError::UnknownDependency)?;
        Ok(status.is_terminal().then(|| status.clone()))
    }

    /// Takes a mutation back that was not sent yet: the view shows it no longer, and it ends as
    /// `cancelled`; what was to come after it ends as `dep_failed`. Where several sessions share a store,
    /// another one may turn out to be sending it: then it is shown again, and told as `attempted`.
    ///
    /// Errors: what [`CancelError`] lists; then nothing was changed.
    pub fn cancel(&mut self, now: Now, handle: MutationHandle) -> Result<(), CancelError> {
        self.observe(now);
        let here = self.channels.values().find_map(|channel| {
            let row = channel.queue.row(handle);
            row.map(|_| channel.id)
        });
        let Some(channel) = here else {
            return Err(match self.ended.status(handle) {
                Some(_) => CancelError::Ended,
                None => CancelError::NoSuchMutation,
            });
        };
        let done = self.with_channel(channel, |channel, turn| channel.cancel(turn, handle));
        self.finish_turn();
        done.unwrap_or(Err(CancelError::NoSuchMutation))
    }

    /// Says who one is; `None`: no longer present. `data` is JSON text.
    pub fn set_presence(
        &mut self,
        now: Now,
        channel: ChannelId,
        data: Option<Bytes>,
    ) -> Result<(), PresenceError> {
        self.observe(now);
        if let Some(data) = &data {
            let bytes_max = self.limits.presence_bytes as usize;
            if data.len() > bytes_max {
                return Err(PresenceError::TooLarge {
                    bytes: data.len(),
                    bytes_max,
                });
            }
            if !is_json(data) {
                return Err(PresenceError::NotJson);
            }
        }
        let found = self.with_channel(channel, |channel, turn| {
            channel.presence_mut().set(data);
            channel.send_ready(turn);
        });
        found.ok_or(PresenceError::NoSuchChannel)
    }

    /// Asks to hear of changes, for as long as the channel is open, where
    /// [`crate::Config::follows_everything`] is off. What is followed already changes nothing.
    pub fn follow(&mut self, channel: ChannelId, what: Follow<'_>) {
        if let Some(channel) = self.channels.get_mut(&channel) {
            channel.dirty.follow(what);
        }
    }
}
