//! Records of one collection as the application's own type.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tidewire_core::MutateError;

use crate::batch::Batch;
use crate::channel::ChannelHandle;
use crate::decoded::{DecodeError, decode};
use crate::mutation::Mutation;
use crate::subscription::ChangeStream;

/// The records of one collection, read as `T`.
///
/// Reads answer at once from the view, with every pending mutation applied; each record is decoded once
/// per change and shared. Changes show in the view before they return. Cheap to clone; it keeps the channel open.
pub struct Collection<T> {
    channel: Arc<ChannelHandle>,
    name: Arc<str>,
    records: PhantomData<fn() -> T>,
}

/// A record with its id; or, in its place, why it does not fit `T`.
pub type Entry<T> = (Arc<str>, Result<Arc<T>, DecodeError>);

impl<T> Collection<T> {
    pub(crate) fn new(channel: Arc<ChannelHandle>, name: &str) -> Self {
        Self {
            channel,
            name: name.into(),
            records: PhantomData,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ids of its records, sorted.
    #[must_use]
    pub fn ids(&self) -> Vec<Arc<str>> {
        let state = self.channel.owner.shared().lock();
        state.session().ids(self.channel.id, &self.name)
    }

    /// A record as JSON text in its canonical form: fields sorted by name, values as they were written.
    #[must_use]
    pub fn json(&self, id: &str) -> Option<String> {
        let state = self.channel.owner.shared().lock();
        let record = state.session().record(self.channel.id, &self.name, id)?;
        Some(record.to_json())
    }

    /// Whether a mutation of this record waits for the server.
    #[must_use]
    pub fn is_pending(&self, id: &str) -> bool {
        let state = self.channel.owner.shared().lock();
        state.session().is_pending(self.channel.id, &self.name, id)
    }

    /// What changes from now on, own changes included.
    pub fn changes(&self) -> ChangeStream {
        self.channel.changes(self.name.clone())
    }

    /// Sets fields of a record that exists; the others stay. `fields` is a map or struct.
    ///
    /// Errors: at once for what breaks a rule or a limit, `QueueFull` included; the server's own refusal
    /// comes with [`Mutation::committed`].
    pub fn set(&self, id: &str, fields: impl Serialize) -> Result<Mutation, MutateError> {
        self.change(|batch, name| {
            batch.set(name, id, fields);
        })
    }

    /// Puts a whole record, new or in place of what is there. Errors: as for [`Self::set`].
    pub fn put(&self, id: &str, fields: impl Serialize) -> Result<Mutation, MutateError> {
        self.change(|batch, name| {
            batch.put(name, id, fields);
        })
    }

    /// Removes fields of a record that exists. Errors: as for [`Self::set`].
    pub fn unset(&self, id: &str, fields: &[&str]) -> Result<Mutation, MutateError> {
        self.change(|batch, name| {
            batch.unset(name, id, fields);
        })
    }

    /// Deletes a record; one that does not exist is fine. Errors: as for [`Self::set`].
    pub fn delete(&self, id: &str) -> Result<Mutation, MutateError> {
        self.change(|batch, name| {
            batch.delete(name, id);
        })
    }

    /// Adds to an integer field of a record that exists; an absent field counts from 0. Errors: as for [`Self::set`].
    pub fn increment(&self, id: &str, field: &str, by: i64) -> Result<Mutation, MutateError> {
        self.change(|batch, name| {
            batch.increment(name, id, field, by);
        })
    }

    fn change(&self, fill: impl FnOnce(&mut Batch, &str)) -> Result<Mutation, MutateError> {
        let mut batch = Batch::default();
        fill(&mut batch, &self.name);
        self.channel.mutate(batch)
    }
}

impl<T: DeserializeOwned + Send + Sync + 'static> Collection<T> {
    /// A record; the same `Arc` until that record changes.
    ///
    /// Errors: it does not fit `T`.
    pub fn get(&self, id: &str) -> Result<Option<Arc<T>>, DecodeError> {
        let channel = self.channel.id;
        let shared = self.channel.owner.shared();
        let record = {
            let mut state = shared.lock();
            if let Some(decoded) = state.decoded(channel)
                && let Some(found) = decoded.find(&self.name, id)
            {
                return Ok(Some(found));
            }
            match state.session().record(channel, &self.name, id) {
                Some(record) => record.clone(),
                None => return Ok(None),
            }
        };
        // `Deserialize` is the application's code: it runs without the lock.
        let read: Arc<T> = Arc::new(decode(&self.name, id, &record)?);
        let mut state = shared.lock();
        // Kept only if the record did not change meanwhile; the next read decodes again then.
        if state.session().record(channel, &self.name, id) == Some(&record)
            && let Some(decoded) = state.decoded(channel)
        {
            return Ok(Some(decoded.insert(&self.name, id, read)));
        }
        Ok(Some(read))
    }

    /// Every record with its id, sorted by id. One that does not fit `T` is an error in its own place, and
    /// hides none of the others.
    #[must_use]
    pub fn all(&self) -> Vec<Entry<T>> {
        // Between two reads a record may vanish: what is gone is not in the answer.
        let read = |id: Arc<str>| Some((id.clone(), self.get(&id).transpose()?));
        self.ids().into_iter().filter_map(read).collect()
    }
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        Self {
            channel: self.channel.clone(),
            name: self.name.clone(),
            records: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collection({}, {:?})", self.name, self.channel)
    }
}
