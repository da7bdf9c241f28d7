//! Where a session stands with its server.

use crate::link::Links;
use crate::time::MonoTime;

/// One lifecycle, one enum: each phase carries what only it needs.
#[derive(Debug)]
pub(crate) enum Phase {
    /// `connect` was not called yet.
    Idle,
    /// The outbox's store is opened: it has the name to say hello with.
    OpeningStore,
    /// The application is asked for a token.
    FetchingToken,
    /// There is a link, or the driver opens it.
    Linked(Box<Links>),
    /// The next attempt has its time.
    Waiting { until: MonoTime },
    /// The page or program is frozen: nothing is tried until it is back.
    Suspended,
    /// Over; `connect` starts anew unless the application closed it.
    Closed { by_application: bool },
}
