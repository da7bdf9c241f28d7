//! `loading`, `live`, `stale`, `pending` and `connected`: what was told last is what can be asked for, and
//! each word holds while it is said.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tidewire_core::wire::{ServerKind, decode_server};
use tidewire_core::{ChannelId, ChannelStatus, ConnId, ConnectionPhase, Event, Session};

use crate::violation::{Checked, ensure};

/// What one client was told.
#[derive(Debug, Default)]
pub struct Told {
    channels: BTreeMap<ChannelId, Said>,
    /// The links on which a `welcome` was handled and that nobody has closed.
    welcomed: BTreeSet<ConnId>,
}

/// What was said of one channel.
#[derive(Clone, Debug, Default)]
struct Said {
    last: Option<ChannelStatus>,
    was_live: bool,
}

impl Told {
    /// The client is about to handle a message.
    pub fn on_message(&mut self, conn: ConnId, message: &Bytes) {
        if self.welcomed.contains(&conn) {
            return;
        }
        let frames = decode_server(message.clone(), usize::MAX).unwrap_or_default();
        let is_welcome = |frame: &ServerKind| matches!(frame, ServerKind::Welcome(_));
        if frames.iter().any(is_welcome) {
            self.welcomed.insert(conn);
        }
    }

    /// A link is gone, or the client closes it.
    pub fn on_closed(&mut self, conn: ConnId) {
        self.welcomed.remove(&conn);
    }

    /// The application is told something.
    pub fn on_event(&mut self, event: &Event) -> Checked {
        let Event::Channel {
            channel, status, ..
        } = event
        else {
            return Ok(());
        };
        let said = self.channels.entry(*channel).or_default();
        said.was_live |= *status == ChannelStatus::Live;
        ensure(
            *status != ChannelStatus::Stale || said.was_live,
            "ready",
            || format!("{channel:?} has a view before it was ever at the head"),
        )?;
        said.last = Some(status.clone());
        Ok(())
    }

    /// After every turn of the core. `open_rows`: how many mutations have no outcome that was told.
    pub fn check(&self, session: &Session, channel: ChannelId, open_rows: usize) -> Checked {
        let Some(status) = session.status(channel) else {
            return Ok(());
        };
        let phase = session.connection().phase;
        let is_linked = matches!(
            phase,
            ConnectionPhase::Connected | ConnectionPhase::Draining
        );
        ensure(*status != ChannelStatus::Live || is_linked, "stale", || {
            format!("{channel:?} is live and the connection {phase:?}")
        })?;
        let last = self
            .channels
            .get(&channel)
            .and_then(|said| said.last.as_ref());
        // An application that tries a failed channel again knows that itself.
        let is_retry = matches!(last, Some(ChannelStatus::Failed { .. }));
        let is_told = last == Some(status)
            || (*status == ChannelStatus::Loading && (last.is_none() || is_retry));
        ensure(is_told, "stale", || {
            format!("{channel:?} is {status:?}, and {last:?} was told last")
        })?;
        let pending = session.pending(channel);
        ensure(pending == open_rows, "pending", || {
            format!("{channel:?} says {pending} pending, {open_rows} have no outcome")
        })
    }

    /// After every turn of the core.
    pub fn check_connection(&self, session: &Session) -> Checked {
        let phase = session.connection().phase;
        let is_welcomed = !self.welcomed.is_empty();
        ensure(
            phase != ConnectionPhase::Connected || is_welcomed,
            "connected",
            || "connected, and no link has a welcome".into(),
        )
    }
}
