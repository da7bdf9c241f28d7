//! The output queue, and the message that is being filled for the link.

use std::collections::VecDeque;

use bytes::BytesMut;

use super::input::ConnId;
use super::output::{Event, Output};
use crate::wire::{ClientKind, CloseCode, Codec};

/// Collects outputs. All frames of one turn go out in as few messages as the frame limit allows.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    codec: Codec,
    queue: VecDeque<Output>,
    link: Option<ConnId>,
    message: BytesMut,
    message_bytes_max: usize,
}

impl Outbound {
    pub(crate) fn new(codec: Codec) -> Self {
        Self {
            codec,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, output: Output) {
        self.queue.push_back(output);
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.push(Output::Event(event));
    }

    /// From now on frames go to this link.
    pub(crate) fn attach(&mut self, link: ConnId, message_bytes_max: usize) {
        self.flush();
        self.link = Some(link);
        self.message_bytes_max = message_bytes_max;
    }

    /// Appends a frame to the message; dropped when there is no link, the next one starts clean.
    pub(crate) fn frame(&mut self, kind: ClientKind) {
        if self.link.is_none() {
            return;
        }
        let mut next = BytesMut::new();
        self.codec.encode_client(kind, &mut next);
        if self.message.len() + next.len() > self.message_bytes_max {
            self.flush();
        }
        if self.message.is_empty() {
            self.message = next;
        } else {
            self.codec.append(&next, &mut self.message);
        }
    }

    /// Sends what was appended, then closes the link.
    pub(crate) fn close(&mut self, code: CloseCode) {
        self.flush();
        if let Some(conn) = self.link.take() {
            self.push(Output::Close { conn, code });
        }
    }

    /// The link is gone by itself: so are the frames for it.
    pub(crate) fn detach(&mut self) {
        self.link = None;
        self.message.clear();
    }

    /// Leaves the message that is being filled as it is.
    pub(crate) fn poll_ready(&mut self) -> Option<Output> {
        self.queue.pop_front()
    }

    pub(crate) fn poll(&mut self) -> Option<Output> {
        if self.queue.is_empty() {
            self.flush();
        }
        self.queue.pop_front()
    }

    fn flush(&mut self) {
        if let Some(conn) = self.link
            && !self.message.is_empty()
        {
            let message = self.message.split().freeze();
            self.queue.push_back(Output::Send { conn, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ClientKind, Ping};

    #[test]
    fn frames_share_a_message_up_to_the_limit() {
        for &codec in Codec::ALL {
            let mut out = Outbound::new(codec);
            let mut ping = BytesMut::new();
            codec.encode_client(ClientKind::Ping(Ping { t: 1 }), &mut ping);
            out.attach(ConnId(1), 2 * ping.len());
            for t in 1..=3 {
                out.frame(ClientKind::Ping(Ping { t }));
            }
            let mut counts = Vec::new();
            while let Some(Output::Send { message, .. }) = out.poll() {
                assert!(message.len() <= 2 * ping.len());
                counts.push(codec.decode_client(message, 100).unwrap().len());
            }
            assert_eq!(counts, [2, 1], "{codec:?}");
            out.attach(ConnId(2), 1);
            out.frame(ClientKind::Ping(Ping { t: 4 }));
            assert!(
                matches!(out.poll(), Some(Output::Send { .. })),
                "one goes alone"
            );
            assert!(out.poll().is_none());
        }
    }
}
