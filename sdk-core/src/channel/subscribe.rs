//! Asking for the stream: when a channel subscribes, again and again if need be, and when it does not.
//!
//! Invariant: subscribes that follow each other closely keep a growing distance, whatever a server does.

use std::time::Duration;

use bytes::Bytes;

use super::{Channel, ChannelState, Turn};
use crate::io::{ConnId, Event, Output};
use crate::mutation::OutboxRequest;
use crate::planted;
use crate::wire::{ClientKind, ErrorCode, Subscribe, Unsubscribe};

/// First and longest delay between subscribes that follow each other closely.
pub(super) const RESUBSCRIBE_BASE: Duration = Duration::from_millis(200);
pub(super) const RESUBSCRIBE_MAX: Duration = Duration::from_secs(10);
/// A subscribe this long after the last one is free of delay.
const RESUBSCRIBE_CALM: Duration = Duration::from_secs(5);

impl Channel {
    /// A welcomed link is there: subscribe at once.
    pub(crate) fn handle_connected(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        self.set_link(turn, Some(conn));
        if self.loaded && matches!(self.state, ChannelState::Idle | ChannelState::Backoff) {
            self.drop_oversized(turn);
            self.pacing.reset();
            self.subscribe(turn);
        }
    }

    /// The link is gone, and with it the stream, its parts and its pushes.
    pub(crate) fn handle_disconnected(&mut self, turn: &mut Turn<'_>) {
        self.ask = None;
        self.set_link(turn, None);
        match self.state {
            ChannelState::Idle | ChannelState::Suspended | ChannelState::Failed => {}
            _ => self.leave_stream(turn, ChannelState::Backoff),
        }
    }

    /// Ends the subscription: the server refuses it for good.
    pub(crate) fn fail(&mut self, turn: &mut Turn<'_>, code: ErrorCode, detail: String) {
        if self.state == ChannelState::Failed {
            return;
        }
        if self.ask.is_some() {
            // Refused on one link, it goes on on the other one.
            self.tell_unsubscribed(turn);
        }
        self.leave_stream(turn, ChannelState::Failed);
        self.status = super::ChannelStatus::Failed {
            code,
            detail: detail.clone(),
        };
        self.delay = None;
        self.tell_status(turn);
        self.give_up_all(turn, code, &detail);
    }

    /// The application subscribes to a failed channel once more, or takes up one that it let go.
    pub(crate) fn revive(&mut self, turn: &mut Turn<'_>) {
        self.released = false;
        if self.state == ChannelState::Failed {
            self.state = ChannelState::Idle;
            self.status = super::ChannelStatus::Loading;
            self.refresh_status(turn);
            if turn.linked {
                self.subscribe(turn);
            }
        }
    }

    /// The application wants nothing from the channel for a while. What it mutates meanwhile waits.
    pub(crate) fn pause(&mut self, turn: &mut Turn<'_>) {
        if matches!(self.state, ChannelState::Suspended | ChannelState::Failed) {
            return;
        }
        self.tell_unsubscribed(turn);
        self.leave_stream(turn, ChannelState::Suspended);
    }

    /// The pause is over. However often an application pauses, subscribes keep their distance.
    pub(crate) fn resume(&mut self, turn: &mut Turn<'_>) {
        if self.state != ChannelState::Suspended {
            return;
        }
        self.state = ChannelState::Backoff;
        if turn.linked && self.loaded {
            self.resubscribe(turn);
        }
    }

    pub(super) fn subscribe(&mut self, turn: &mut Turn<'_>) {
        self.close_stream();
        self.subscribed_at = Some(turn.now);
        self.counts.subscribes += 1;
        self.state = ChannelState::Subscribing;
        self.expect_progress(turn);
        turn.out.frame(self.subscribe_frame());
        self.refresh_status(turn);
    }

    /// What asks for the stream from the base on.
    pub(super) fn subscribe_frame(&self) -> ClientKind {
        ClientKind::Subscribe(Subscribe {
            channel: self.name.to_string(),
            have: self.applied,
            max_epoch: if planted!(ClaimNotSent) {
                0
            } else {
                self.max_epoch
            },
            proof: if planted!(ProofNotReturned) {
                Bytes::new()
            } else {
                self.proof.clone()
            },
            ..Subscribe::default()
        })
    }

    /// Subscribes again: at once if the last time is long ago, else after a growing delay. No fault of
    /// the server can make a channel spin.
    pub(super) fn resubscribe(&mut self, turn: &mut Turn<'_>) {
        let calm = self
            .subscribed_at
            .is_none_or(|at| turn.now.since(at) >= RESUBSCRIBE_CALM);
        if calm {
            self.pacing.reset();
        }
        if self.pacing.attempts() == 0 {
            // Counts this one, so that the next in a row waits.
            let _ = self.pacing.next_delay(None, turn.rng);
            self.subscribe(turn);
            return;
        }
        let delay = self.pacing.next_delay(Some(RESUBSCRIBE_BASE), turn.rng);
        self.close_stream();
        self.state = ChannelState::Backoff;
        self.subscribe_at = Some(turn.now + delay);
        self.refresh_status(turn);
    }

    /// The server need not send anything any more, on whatever link.
    fn tell_unsubscribed(&self, turn: &mut Turn<'_>) {
        turn.out.frame_on_all(ClientKind::Unsubscribe(Unsubscribe {
            channel: self.name.to_string(),
        }));
    }

    /// No stream any more, and nobody in it.
    fn leave_stream(&mut self, turn: &mut Turn<'_>, to: ChannelState) {
        self.ask = None;
        self.close_stream();
        self.state = to;
        if self.presence.on_disconnected() {
            turn.out.event(Event::Presence { channel: self.id });
        }
        self.refresh_status(turn);
    }

    /// Which epoch an answer announced, and what proves it.
    pub(super) fn announced(&mut self, turn: &mut Turn<'_>, epoch: u64, proof: &[u8]) {
        let is_news = epoch > self.kept_epoch || !proof.is_empty() && *proof != *self.proof;
        if epoch != self.max_epoch || !proof.is_empty() {
            // A copy: the message that it came in may be large.
            self.proof = Bytes::copy_from_slice(proof);
        }
        if epoch > self.max_epoch && !planted!(SentByOldReading) {
            self.queue.read_again();
        }
        self.max_epoch = epoch;
        self.delay = None;
        self.foreign_since = None;
        if is_news {
            // Before any outcome that was seen in it.
            self.keep_epoch(turn, epoch, 0);
        }
    }

    /// Has the store keep an epoch and its proof, even in the place of a higher one that was given up.
    pub(super) fn keep_epoch(&mut self, turn: &mut Turn<'_>, epoch: u64, given_up: u64) {
        self.kept_epoch = epoch;
        turn.out.push(Output::Outbox(OutboxRequest::KeepEpoch {
            channel: self.name.clone(),
            epoch,
            proof: self.proof.clone(),
            given_up,
        }));
    }

    /// The store keeps the highest epoch that any session has seen. A log of a lower one is another log: the
    /// server is told, and opens a higher one.
    pub(crate) fn handle_kept(&mut self, turn: &mut Turn<'_>, epoch: u64, proof: Bytes) {
        if epoch <= self.max_epoch || planted!(EpochsOfOthersIgnored) {
            return;
        }
        self.queue.read_again();
        self.max_epoch = epoch;
        self.proof = proof;
        if self.state.is_streaming() || self.state.is_asking() {
            self.resubscribe(turn);
        }
    }

    /// What belonged to one stream: its parts, what waits in it, its pushes and its clocks.
    pub(super) fn close_stream(&mut self) {
        // One that was asked for on the next link goes on.
        self.ask.take_if(|ask| self.link == Some(ask.conn));
        self.pusher.close();
        self.incoming = None;
        self.reorder.clear();
        self.gap.restart();
        self.recovery = None;
        self.subscribe_at = None;
        self.progress_by = None;
    }
}
