//! How many tokens the application looks at at a time.
//!
//! Policy: whoever finds all places taken waits for one, at most as long as one check may take; then it is told to
//! come again, so that a check that never answers keeps nobody waiting for ever. Those who wait are bounded: each is
//! a connection, and those that are not known yet have a quota of their own.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::principal::{AuthError, Principal};

pub(crate) struct TokenChecks {
    places: Semaphore,
    within: Duration,
}

impl TokenChecks {
    /// So many at a time, each within so long.
    pub(crate) fn new(most: usize, within: Duration) -> Self {
        Self {
            places: Semaphore::new(most.min(Semaphore::MAX_PERMITS)),
            within,
        }
    }

    /// Runs a check when there is a place for it. One that takes too long is dropped, and counts as
    /// unavailable.
    pub(crate) async fn run(
        &self,
        check: impl AsyncFnOnce() -> Result<Principal, AuthError>,
    ) -> Result<Principal, AuthError> {
        let place = timeout(self.within, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(AuthError::retryable(
                "too many tokens are looked at just now",
            ));
        };
        timeout(self.within, check())
            .await
            .unwrap_or_else(|_| Err(AuthError::retryable("the token check took too long")))
    }
}
