//! A channel as the application holds it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use tidewire_core::wire::{Change, ChangeKind, Cursor, ErrorCode, Inc, Record, RecordRef, Unset};
use tidewire_core::{
    ChannelId, ChannelName, ChannelStatus, ConnectionPhase, ConnectionState, MutateError,
    MutateOptions, MutationId, Reason, Recovery, SubscribeError,
};

use crate::client::{Owner, connect_once};
use crate::collection::Collection;
use crate::delivery::News;
use crate::fields::to_fields;
use crate::mutation::Mutation;
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

/// Several changes that become one mutation: all of them, or none.
#[derive(Debug, Default)]
pub struct Batch {
    changes: Vec<Change>,
    options: MutateOptions,
    refused: Option<MutateError>,
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
        let mut batch = Batch::default();
        fill(&mut batch);
        self.handle.mutate(batch)
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
        let shared = self.owner.shared();
        let (handle, status) = shared
            .command(|state, now| state.mutate(now, self.id, batch.changes, batch.options))?;
        let id = shared.lock().session().mutation_id(handle);
        Ok(Mutation::new(handle, id, status, self.owner.clone()))
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

impl Batch {
    /// Sets fields of a record that exists; the others stay. `fields` is a map or struct.
    pub fn set(&mut self, collection: &str, id: &str, fields: impl Serialize) -> &mut Self {
        self.record(collection, id, &fields, ChangeKind::Set)
    }

    /// Puts a whole record, new or in place of what is there. `fields` is a map or struct.
    pub fn put(&mut self, collection: &str, id: &str, fields: impl Serialize) -> &mut Self {
        self.record(collection, id, &fields, ChangeKind::Put)
    }

    /// Removes fields of a record that exists.
    pub fn unset(&mut self, collection: &str, id: &str, fields: &[&str]) -> &mut Self {
        self.add(ChangeKind::Unset(Unset {
            collection: collection.to_owned(),
            id: id.to_owned(),
            fields: fields.iter().map(|&name| name.to_owned()).collect(),
        }))
    }

    /// Deletes a record; one that does not exist is fine.
    pub fn delete(&mut self, collection: &str, id: &str) -> &mut Self {
        self.add(ChangeKind::Del(RecordRef {
            collection: collection.to_owned(),
            id: id.to_owned(),
        }))
    }

    /// Adds to an integer field of a record that exists; an absent field counts from 0.
    pub fn increment(&mut self, collection: &str, id: &str, field: &str, by: i64) -> &mut Self {
        self.add(ChangeKind::Inc(Inc {
            collection: collection.to_owned(),
            id: id.to_owned(),
            field: field.to_owned(),
            by,
        }))
    }

    fn record(
        &mut self,
        collection: &str,
        id: &str,
        fields: &impl Serialize,
        kind: fn(Record) -> ChangeKind,
    ) -> &mut Self {
        match to_fields(fields) {
            Ok(fields) => self.add(kind(Record {
                collection: collection.to_owned(),
                id: id.to_owned(),
                fields,
            })),
            Err(refused) => {
                self.refused.get_or_insert(refused);
                self
            }
        }
    }

    fn add(&mut self, kind: ChangeKind) -> &mut Self {
        self.changes.push(Change { kind: Some(kind) });
        self
    }
}
