//! The two clocks that the core asks for, and the way back from its deadlines to tokio's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidewire_core::time::{MonoTime, Now, UnixTime};
use tokio::time::Instant;

/// Reads both clocks at the same moment. Its zero is the client's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Now {
        Now {
            mono: MonoTime(millis(self.start.elapsed())),
            // A machine set before 1970 reads as 1970; the core only compares.
            unix: UnixTime(millis(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .unwrap_or_default(),
            )),
        }
    }

    /// The moment at which [`Self::now`] reads `deadline`; `None` when it lies beyond what tokio can hold.
    pub(crate) fn instant(self, deadline: MonoTime) -> Option<Instant> {
        self.start.checked_add(Duration::from_millis(deadline.0))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
