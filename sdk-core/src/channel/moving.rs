//! Moving to the next link without a gap: a subscribe beside the stream, and which answer to it counts
//! (docs/protocol.md §5).
//!
//! Invariant: until an answer counts, the link before goes on in everything; the base moves only along
//! the log, whichever link brings a patch. So whatever the next link does costs time at most.

use std::time::Duration;

use super::presence::Presence;
use super::snapshot::{IncomingSnapshot, Progress};
use super::stream::Place;
use super::subscribe::{RESUBSCRIBE_BASE, RESUBSCRIBE_MAX};
use super::{Channel, ChannelState, Turn, Violation};
use crate::connect::Backoff;
use crate::io::{ConnId, Event};
use crate::planted;
use crate::time::MonoTime;
use crate::wire::{
    Cursor, ErrorCode, Known, PartInPlace, PatchInPlace, Resume, ServerKind, SnapshotBegin,
};

/// How long pushes on the link before may still be answered before they go again on the next one.
const ELSEWHERE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a frame of a link is to a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The link carries the stream.
    Stream,
    /// It was asked to, and no answer has counted yet.
    Asked,
    /// The stream has moved away from it, or has never been there.
    Other,
}

/// A subscribe on the next link.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) conn: ConnId,
    /// What the server's clock showed at least when it was sent.
    incoming: Option<IncomingSnapshot>,
    /// It counts once the base is at its head.
    answer: Option<Resume>,
    /// Whom the next link has said to be present.
    presence: Option<Presence>,
    /// It is sent again then.
    again_at: Option<MonoTime>,
    pacing: Backoff,
}

impl Channel {
    /// The link that carries the stream.
    pub(crate) const fn link(&self) -> Option<ConnId> {
        self.link
    }

    pub(crate) fn role(&self, conn: ConnId) -> Role {
        match &self.ask {
            Some(ask) if ask.conn == conn => Role::Asked,
            _ if self.link == Some(conn) => Role::Stream,
            _ => Role::Other,
        }
    }

    /// Whether nothing keeps the link before: it is not asked for answers on the next one, nor is there
    /// anything that only it can answer.
    pub(crate) fn has_moved(&self) -> bool {
        self.ask.is_none() && !self.pusher.waits_elsewhere()
    }

    /// From now on the stream is on this link.
    pub(super) const fn set_link(&mut self, turn: &mut Turn<'_>, conn: Option<ConnId>) {
        self.link = conn;
        turn.linked = conn.is_some();
        turn.out.aim(conn);
    }

    // --------------------------------------------------------------- the session

    /// The next link was welcomed, or the channel wants a stream while there is one.
    pub(crate) fn ask_on(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let wants =
            self.loaded && !matches!(self.state, ChannelState::Suspended | ChannelState::Failed);
        if wants && self.role(conn) == Role::Other {
            self.ask = Some(Box::new(Ask {
                conn,
                incoming: None,
                answer: None,
                presence: None,
                again_at: None,
                pacing: Backoff::new(RESUBSCRIBE_BASE, RESUBSCRIBE_MAX),
            }));
            self.send_ask(turn);
        }
    }

    /// The next link is gone: whatever had moved there comes back.
    pub(crate) fn handle_next_gone(&mut self, turn: &mut Turn<'_>, gone: ConnId, current: ConnId) {
        if self.link == Some(gone) {
            self.handle_disconnected(turn);
            self.handle_connected(turn, current);
        }
        self.ask = None;
    }

    /// The next link is the session's link from now on. An ask without an answer stands.
    pub(crate) fn handle_moved(&mut self, turn: &mut Turn<'_>, conn: ConnId) {
        let stands = |ask: &Ask| ask.conn == conn && ask.again_at.is_none();
        if self.ask.as_deref().is_some_and(stands) {
            self.close_stream();
            self.set_link(turn, Some(conn));
            self.subscribed_at = Some(turn.now);
            self.state = ChannelState::Subscribing;
            self.expect_progress(turn);
            if self.presence.on_disconnected() {
                turn.out.event(Event::Presence { channel: self.id });
            }
            // An answer that waited for the base is one by now.
            let _ = self.finish_ask(turn);
            self.refresh_status(turn);
        } else if self.link != Some(conn) {
            self.handle_disconnected(turn);
            self.handle_connected(turn, conn);
        }
        self.drop_oversized(turn);
    }

    // ----------------------------------------------------------------------- time

    pub(super) fn ask_deadline(&self) -> Option<MonoTime> {
        self.ask.as_ref()?.again_at
    }

    pub(super) fn ask_if_due(&mut self, turn: &mut Turn<'_>) {
        if self.ask_deadline().is_some_and(|at| turn.now >= at) {
            self.send_ask(turn);
        }
    }

    fn send_ask(&mut self, turn: &mut Turn<'_>) {
        let frame = self.subscribe_frame();
        if let Some(ask) = &mut self.ask {
            ask.incoming = None;
            ask.answer = None;
            ask.again_at = None;
            self.counts.subscribes += 1;
            turn.out.frame_on(ask.conn, frame);
        }
    }

    /// The answer does not count: asks once more, with the base as it is now. The first time at once.
    fn ask_again(&mut self, turn: &mut Turn<'_>, floor: Option<Duration>) {
        let Some(ask) = &mut self.ask else {
            return;
        };
        if self.link == Some(ask.conn) {
            // There is no stream beside it any more.
            self.resubscribe(turn);
            return;
        }
        let is_first = ask.pacing.attempts() == 0 && floor.is_none();
        let floor = floor.unwrap_or_default().max(RESUBSCRIBE_BASE);
        let delay = ask.pacing.next_delay(Some(floor), turn.rng);
        if is_first {
            self.send_ask(turn);
        } else {
            ask.incoming = None;
            ask.answer = None;
            ask.again_at = Some(turn.now + delay);
        }
    }

    // --------------------------------------------------------------------- frames

    /// A patch of a link that does not carry the stream. The tags of the log say where it fits; what
    /// does not is the matter of the link that carries it.
    pub(crate) fn handle_patch_beside(
        &mut self,
        turn: &mut Turn<'_>,
        patch: &PatchInPlace<'_>,
    ) -> Result<(), Violation> {
        if patch.from >= patch.to {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        }
        let base = self.applied.filter(|_| self.state.is_streaming());
        if let Some(base) = base
            && patch.epoch == base.epoch
            && matches!(self.place(patch, base), Place::Next)
        {
            self.apply(turn, patch)?;
            self.advance(turn)?;
            self.send_ready(turn);
        }
        Ok(())
    }

    /// A part of a snapshot on the next link.
    pub(crate) fn handle_part_beside(
        &mut self,
        turn: &mut Turn<'_>,
        part: &PartInPlace<'_>,
    ) -> Result<(), Violation> {
        let bytes_max = turn.config.snapshot_bytes_max;
        let incoming = self.ask.as_mut().and_then(|ask| ask.incoming.as_mut());
        match incoming.map(|incoming| incoming.add(part, bytes_max)) {
            Some(progress) => self.judge_snapshot(turn, progress),
            None => Ok(()),
        }
    }

    /// Any other frame of the next link that names this channel.
    pub(crate) fn handle_frame_beside(
        &mut self,
        turn: &mut Turn<'_>,
        frame: ServerKind,
    ) -> Result<(), Violation> {
        let Some(ask) = &mut self.ask else {
            return Ok(());
        };
        match frame {
            ServerKind::Resume(resume) => self.judge_resume(turn, resume),
            ServerKind::SnapshotBegin(begin) => self.begin_snapshot_beside(turn, begin),
            ServerKind::SnapshotEnd(end) => {
                match ask.incoming.as_mut().map(|incoming| incoming.finish(end)) {
                    Some(progress) => self.judge_snapshot(turn, progress),
                    None => Ok(()),
                }
            }
            ServerKind::Presence(presence) => {
                if presence.full {
                    ask.presence = Some(Presence::default());
                }
                if let Some(known) = &mut ask.presence {
                    known.on_frame(presence);
                }
                Ok(())
            }
            // The stream that was answered has a hole. While nothing was, it is about an older one.
            ServerKind::Lagged(_) if ask.answer.is_some() || ask.incoming.is_some() => {
                self.ask_again(turn, None);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether a subscribe on this link has no stream beside it any more.
    pub(crate) fn asks_alone(&self, conn: ConnId) -> bool {
        self.ask.is_some() && self.link == Some(conn)
    }

    /// The next link cannot take the channel now.
    pub(crate) fn handle_ask_refused(&mut self, turn: &mut Turn<'_>, retry: Option<Duration>) {
        if retry.is_some() {
            self.ask_again(turn, retry);
        }
    }

    // -------------------------------------------------------------------- answers

    /// A resume counts if its log is the base's: its head is of the base's epoch, or it starts where the
    /// base stands. Of another epoch from elsewhere the base may be off that line.
    fn judge_resume(&mut self, turn: &mut Turn<'_>, resume: Resume) -> Result<(), Violation> {
        let (Some(from), Some(head), Some(known)) = (resume.from, resume.head, &resume.known)
        else {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        };
        if head.epoch < from.epoch || head.seq < from.seq {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        }
        let Some(base) = self.applied else {
            self.ask_again(turn, None);
            return Ok(());
        };
        let is_of_its_log =
            head.epoch == base.epoch || from == base || planted!(AnswerOfOtherEpochCounts);
        if head.epoch < self.max_epoch || !is_of_its_log {
            self.ask_again(turn, None);
            return Ok(());
        }
        // The stream beside may have told more by now; a row that was evicted is none.
        let last = match known.last > 0 && head.epoch == self.max_epoch {
            true => known.last.max(self.known_last),
            false => known.last,
        };
        let is_ahead = head.epoch == base.epoch && head.order() > base.order();
        if self.state == ChannelState::Live && is_ahead {
            // Live means at the head that the answer names: the base gets there first, by either link.
            if let Some(ask) = &mut self.ask {
                ask.answer = Some(resume);
            }
            return Ok(());
        }
        let known = Known {
            last,
            ..known.clone()
        };
        self.take_ask(turn);
        self.begin_stream(turn, base, head, &known, &resume.proof)?;
        self.refresh_status(turn);
        self.send_ready(turn);
        Ok(())
    }

    /// The base moved, or the stream ended: the answer that waited for that is looked at again.
    pub(crate) fn finish_ask(&mut self, turn: &mut Turn<'_>) -> Result<(), Violation> {
        match self.ask.as_mut().and_then(|ask| ask.answer.take()) {
            Some(resume) => self.judge_resume(turn, resume),
            None => Ok(()),
        }
    }

    fn begin_snapshot_beside(
        &mut self,
        turn: &mut Turn<'_>,
        begin: SnapshotBegin,
    ) -> Result<(), Violation> {
        let Some(incoming) = IncomingSnapshot::new(begin) else {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        };
        let begun = self.ask.as_mut().and_then(|ask| ask.incoming.as_mut());
        if let Some(begun) = begun
            && begun.cursor.order() >= incoming.cursor.order()
        {
            // A copy, or an older one: its parts are welcome all the same.
            begun.raise_head(incoming.head);
            return Ok(());
        }
        self.counts.snapshots += 1;
        if !self.may_become_base(incoming.cursor) {
            self.ask_again(turn, None);
        } else if let Some(ask) = &mut self.ask {
            ask.incoming = Some(incoming);
            self.expect_progress_of_ask(turn);
        }
        Ok(())
    }

    fn judge_snapshot(&mut self, turn: &mut Turn<'_>, progress: Progress) -> Result<(), Violation> {
        match progress {
            Progress::Repeated | Progress::Awaiting => {}
            Progress::Grown => self.expect_progress_of_ask(turn),
            Progress::Damaged => self.ask_again(turn, None),
            Progress::TooLarge => {
                let detail = "the snapshot is larger than this client takes".to_owned();
                self.fail(turn, ErrorCode::TooLarge, detail);
            }
            Progress::Whole => {
                let incoming = self.ask.as_mut().and_then(|ask| ask.incoming.take());
                let Some(incoming) = incoming else {
                    return Ok(());
                };
                // The base may have passed it meanwhile.
                if !self.may_become_base(incoming.cursor) {
                    self.ask_again(turn, None);
                    return Ok(());
                }
                self.take_ask(turn);
                self.incoming = Some(incoming);
                self.swap(turn)?;
                self.refresh_status(turn);
                self.send_ready(turn);
            }
        }
        Ok(())
    }

    /// Whether a snapshot of the next link may take the place of the base.
    fn may_become_base(&self, cursor: Cursor) -> bool {
        let is_older = cursor.epoch < self.max_epoch;
        let below = self.applied.filter(|base| cursor.order() < base.order());
        let is_below = below.is_some() && !planted!(BaseGoesBack);
        !is_older && !is_below
    }

    /// Without a stream beside it an ask is a subscribe like any other.
    fn expect_progress_of_ask(&mut self, turn: &Turn<'_>) {
        if self
            .ask
            .as_ref()
            .is_some_and(|ask| self.link == Some(ask.conn))
        {
            self.expect_progress(turn);
        }
    }

    /// An answer counts: the stream is on the next link now, and what the one before says about it no
    /// longer concerns it, but for patches that fit.
    fn take_ask(&mut self, turn: &mut Turn<'_>) {
        let Some(ask) = self.ask.take() else {
            return;
        };
        self.set_link(turn, Some(ask.conn));
        self.pusher.change_link(turn.now + ELSEWHERE_TIMEOUT);
        self.incoming = None;
        self.subscribe_at = None;
        self.subscribed_at = Some(turn.now);
        if let Some(presence) = ask.presence {
            self.presence.take_peers(presence);
            turn.out.event(Event::Presence { channel: self.id });
        }
    }
}
