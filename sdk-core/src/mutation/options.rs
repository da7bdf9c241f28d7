//! What a mutation may ask for besides its changes.

use std::sync::Arc;
use std::time::Duration;

use super::MutationHandle;
use crate::wire::Precondition;

/// Options of one mutation; the default asks for nothing.
///
/// ```
/// use std::time::Duration;
/// use tidewire_core::MutateOptions;
/// use tidewire_core::wire::{Precondition, PreconditionKind, RecordRef};
///
/// let card = RecordRef { collection: "cards".into(), id: "c1".into() };
/// let options = MutateOptions {
///     preconditions: vec![Precondition { kind: Some(PreconditionKind::Exists(card)) }],
///     ttl: Some(Duration::from_secs(60)),
///     ..MutateOptions::default()
/// };
/// assert!(options.after.is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MutateOptions {
    /// What must hold when the server decides, all of it; else the mutation is rejected with `conflict`.
    ///
    /// The server alone judges: until then the view shows the changes, whatever the preconditions say.
    pub preconditions: Vec<Precondition>,
    /// How long the mutation is worth something, from now on; cut to [`crate::Config::ttl_max`].
    ///
    /// `None`: as long as the server allows, counted from the first send; waiting offline costs nothing.
    pub ttl: Option<Duration>,
    /// Only if that mutation of the same channel is committed; else this one ends with `dep_failed`.
    pub after: Option<MutationHandle>,
    /// An older mutation of the channel with the same key that was not sent yet ends as `cancelled`:
    /// of a value that changes all the time only the latest is sent.
    pub coalesce_key: Option<Arc<str>>,
    /// Refuse the call unless the mutation outlives the process: with [`crate::Durability::Memory`].
    pub require_durable: bool,
}

/// What the outbox's store survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: unsent mutations end with the session.
    #[default]
    Memory,
    /// The end of the process.
    Disk,
}
