//! Where a session stands with its server.

use bytes::Bytes;

use super::input::ConnId;
use super::output::ConnectionPhase;
use crate::connect::{Liveness, Renewal};
use crate::time::MonoTime;

/// One lifecycle, one enum: each phase carries what only it needs.
#[derive(Debug)]
pub(crate) enum Phase {
    /// `connect` was not called yet.
    Idle,
    /// The application is asked for a token.
    FetchingToken,
    /// The driver opens a link.
    Opening { conn: ConnId, by: MonoTime },
    /// `hello` was sent.
    Handshaking { conn: ConnId, by: MonoTime },
    /// `welcome` came.
    Connected(Box<Connected>),
    /// The next attempt has its time.
    Waiting { until: MonoTime },
    /// The page or program is frozen: nothing is tried until it is back.
    Suspended,
    /// Over; `connect` starts anew unless the application closed it.
    Closed { by_application: bool },
}

/// A welcomed link.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) conn: ConnId,
    pub(crate) since: MonoTime,
    pub(crate) liveness: Liveness,
    pub(crate) renewal: Renewal,
    /// Names the welcome, so that a copy of it is known.
    pub(crate) session: Bytes,
    /// The server asked us to go.
    pub(crate) leave: Option<Leave>,
}

/// `goaway`: move at `at`, or as soon after it as nothing is in flight, at the latest at `by`.
#[derive(Clone, Debug)]
pub(crate) struct Leave {
    pub(crate) at: MonoTime,
    pub(crate) by: MonoTime,
    pub(crate) detail: String,
}

impl Phase {
    pub(crate) const fn conn(&self) -> Option<ConnId> {
        match self {
            Self::Opening { conn, .. } | Self::Handshaking { conn, .. } => Some(*conn),
            Self::Connected(connected) => Some(connected.conn),
            _ => None,
        }
    }

    pub(crate) const fn public(&self) -> ConnectionPhase {
        match self {
            Self::Idle => ConnectionPhase::Idle,
            Self::FetchingToken | Self::Opening { .. } | Self::Handshaking { .. } => {
                ConnectionPhase::Connecting
            }
            Self::Connected(connected) if connected.leave.is_some() => ConnectionPhase::Draining,
            Self::Connected(_) => ConnectionPhase::Connected,
            Self::Waiting { .. } | Self::Suspended => ConnectionPhase::Waiting,
            Self::Closed { .. } => ConnectionPhase::Closed,
        }
    }

    pub(crate) fn deadline(&self, in_flight: bool) -> Option<MonoTime> {
        match self {
            Self::Idle | Self::FetchingToken | Self::Suspended | Self::Closed { .. } => None,
            Self::Opening { by, .. } | Self::Handshaking { by, .. } => Some(*by),
            Self::Waiting { until } => Some(*until),
            Self::Connected(connected) => {
                let leave = connected
                    .leave
                    .as_ref()
                    .map(|leave| if in_flight { leave.by } else { leave.at });
                [
                    Some(connected.liveness.deadline()),
                    connected.renewal.deadline(),
                    leave,
                ]
                .into_iter()
                .flatten()
                .min()
            }
        }
    }
}
