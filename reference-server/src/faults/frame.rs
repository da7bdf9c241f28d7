//! What a rule sees of a frame: its kind, its channel, its numbers.

use serde::{Deserialize, Serialize};
use tidewire_core::wire::{ClientKind, Cursor, ServerKind};

/// Which way a frame travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From a client to the server.
    Up,
    /// From the server to a client.
    Down,
}

/// The kinds of frames, named as in the published schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "docs/protocol.md has a table of every frame")]
pub enum FrameKind {
    Hello,
    Subscribe,
    Unsubscribe,
    Fetch,
    Push,
    Call,
    Publish,
    PresenceSet,
    Refresh,
    Ping,
    Pong,
    Welcome,
    Resume,
    SnapshotBegin,
    SnapshotPart,
    SnapshotEnd,
    Patch,
    Ack,
    Need,
    Hold,
    StaleEpoch,
    Lagged,
    Reply,
    Message,
    Presence,
    Goaway,
    Heartbeat,
    Refreshed,
    Error,
    // Younger than the first release: what a plan does to the others depends on their places.
    History,
    Page,
}

/// What rules match on, and what is told about a frame that was struck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen<'a> {
    pub(super) kind: FrameKind,
    pub(super) channel: Option<&'a str>,
    /// Where in the channel's log: of a patch its last entry.
    pub(super) seq: Option<u64>,
    /// Which of its author's mutations: of a push the first one, of an ack the last one.
    pub(super) n: Option<u64>,
}

impl<'a> Seen<'a> {
    const fn bare(kind: FrameKind) -> Self {
        Self {
            kind,
            channel: None,
            seq: None,
            n: None,
        }
    }

    const fn on(kind: FrameKind, channel: &'a str) -> Self {
        Self {
            channel: Some(channel),
            ..Self::bare(kind)
        }
    }

    const fn at(mut self, seq: u64) -> Self {
        self.seq = Some(seq);
        self
    }

    fn at_cursor(self, cursor: Option<Cursor>) -> Self {
        match cursor {
            Some(cursor) => self.at(cursor.seq),
            None => self,
        }
    }

    const fn of(mut self, n: u64) -> Self {
        self.n = Some(n);
        self
    }

    pub(super) fn client(frame: &'a ClientKind) -> Self {
        use FrameKind as K;
        match frame {
            ClientKind::Hello(_) => Self::bare(K::Hello),
            ClientKind::Subscribe(f) => Self::on(K::Subscribe, &f.channel).at_cursor(f.have),
            ClientKind::Unsubscribe(f) => Self::on(K::Unsubscribe, &f.channel),
            ClientKind::Fetch(f) => Self::on(K::Fetch, &f.channel).at(f.after),
            ClientKind::Push(f) => Self::on(K::Push, &f.channel).of(f.first_n),
            ClientKind::Call(_) => Self::bare(K::Call),
            ClientKind::Publish(f) => Self::on(K::Publish, &f.channel),
            ClientKind::PresenceSet(f) => Self::on(K::PresenceSet, &f.channel),
            ClientKind::Refresh(_) => Self::bare(K::Refresh),
            ClientKind::Ping(_) => Self::bare(K::Ping),
            ClientKind::Pong(_) => Self::bare(K::Pong),
            ClientKind::History(f) => Self::on(K::History, &f.channel),
        }
    }

    pub(super) fn server(frame: &'a ServerKind) -> Self {
        use FrameKind as K;
        match frame {
            ServerKind::Pong(_) => Self::bare(K::Pong),
            ServerKind::Welcome(_) => Self::bare(K::Welcome),
            ServerKind::Resume(f) => Self::on(K::Resume, &f.channel).at_cursor(f.head),
            ServerKind::SnapshotBegin(f) => {
                Self::on(K::SnapshotBegin, &f.channel).at_cursor(f.cursor)
            }
            ServerKind::SnapshotPart(f) => Self::on(K::SnapshotPart, &f.channel),
            ServerKind::SnapshotEnd(f) => Self::on(K::SnapshotEnd, &f.channel),
            ServerKind::Patch(f) => Self::on(K::Patch, &f.channel).at(f.to),
            ServerKind::Ack(f) => Self::on(K::Ack, &f.channel).at(f.seq).of(f.through),
            ServerKind::Need(f) => Self::on(K::Need, &f.channel).of(f.n),
            ServerKind::Hold(f) => Self::on(K::Hold, &f.channel),
            ServerKind::StaleEpoch(f) => Self::on(K::StaleEpoch, &f.channel),
            ServerKind::Lagged(f) => Self::on(K::Lagged, &f.channel),
            ServerKind::Reply(_) => Self::bare(K::Reply),
            ServerKind::Message(f) => Self::on(K::Message, &f.channel).at_cursor(f.cursor),
            ServerKind::Presence(f) => Self::on(K::Presence, &f.channel),
            ServerKind::Goaway(_) => Self::bare(K::Goaway),
            ServerKind::Heartbeat(_) => Self::bare(K::Heartbeat),
            ServerKind::Refreshed(_) => Self::bare(K::Refreshed),
            ServerKind::Page(f) => Self::on(K::Page, &f.channel),
            ServerKind::Error(f) => Self {
                channel: f.channel.as_deref(),
                n: f.n,
                ..Self::bare(K::Error)
            },
        }
    }
}
