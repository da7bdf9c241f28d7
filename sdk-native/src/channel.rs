//! A channel as the application holds it.

use std::fmt;
use std::sync::Arc;

use tidewire_core::document::Record;
use tidewire_core::wire::{Cursor, ErrorCode};
use tidewire_core::{
    ChannelDelay, ChannelId, ChannelName, ChannelStatus, ConnectionPhase, ConnectionState,
    MutateError, MutationId, Reason, Recovery, SubscribeError,
};

use crate::batch::Batch;
use crate::client::{Owner, connect_once};
use crate::collection::Collection;
use crate::delivery::News;
use crate::mutation::{Mutation, MutationError};
use crate::presence::Presence;
use crate::subscription::{ChangeStream, EventStream, PresenceStream};

/// An open channel: its records, who is present, and what happens to it.
///
/// Cheap to clone. The last handle, collections and streams included, lets the channel go after 5 s;
/// its mutations are brought to their outcome all the same.
#[derive(Clone, Debug)]
pub struct Channel {
    handle: Arc<ChannelHandle>,
}

/// Held by everything that needs the channel open.
pub(crate) struct ChannelHandle {
    pub(crate) owner: Arc<Owner>,
    pub(crate) id: ChannelId,
    name: ChannelName,
    news: Arc<News>,
}

/// What happens to a channel as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelEvent {
    /// Its status changed.
    Status(ChannelStatus),
    /// A subscribe was answered: how the channel came back to the head of the log.
    Recovered(Recovery),
    /// The server's log no longer contains what this client had seen.
    HistoryLost {
        /// What this client had.
        from: Cursor,
        /// What it has now.
        to: Cursor,
    },
    /// One of this client's mutations was refused; the view shows it no longer.
    Rejected {
        /// Which.
        id: Option<MutationId>,
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        detail: String,
    },
    /// The deadline of one of this client's mutations passed before the server decided.
    Expired {
        /// Which.
        id: Option<MutationId>,
    },
    /// One ended before it was sent: taken back, replaced by a newer one, or the client was closed.
    Cancelled {
        /// Which.
        id: Option<MutationId>,
    },
    /// One was sent, and nobody can say any more whether it was applied.
    Indeterminate {
        /// Which.
        id: Option<MutationId>,
    },
    /// One of this client's mutations was committed, and the server's history lost it.
    Lost {
        /// Which.
        id: Option<MutationId>,
    },
    /// The server answered something that ends nothing.
    Warning {
        /// What it said.
        code: ErrorCode,
        /// For people.
        detail: String,
    },
    /// The reader was too slow: this many events before the next one were dropped.
    Lagged {
        /// How many.
        missed: u64,
    },
}

/// Why a channel has no view and will get none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadyError {
    /// The server refuses the channel.
    #[error("{code}: {detail}")]
    Failed {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        detail: String,
    },
    /// The connection is over for a reason that a retry cannot mend.
    #[error("not connected: {}", .reason.detail())]
    Disconnected {
        /// The reason.
        reason: Reason,
    },
}

impl ReadyError {
    /// The stable name of the reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Failed { code, .. } => code.name(),
            Self::Disconnected { reason } => reason.code(),
        }
    }
}

/// How many conflicts [`Channel::commit`] takes before it gives up.
pub const CONFLICTS_MAX: u32 = 16;

/// A precondition did not hold when the server decided.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// 1 for the first one.
    pub attempt: u32,
    /// Which, for people.
    pub detail: String,
    /// The record that it is about, as the server has it; `None`: it does not exist.
    pub current: Option<Record>,
}

impl Conflict {
    fn into_error(self) -> MutationError {
        MutationError::Rejected {
            code: ErrorCode::Conflict,
            detail: self.detail,
            current: self.current,
        }
    }
}

/// Why [`Channel::commit`] did not commit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The mutation was not taken.
    #[error(transparent)]
    Refused(#[from] MutateError),
    /// It ended in another way.
    #[error(transparent)]
    Ended(#[from] MutationError),
}

impl Channel {
    pub(crate) fn open(owner: &Arc<Owner>, name: ChannelName) -> Result<Self, SubscribeError> {
        let (id, news) = owner.shared().command(|state, now| {
            let id = state.session_mut().subscribe(now, name.clone())?;
            connect_once(state.session_mut(), now);
            Ok((id, state.add_handle(id, name.clone())))
        })?;
        Ok(Self {
            handle: Arc::new(ChannelHandle {
                owner: owner.clone(),
                id,
                name,
                news,
            }),
        })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &ChannelName {
        &self.handle.name
    }

    /// Its state now.
    #[must_use]
    pub fn status(&self) -> ChannelStatus {
        let state = self.handle.owner.shared().lock();
        let status = state.session().status(self.handle.id);
        // A handle keeps its channel open, so there is one.
        status.cloned().unwrap_or(ChannelStatus::Loading)
    }

    /// How far the view has come in the channel's log, once there is one.
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let state = self.handle.owner.shared().lock();
        state.session().cursor(self.handle.id)
    }

    /// Waits for the first view from the server; at once when there is one already.
    ///
    /// Errors: the server refuses the channel, or the connection is over for good. Otherwise it waits
    /// as long as the connection takes.
    pub async fn ready(&self) -> Result<(), ReadyError> {
        let shared = self.handle.owner.shared();
        // News only say when to look: what counts is the session, which knows at once.
        let mut status = self.handle.news.status.subscribe();
        let mut connection = shared.connection.subscribe();
        loop {
            status.mark_unchanged();
            connection.mark_unchanged();
            match self.status() {
                ChannelStatus::Loading => {}
                ChannelStatus::Live | ChannelStatus::Stale => return Ok(()),
                ChannelStatus::Failed { code, detail } => {
                    return Err(ReadyError::Failed { code, detail });
                }
            }
            if let Some(reason) = over(shared.lock().session().connection()) {
                return Err(ReadyError::Disconnected { reason });
            }
            // Both senders live as long as this handle.
            tokio::select! {
                _ = status.changed() => {}
                _ = connection.changed() => {}
            }
        }
    }

    /// Wants nothing from the server for a while: no changes come, and presence ends. The view stays,
    /// stale, and what is changed meanwhile waits. Holds for every handle of this channel.
    pub fn pause(&self) {
        let id = self.handle.id;
        let shared = self.handle.owner.shared();
        shared.command(|state, now| state.session_mut().pause(now, id));
    }

    /// Why it is loading or stale, when the server gives no answer for now; it is asked again by itself.
    #[must_use]
    pub fn delay(&self) -> Option<ChannelDelay> {
        let state = self.handle.owner.shared().lock();
        state.session().delay(self.handle.id).cloned()
    }

    /// Gives up what this client has seen of a server that does not know it any more (the code of
    /// [`Self::delay`] is `recovery_required`), instead of waiting for half an hour. The next view is the
    /// server's, and [`ChannelEvent::HistoryLost`] says what it takes the place of.
    pub fn start_over(&self) {
        let id = self.handle.id;
        let shared = self.handle.owner.shared();
        shared.command(|state, now| state.session_mut().start_over(now, id));
    }

    /// Ends a pause: the channel catches up, and what waited is sent.
    pub fn resume(&self) {
        let id = self.handle.id;
        let shared = self.handle.owner.shared();
        shared.command(|state, now| state.session_mut().resume(now, id));
    }

    /// The collections that have a record, sorted.
    #[must_use]
    pub fn collections(&self) -> Vec<Arc<str>> {
        let state = self.handle.owner.shared().lock();
        state.session().collections(self.handle.id)
    }

    /// A collection of records, read as `T`. A name that breaks the rules is empty and refuses changes.
    #[must_use]
    pub fn collection<T>(&self, name: &str) -> Collection<T> {
        Collection::new(self.handle.clone(), name)
    }

    /// Makes several changes one mutation: all of them, or none.
    ///
    /// Errors: those of the first change that cannot be made, or of the whole; nothing was changed then.
    pub fn batch(&self, fill: impl FnOnce(&mut Batch)) -> Result<Mutation, MutateError> {
        let mut batch = self.new_batch();
        fill(&mut batch);
        self.handle.mutate(batch)
    }

    /// Makes a mutation, and makes it anew as long as its preconditions do not hold.
    ///
    /// `fill` is called with `None` first, and then with what the server said about each conflict. It
    /// fills a batch, with preconditions of its own; one that it leaves empty gives up.
    ///
    /// Errors: how the last attempt ended. After [`CONFLICTS_MAX`] conflicts that is one.
    ///
    /// ```no_run
    /// # async fn example(board: tidewire::Channel) -> Result<(), tidewire::CommitError> {
    /// // Takes a card only as long as nobody else has it.
    /// board
    ///     .commit(|batch, conflict| {
    ///         let taken = conflict.and_then(|c| c.current.as_ref()?.field("owner"));
    ///         if taken.is_none() {
    ///             batch
    ///                 .set("cards", "c1", serde_json::json!({ "owner": "ana" }))
    ///                 .require_unchanged("cards", "c1");
    ///         }
    ///     })
    ///     .await
    /// # }
    /// ```
    pub async fn commit(
        &self,
        mut fill: impl FnMut(&mut Batch, Option<&Conflict>),
    ) -> Result<(), CommitError> {
        let mut conflict: Option<Conflict> = None;
        loop {
            let mut batch = self.new_batch();
            fill(&mut batch, conflict.as_ref());
            if let Some(last) =
                conflict.take_if(|last| batch.changes.is_empty() || last.attempt == CONFLICTS_MAX)
            {
                return Err(CommitError::Ended(last.into_error()));
            }
            let attempt = conflict.map_or(1, |last| last.attempt + 1);
            match self.handle.mutate(batch)?.committed().await {
                Ok(()) => return Ok(()),
                Err(MutationError::Rejected {
                    code: ErrorCode::Conflict,
                    detail,
                    current,
                }) => {
                    conflict = Some(Conflict {
                        attempt,
                        detail,
                        current,
                    });
                }
                Err(other) => return Err(CommitError::Ended(other)),
            }
        }
    }

    fn new_batch(&self) -> Batch {
        Batch {
            view: self.cursor(),
            ..Batch::default()
        }
    }

    /// Who is present.
    #[must_use]
    pub fn presence(&self) -> Presence {
        Presence::new(self.handle.clone())
    }

    /// What happens to the channel from now on.
    pub fn events(&self) -> EventStream {
        self.handle.news.hub.events(self.handle.clone())
    }
}

/// Why a connection does not come back by itself, if it does not.
fn over(connection: &ConnectionState) -> Option<Reason> {
    let over = connection.phase == ConnectionPhase::Closed;
    over.then(|| connection.reason.clone().unwrap_or(Reason::Application))
}

impl ChannelHandle {
    pub(crate) fn mutate(&self, batch: Batch) -> Result<Mutation, MutateError> {
        if let Some(refused) = batch.refused {
            return Err(refused);
        }
        let mut options = batch.options;
        if let Some(after) = batch.after {
            // Handles are only names inside one client.
            if !Arc::ptr_eq(after.owner(), &self.owner) {
                return Err(MutateError::UnknownDependency);
            }
            options.after = Some(after.handle());
        }
        let shared = self.owner.shared();
        let made =
            shared.command(|state, now| state.mutate(now, self.id, batch.changes, options))?;
        Ok(Mutation::new(made, self.owner.clone()))
    }

    pub(crate) fn changes(self: &Arc<Self>, collection: Arc<str>) -> ChangeStream {
        self.news.hub.changes(collection, self.clone())
    }

    pub(crate) fn presence_changes(self: &Arc<Self>) -> PresenceStream {
        self.news.hub.presence(self.clone())
    }
}

impl Drop for ChannelHandle {
    fn drop(&mut self) {
        self.owner
            .shared()
            .command_on_drop(|state, now| state.drop_handle(self.id, now));
    }
}

impl fmt::Debug for ChannelHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name, f)
    }
}
