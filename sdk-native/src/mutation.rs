//! One mutation as the application holds it: what it is called and how it ends.

use std::sync::{Arc, OnceLock};

use tidewire_core::document::Record;
use tidewire_core::wire::ErrorCode;
use tidewire_core::{CancelError, MutationHandle, MutationId, MutationStatus};
use tokio::sync::watch;

use crate::client::Owner;
use crate::state::{Made, State};

/// A change that was applied to the view and waits for the server, or did.
///
/// Cheap to clone. Dropping it cancels nothing.
#[derive(Clone, Debug)]
#[must_use = "a mutation may be refused: await `committed`, or drop it on purpose"]
pub struct Mutation(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    handle: MutationHandle,
    id: Arc<OnceLock<MutationId>>,
    status: watch::Receiver<MutationStatus>,
    owner: Arc<Owner>,
}

/// Why a mutation did not end as committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MutationError {
    /// The server refused it; the view shows it no longer.
    #[error("{code}: {detail}")]
    Rejected {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        detail: String,
        /// With preconditions: the record that the refusal is about, as the server has it.
        current: Option<Record>,
    },
    /// Its deadline passed before the server decided; nothing of it was applied.
    #[error(
        "the deadline passed before the server decided: make the change anew if it still matters"
    )]
    Expired,
    /// It was taken back, a newer one made it superfluous, or the client was closed, before it was sent.
    #[error("the mutation ended before it was sent: it was taken back, or the client was closed")]
    Cancelled,
    /// It was sent, and nobody can say any more whether it was applied; the client was closed, perhaps.
    #[error(
        "it was sent, and nobody can say any more whether it was applied: look before doing it again"
    )]
    Indeterminate,
    /// It was committed, and the server's history lost it.
    #[error("the server's history lost this mutation: apply it again if it still matters")]
    Lost,
}

impl MutationError {
    /// The stable name of the reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Rejected { code, .. } => code.name(),
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Indeterminate => "indeterminate",
            Self::Lost => "lost",
        }
    }

    /// For people; what the server said, if it said something.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Rejected { detail, .. } => detail.clone(),
            _ => self.to_string(),
        }
    }

    /// Whether the same change, made anew, may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Rejected { code, .. } => code.is_retryable(),
            Self::Lost => true,
            Self::Expired => ErrorCode::Expired.is_retryable(),
            Self::Cancelled => false,
            // Made anew it could be applied twice.
            Self::Indeterminate => false,
        }
    }
}

impl Mutation {
    pub(crate) fn new(made: Made, owner: Arc<Owner>) -> Self {
        let Made { handle, id, status } = made;
        Self(Arc::new(Watched {
            handle,
            id,
            status,
            owner,
        }))
    }

    pub(crate) fn handle(&self) -> MutationHandle {
        self.0.handle
    }

    pub(crate) fn owner(&self) -> &Arc<Owner> {
        &self.0.owner
    }

    /// Its name for ever, once the store has the row; with the memory store that is at once.
    #[must_use]
    pub fn id(&self) -> Option<MutationId> {
        if self.0.id.get().is_none() {
            // The store is asked at the end of a turn; whoever wants to know ends it now.
            self.0.owner.shared().command(State::settle);
        }
        self.0.id.get().cloned()
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> MutationStatus {
        self.0.status.borrow().clone()
    }

    /// Takes it back, if it was not sent yet: the view shows it no longer, and it ends as
    /// [`MutationError::Cancelled`].
    ///
    /// Errors: it is too late.
    pub fn cancel(&self) -> Result<(), CancelError> {
        let shared = self.0.owner.shared();
        shared.command(|state, now| state.session_mut().cancel(now, self.0.handle))
    }

    /// Waits until the server's log contains it and the view rests on that.
    ///
    /// Errors: its outcome if that is another one. A client that is closed before there is one ends it as
    /// [`MutationError::Cancelled`] if it was not sent, else as [`MutationError::Indeterminate`].
    pub async fn committed(&self) -> Result<(), MutationError> {
        let mut status = self.0.status.clone();
        // An error means that the client is gone; the last status stands.
        let _ = status.wait_for(MutationStatus::is_terminal).await;
        match &*status.borrow() {
            MutationStatus::Committed => Ok(()),
            MutationStatus::Rejected {
                code,
                detail,
                current,
            } => Err(MutationError::Rejected {
                code: *code,
                detail: detail.clone(),
                current: current.clone(),
            }),
            MutationStatus::Expired => Err(MutationError::Expired),
            MutationStatus::Cancelled => Err(MutationError::Cancelled),
            MutationStatus::Lost => Err(MutationError::Lost),
            // The client's end makes every status a final one; whatever else could be is not known either.
            _ => Err(MutationError::Indeterminate),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.owner.shared().forget_mutation(self.handle);
    }
}
