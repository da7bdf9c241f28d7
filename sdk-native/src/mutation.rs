//! One mutation as the application holds it: what it is called and how it ends.

use std::sync::Arc;

use tidewire_core::wire::ErrorCode;
use tidewire_core::{MutationHandle, MutationId, MutationStatus};
use tokio::sync::watch;

use crate::client::Owner;

/// A change that was applied to the view and waits for the server, or did.
///
/// Cheap to clone. Dropping it cancels nothing.
#[derive(Clone, Debug)]
#[must_use = "a mutation may be refused: await `committed`, or drop it on purpose"]
pub struct Mutation(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    handle: MutationHandle,
    id: Option<MutationId>,
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
    },
    /// It was committed, and the server's history lost it.
    #[error("the server's history lost this mutation: apply it again if it still matters")]
    Lost,
    /// The client was closed before the server decided. It may be in the log or not.
    #[error("the client was closed before the server decided")]
    Undecided,
}

impl MutationError {
    /// The stable name of the reason.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Rejected { code, .. } => code.name(),
            Self::Lost => "lost",
            Self::Undecided => "undecided",
        }
    }

    /// For people; what the server said, if it said something.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Rejected { detail, .. } => detail.clone(),
            Self::Lost | Self::Undecided => self.to_string(),
        }
    }

    /// Whether the same change, made anew, may succeed.
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Rejected { code, .. } => code.is_retryable(),
            Self::Lost => true,
            // Made anew it could be applied twice.
            Self::Undecided => false,
        }
    }
}

impl Mutation {
    pub(crate) fn new(
        handle: MutationHandle,
        id: Option<MutationId>,
        status: watch::Receiver<MutationStatus>,
        owner: Arc<Owner>,
    ) -> Self {
        Self(Arc::new(Watched {
            handle,
            id,
            status,
            owner,
        }))
    }

    /// Its name for ever, once the store has the row; with the memory store that is at once.
    #[must_use]
    pub fn id(&self) -> Option<MutationId> {
        self.0.id.clone().or_else(|| {
            let state = self.0.owner.shared().lock();
            state.session().mutation_id(self.0.handle)
        })
    }

    /// Where it stands.
    #[must_use]
    pub fn status(&self) -> MutationStatus {
        self.0.status.borrow().clone()
    }

    /// Waits until the server's log contains it and the view rests on that.
    ///
    /// Errors: [`MutationError::Rejected`] and [`MutationError::Lost`] when that is its outcome,
    /// [`MutationError::Undecided`] when the client is closed before.
    pub async fn committed(&self) -> Result<(), MutationError> {
        let mut status = self.0.status.clone();
        // An error means that the client is gone; the last status stands.
        let _ = status.wait_for(MutationStatus::is_terminal).await;
        match &*status.borrow() {
            MutationStatus::Committed => Ok(()),
            MutationStatus::Rejected { code, detail } => Err(MutationError::Rejected {
                code: *code,
                detail: detail.clone(),
            }),
            MutationStatus::Lost => Err(MutationError::Lost),
            _ => Err(MutationError::Undecided),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.owner.shared().forget_mutation(self.handle);
    }
}
