//! The links of a session: the current one, and while the session moves the next one beside it.

use std::time::Duration;

use super::{Link, Welcomed};
use crate::connect::Backoff;
use crate::io::ConnId;
use crate::time::MonoTime;

/// Between two tries to open the next link: at least, and at most.
pub(crate) const REDIAL_MIN: Duration = Duration::from_millis(250);
const REDIAL_MAX: Duration = Duration::from_millis(1_500);

/// A current link, and at most one next one.
#[derive(Debug)]
pub(crate) struct Links {
    pub(crate) current: Link,
    pub(crate) next: Option<Next>,
    /// Between tries to open the next link.
    pub(crate) redial: Backoff,
}

/// How far the move to the next link has come.
#[derive(Debug)]
pub(crate) enum Next {
    /// It is opened then.
    Planned { at: MonoTime },
    /// The application is asked for a token for it.
    FetchingToken,
    /// The driver opens it, or channels ask on it. `by`: when that has lasted too long.
    Link { link: Link, by: Option<MonoTime> },
}

impl Links {
    pub(crate) const fn new(current: Link) -> Self {
        let step = Duration::from_millis(250);
        Self {
            current,
            next: None,
            // The least is the floor of each delay.
            redial: Backoff::new(step, REDIAL_MAX.saturating_sub(REDIAL_MIN)),
        }
    }

    /// The next link, once the driver was asked to open it.
    pub(crate) const fn next_link(&self) -> Option<&Link> {
        match &self.next {
            Some(Next::Link { link, .. }) => Some(link),
            _ => None,
        }
    }

    /// The next link, once channels can ask on it.
    pub(crate) fn next_welcomed(&self) -> Option<ConnId> {
        let link = self.next_link()?;
        link.welcomed().map(|_| link.conn)
    }

    pub(crate) fn is_next(&self, conn: ConnId) -> bool {
        self.next_link().is_some_and(|link| link.conn == conn)
    }

    pub(crate) fn each_mut(&mut self) -> impl Iterator<Item = &mut Link> {
        let next = match &mut self.next {
            Some(Next::Link { link, .. }) => Some(link),
            _ => None,
        };
        std::iter::once(&mut self.current).chain(next)
    }

    pub(crate) fn each(&self) -> impl Iterator<Item = &Link> {
        std::iter::once(&self.current).chain(self.next_link())
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&Link> {
        self.each().find(|link| link.conn == conn)
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Link> {
        self.each_mut().find(|link| link.conn == conn)
    }

    /// What is known of the current link, once it is welcomed.
    pub(crate) fn welcomed_mut(&mut self) -> Option<&mut Welcomed> {
        self.current.welcomed_mut()
    }

    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        let step = match &self.next {
            Some(Next::Planned { at }) => Some(*at),
            Some(Next::Link { by, .. }) => *by,
            Some(Next::FetchingToken) | None => None,
        };
        let token = self.current.welcomed();
        let token = token.and_then(|welcomed| welcomed.renewal.deadline());
        let links = self.each().filter_map(Link::deadline);
        let leave = self.current.leave().filter(|leave| leave.dial_at.is_none());
        let leave_at = leave.map(|leave| leave.leave_at);
        links.chain(step).chain(token).chain(leave_at).min()
    }
}
