//! Records as the application's own types: each is decoded once per change and shared.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tidewire_core::document::{Record, RecordKey};

/// A decoded record whose type the cache does not know.
pub(crate) type AnyRecord = Arc<dyn Any + Send + Sync>;

/// What was decoded from the present state of each record that was read.
///
/// Bounded by the records that exist and were read: a changed or deleted one leaves.
#[derive(Default)]
pub(crate) struct Decoded {
    collections: HashMap<Arc<str>, HashMap<Arc<str>, Types>>,
}

/// One record as each type that it was read as: nearly always one, so a list beats a map.
type Types = Vec<(TypeId, AnyRecord)>;

/// A record does not fit the type that it was asked for as.
#[derive(Debug, thiserror::Error)]
#[error("record {collection}/{id} does not fit the type it was read as: {source}")]
pub struct DecodeError {
    /// The collection.
    pub collection: String,
    /// The record.
    pub id: String,
    /// Where and why.
    pub source: serde_json::Error,
}

impl Decoded {
    pub(crate) fn find<T: Any + Send + Sync>(&self, collection: &str, id: &str) -> Option<Arc<T>> {
        let types = self.collections.get(collection)?.get(id)?;
        let (_, found) = types.iter().find(|(of, _)| *of == TypeId::of::<T>())?;
        found.clone().downcast().ok()
    }

    /// Keeps a decoded record; if another thread was faster, its one is kept and returned.
    pub(crate) fn insert<T: Any + Send + Sync>(
        &mut self,
        collection: &Arc<str>,
        id: &str,
        decoded: Arc<T>,
    ) -> Arc<T> {
        if let Some(first) = self.find(collection, id) {
            return first;
        }
        self.collections
            .entry(collection.clone())
            .or_default()
            .entry(id.into())
            .or_default()
            .push((TypeId::of::<T>(), decoded.clone()));
        decoded
    }

    /// Forgets a record. What was decoded goes into `stale`: its `drop` is the application's code and
    /// must not run under the lock.
    pub(crate) fn forget(&mut self, record: &RecordKey, stale: &mut Vec<AnyRecord>) {
        let Some(records) = self.collections.get_mut(&record.collection) else {
            return;
        };
        if let Some(types) = records.remove(&record.id) {
            stale.extend(types.into_iter().map(|(_, decoded)| decoded));
        }
        if records.is_empty() {
            self.collections.remove(&record.collection);
        }
    }
}

pub(crate) fn decode<T: DeserializeOwned>(
    collection: &str,
    id: &str,
    record: &Record,
) -> Result<T, DecodeError> {
    serde_json::from_str(&record.to_json()).map_err(|source| DecodeError {
        collection: collection.to_owned(),
        id: id.to_owned(),
        source,
    })
}
