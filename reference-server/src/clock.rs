//! The clocks of this process, in the numbers that the channel logic takes.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tidewire_core::time::{MonoTime, Now, UnixTime};
use tokio::time::Instant;

/// Both clocks; zero of the monotonic one is when the server was built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Now {
        Now {
            mono: self.mono(),
            unix: unix(),
        }
    }

    pub(crate) fn mono(self) -> MonoTime {
        MonoTime(millis(self.start.elapsed()))
    }

    /// The moment of a timer, for the runtime.
    pub(crate) fn instant(self, at: MonoTime) -> Instant {
        self.start + Duration::from_millis(at.0)
    }
}

/// Unix time; zero on a machine whose clock stands before 1970.
pub(crate) fn unix() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixTime(millis(since.unwrap_or_default()))
}

/// For what must differ from everybody else's; without entropy the clock is the best there is.
pub(crate) fn random_u64() -> u64 {
    getrandom::u64().unwrap_or_else(|_| unix().0)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
