//! A verdict says that a transport is of no use in this network: not that a server could not just then.

use tidewire_core::{ConnId, Input, Session, TransportKind, TransportVerdict};

use crate::violation::{Checked, ensure};

/// What one client's attempts have met, and what it made of that.
#[derive(Debug, Default)]
pub struct Verdicts {
    /// The last attempt over each transport, and whether it was told to come later.
    last: Vec<(TransportKind, ConnId, bool)>,
    known: Vec<TransportVerdict>,
}

impl Verdicts {
    /// The client begins an attempt.
    pub fn on_attempt(&mut self, conn: ConnId, kind: TransportKind) {
        self.last.retain(|(known, _, _)| *known != kind);
        self.last.push((kind, conn, false));
    }

    /// The client is about to hear this.
    pub fn on_input(&mut self, input: &Input) {
        let (conn, status) = match input {
            Input::Closed { conn, reason } => (conn, reason.http_status),
            Input::Response { conn, response, .. } => (conn, Some(response.status)),
            _ => return,
        };
        if matches!(status, Some(429 | 502 | 503 | 504)) {
            let mut last = self.last.iter_mut();
            if let Some((_, _, is_busy)) = last.find(|(_, of, _)| of == conn) {
                *is_busy = true;
            }
        }
    }

    /// After every turn of the core.
    pub fn check(&mut self, session: &Session) -> Checked {
        let verdicts = session.verdicts();
        for verdict in &verdicts {
            let is_new = !self.known.contains(verdict);
            let kind = verdict.kind;
            let was_busy = self.last.iter().any(|last| last.0 == kind && last.2);
            ensure(!is_new || !was_busy, "verdict", || {
                format!("{kind:?} counts as of no use, and the server was busy")
            })?;
        }
        self.known = verdicts;
        Ok(())
    }
}
