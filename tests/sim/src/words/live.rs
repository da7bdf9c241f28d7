//! `live`: the base has reached the head that the broker had when the node received the subscribe.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidewire_core::ConnId;
use tidewire_core::wire::{ServerKind, decode_server};

use crate::truth::{FactId, Truth};
use crate::violation::{Checked, ensure};

/// The subscribes of one client, and what its logs held when a node received them.
#[derive(Debug, Default)]
pub struct Asked {
    streams: BTreeMap<(ConnId, usize), Stream>,
}

/// The subscribes of one channel on one link.
#[derive(Debug, Default)]
struct Stream {
    /// The head of the log when the node received each; `None`: there was no log.
    heads: Vec<Option<FactId>>,
    answers: usize,
}

impl Asked {
    /// A node has received a `subscribe`.
    pub fn on_received(&mut self, conn: ConnId, channel: usize, head: Option<FactId>) {
        let stream = self.streams.entry((conn, channel)).or_default();
        stream.heads.push(head);
    }

    /// The client is about to handle a message: it may hold answers. `index` says which channel a name is.
    pub fn on_message(
        &mut self,
        conn: ConnId,
        message: &Bytes,
        index: impl Fn(&str) -> Option<usize>,
    ) {
        let newest = self.streams.range((conn, 0)..=(conn, usize::MAX));
        if !newest.into_iter().any(|(_, stream)| stream.is_waiting()) {
            return;
        }
        for frame in decode_server(message.clone(), usize::MAX).unwrap_or_default() {
            let channel = match &frame {
                ServerKind::Resume(resume) => index(&resume.channel),
                ServerKind::SnapshotBegin(begin) => index(&begin.channel),
                _ => None,
            };
            if let Some(channel) = channel
                && let Some(stream) = self.streams.get_mut(&(conn, channel))
            {
                stream.answers += 1;
            }
        }
    }

    /// The client says that a channel is live by a stream on this link, with this base. `in_order`: its
    /// links neither copy nor reorder, so that the k-th answer is to the k-th subscribe or to a later one;
    /// else it may be to any.
    pub fn check(
        &self,
        conn: Option<ConnId>,
        channel: usize,
        base: Option<FactId>,
        in_order: bool,
        truth: &Truth,
    ) -> Checked {
        let stream = conn.and_then(|conn| self.streams.get(&(conn, channel)));
        let Some(stream) = stream.filter(|stream| stream.answers > 0) else {
            return ensure(false, "live", || {
                format!("channel {channel} is called live, and no subscribe was answered")
            });
        };
        let at = if in_order { stream.answers - 1 } else { 0 };
        let Some(&Some(head)) = stream.heads.get(at.min(stream.heads.len() - 1)) else {
            return Ok(());
        };
        // What was lost since then need not be reached any more.
        let survives = truth
            .head(channel)
            .is_some_and(|end| truth.is_on_line(head, end));
        let reached = base.is_some_and(|base| truth.is_on_line(head, base));
        ensure(reached || !survives, "live", || {
            format!(
                "channel {channel} is called live at {:?}, the log was at {:?} when the node received the subscribe",
                base.map(|base| truth.fact(base).entry.cursor),
                truth.fact(head).entry.cursor,
            )
        })
    }
}

impl Stream {
    fn is_waiting(&self) -> bool {
        self.answers < self.heads.len()
    }
}
