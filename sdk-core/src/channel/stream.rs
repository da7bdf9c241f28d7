//! The stream of one subscription: answers to `subscribe`, patches in whatever order they come, holes.
//!
//! Invariant: the base moves only along the log. [`Channel::place`] is the one rule for that; a link may
//! drop, repeat and reorder frames, and one of an older stream may still arrive.

use super::gap::GAP_TIMEOUT;
use super::snapshot::{IncomingSnapshot, Progress};
use super::{Channel, ChannelState, Turn, Violation};
use crate::io::{Event, Recovery};
use crate::planted;
use crate::wire::{
    ClientKind, Cursor, ErrorCode, Fetch, Known, PartInPlace, PatchInPlace, Resume, SnapshotBegin,
    SnapshotEnd,
};

/// Snapshots that may begin without the channel getting live, before that is told and slowed down.
const SNAPSHOTS_MAX: u32 = 3;

/// Where a patch stands against the base.
pub(super) enum Place {
    /// It brings nothing new.
    Behind,
    /// It applies now.
    Next,
    /// Something is missing before it.
    Ahead,
    /// It is of another line of the log, or of an epoch that no answer has announced.
    Elsewhere,
}

impl Channel {
    pub(super) fn handle_resume(
        &mut self,
        turn: &mut Turn<'_>,
        resume: Resume,
    ) -> Result<(), Violation> {
        let (Some(from), Some(head), Some(known)) = (resume.from, resume.head, resume.known) else {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        };
        if head.epoch < from.epoch || head.seq < from.seq {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        }
        let left = self.applied.is_some_and(|at| from.order() < at.order());
        let late = left && head.epoch >= self.max_epoch;
        // Where a stream runs, and from a place that the base has left, this answers another subscribe.
        if !self.state.is_asking() || late {
            self.hear_answer(turn, head);
            return Ok(());
        }
        if head.epoch < self.max_epoch || self.applied != Some(from) {
            self.resubscribe(turn);
            return Ok(());
        }
        self.begin_stream(turn, from, head, &known, &resume.proof)
    }

    /// A resume counts: its log holds the base, so nothing of it is lost.
    pub(super) fn begin_stream(
        &mut self,
        turn: &mut Turn<'_>,
        base: Cursor,
        head: Cursor,
        known: &Known,
        proof: &[u8],
    ) -> Result<(), Violation> {
        self.incoming = None;
        self.head = head;
        self.announced(turn, head.epoch, proof);
        self.open_stream(head.epoch, known.last);
        self.settle_late(turn, known);
        let entries = head.seq.saturating_sub(base.seq);
        self.recovery = Some(if entries == 0 {
            Recovery::Resumed
        } else {
            Recovery::Replayed { entries }
        });
        self.state = ChannelState::CatchingUp;
        self.end_untold(turn);
        self.expect_progress(turn);
        self.advance(turn)
    }

    /// An answer that moves nothing. Of two subscribes on one link the first one's answer may have begun
    /// the stream, and this be the second one's: live waits for the head that it names, too.
    fn hear_answer(&mut self, turn: &mut Turn<'_>, head: Cursor) {
        self.ignore();
        if !self.state.is_streaming() || planted!(SecondAnswerIgnored) {
            return;
        }
        if head.epoch > self.max_epoch {
            self.resubscribe(turn);
            return;
        }
        if head.order() > self.head.order() {
            self.head = head;
        }
        // Not by `self.head`: a heartbeat, which does not end live, may have raised it before.
        let is_below = self.applied.is_some_and(|base| base.order() < head.order());
        if self.state == ChannelState::Live && is_below {
            self.state = ChannelState::CatchingUp;
            self.expect_progress(turn);
            self.refresh_status(turn);
        }
    }

    pub(super) fn handle_snapshot_begin(
        &mut self,
        turn: &mut Turn<'_>,
        begin: SnapshotBegin,
    ) -> Result<(), Violation> {
        let Some(incoming) = IncomingSnapshot::new(begin) else {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        };
        let (cursor, head) = (incoming.cursor, incoming.head);
        let reaches = |at: Option<Cursor>| at.is_some_and(|at| at.order() >= cursor.order());
        let late = match self.state {
            // A copy, or an older one: its parts are welcome all the same.
            ChannelState::Snapshotting => reaches(self.incoming.as_ref().map(|i| i.cursor)),
            state if state.is_streaming() => cursor.epoch < self.max_epoch || reaches(self.applied),
            _ => false,
        };
        if late {
            if let Some(begun) = &mut self.incoming {
                begun.raise_head(head);
            }
            self.hear_answer(turn, head);
            return Ok(());
        }
        self.snapshots += 1;
        self.counts.snapshots += 1;
        let below_own = self
            .applied
            .is_some_and(|applied| cursor.order() < applied.order());
        if cursor.epoch < self.max_epoch || below_own || self.snapshots > SNAPSHOTS_MAX {
            if self.snapshots > SNAPSHOTS_MAX {
                // Told once per three; after the pause of the resubscribe they may well arrive.
                self.snapshots = 0;
                turn.out.event(Event::Warning {
                    channel: Some(self.id),
                    code: ErrorCode::RecoveryRequired,
                    detail: "three snapshots in a row did not arrive whole".into(),
                });
            }
            self.resubscribe(turn);
            return Ok(());
        }
        self.pusher.close();
        self.incoming = Some(incoming);
        self.state = ChannelState::Snapshotting;
        self.expect_progress(turn);
        self.refresh_status(turn);
        Ok(())
    }

    pub(super) fn take_snapshot_part(
        &mut self,
        turn: &mut Turn<'_>,
        part: &PartInPlace<'_>,
    ) -> Result<(), Violation> {
        let Some(incoming) = &mut self.incoming else {
            self.ignore();
            return Ok(());
        };
        let progress = incoming.add(part, turn.config.snapshot_bytes_max);
        self.handle_snapshot_progress(turn, progress)
    }

    pub(super) fn handle_snapshot_end(
        &mut self,
        turn: &mut Turn<'_>,
        end: SnapshotEnd,
    ) -> Result<(), Violation> {
        let Some(incoming) = &mut self.incoming else {
            self.ignore();
            return Ok(());
        };
        let progress = incoming.finish(end);
        if progress == Progress::Awaiting {
            // What the end overtook is near; what was dropped never comes.
            self.progress_by = Some(turn.now + GAP_TIMEOUT);
        }
        self.handle_snapshot_progress(turn, progress)
    }

    fn handle_snapshot_progress(
        &mut self,
        turn: &mut Turn<'_>,
        progress: Progress,
    ) -> Result<(), Violation> {
        match progress {
            Progress::Repeated => self.ignore(),
            Progress::Grown => self.expect_progress(turn),
            Progress::Awaiting => {}
            Progress::Damaged => self.resubscribe(turn),
            Progress::TooLarge => {
                let detail = "the snapshot is larger than this client takes".to_owned();
                self.fail(turn, ErrorCode::TooLarge, detail);
            }
            Progress::Whole => return self.swap(turn),
        }
        Ok(())
    }

    /// The snapshot becomes the base.
    pub(super) fn swap(&mut self, turn: &mut Turn<'_>) -> Result<(), Violation> {
        let Some(incoming) = self.incoming.take() else {
            return Ok(());
        };
        let (cursor, head, proof) = (incoming.cursor, incoming.head, incoming.proof.clone());
        let (known, document) = incoming.into_document();
        let lower = self.applied.filter(|from| from.epoch < cursor.epoch);
        let from = self.given_up.take().or(lower);
        if let Some(from) = from
            && !planted!(HistoryLossUntold)
        {
            turn.out.event(Event::HistoryLost {
                channel: self.id,
                from,
                to: cursor,
            });
        }
        self.announced(turn, cursor.epoch, &proof);
        self.applied = Some(cursor);
        self.head = if planted!(SnapshotTakenForHead) {
            cursor
        } else {
            head
        };
        let last = known.last;
        self.settle_known(turn, &known, document);
        self.open_stream(cursor.epoch, last);
        self.recovery = Some(Recovery::Snapshot);
        self.state = ChannelState::CatchingUp;
        self.end_untold(turn);
        self.expect_progress(turn);
        self.advance(turn)
    }

    pub(super) fn take_patch(
        &mut self,
        turn: &mut Turn<'_>,
        patch: &PatchInPlace<'_>,
    ) -> Result<(), Violation> {
        if patch.from >= patch.to {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        }
        if self.state.is_asking() {
            self.keep_until_answered(patch);
            return Ok(());
        }
        let Some(applied) = self.applied.filter(|_| self.state.is_streaming()) else {
            self.ignore();
            return Ok(());
        };
        match self.place(patch, applied) {
            Place::Behind => self.ignore(),
            Place::Elsewhere => self.resubscribe(turn),
            Place::Next => {
                self.apply(turn, patch)?;
                self.advance(turn)?;
            }
            Place::Ahead => {
                if self.reorder.insert(patch).is_err() {
                    self.resubscribe(turn);
                    return Ok(());
                }
                self.counts.buffered += 1;
                self.advance(turn)?;
            }
        }
        Ok(())
    }

    /// What comes before the answer may belong to an older stream or have overtaken the answer. Policy
    /// when the buffer is full: it is dropped, and the hole found once the stream runs.
    fn keep_until_answered(&mut self, patch: &PatchInPlace<'_>) {
        let passed = self
            .applied
            .is_some_and(|at| patch.epoch <= at.epoch && patch.to <= at.seq);
        if passed || self.reorder.insert(patch).is_err() {
            self.ignore();
        } else {
            self.counts.buffered += 1;
        }
    }

    pub(super) fn place(&self, patch: &PatchInPlace<'_>, applied: Cursor) -> Place {
        if patch.epoch > self.max_epoch {
            return Place::Elsewhere;
        }
        if patch.to <= applied.seq {
            let other_tag = patch.to == applied.seq && patch.to_tag != applied.tag;
            // One of an epoch that the log has left may well have another tag.
            return if other_tag && patch.epoch >= applied.epoch {
                Place::Elsewhere
            } else {
                Place::Behind
            };
        }
        if patch.epoch < applied.epoch {
            return Place::Elsewhere;
        }
        match patch.from.cmp(&applied.seq) {
            std::cmp::Ordering::Greater if !planted!(PatchAppliedAhead) => Place::Ahead,
            std::cmp::Ordering::Equal if patch.from_tag != applied.tag => Place::Elsewhere,
            // Results are absolute: a range that starts earlier applies whole.
            _ => Place::Next,
        }
    }

    pub(super) fn apply(
        &mut self,
        turn: &mut Turn<'_>,
        patch: &PatchInPlace<'_>,
    ) -> Result<(), Violation> {
        self.applied = Some(Cursor::new(patch.epoch, patch.to, patch.to_tag));
        if !self.settle_patch(turn, patch) {
            return Err(Violation(ErrorCode::UnknownFrame));
        }
        match self.state {
            ChannelState::CatchingUp => self.expect_progress(turn),
            // A hole that shrinks is not stuck; of a live channel only one that a heartbeat showed.
            _ if self.progress_by.is_some() => self.progress_by = Some(turn.now + GAP_TIMEOUT),
            _ => {}
        }
        Ok(())
    }

    /// The base moved, or a patch was kept: takes what fits now, and finds the state.
    pub(super) fn advance(&mut self, turn: &mut Turn<'_>) -> Result<(), Violation> {
        while let Some(applied) = self.applied
            && let Some(kept) = self.reorder.pop(applied)
        {
            let patch = kept.patch();
            match self.place(&patch, applied) {
                Place::Next => self.apply(turn, &patch)?,
                Place::Behind | Place::Ahead => self.ignore(),
                Place::Elsewhere => {
                    self.resubscribe(turn);
                    return Ok(());
                }
            }
        }
        if self.reorder.first_from().is_some() {
            self.enter_gap(turn);
        } else if self.is_at_head() {
            self.reach_head(turn);
        } else if self.state == ChannelState::Gap {
            self.state = ChannelState::CatchingUp;
            self.expect_progress(turn);
        }
        Ok(())
    }

    /// A heartbeat says how far the log has come. Only a live channel has nothing under way that would
    /// bring it there.
    ///
    /// One below the base may be older than the patches before it, once. Of a lower epoch, or twice while
    /// the base stood still, it is of a log that has lost what the base holds; `lagged`, which says so,
    /// may have been dropped on its way.
    pub(crate) fn handle_head(&mut self, turn: &mut Turn<'_>, head: Cursor) {
        let applied = self.applied.unwrap_or_default();
        let below = (head.order() < applied.order()).then_some((head, applied));
        let again = below.is_some() && std::mem::replace(&mut self.head_below, below) == below;
        if self.state == ChannelState::Live && (head.epoch < self.max_epoch || again) {
            self.head_below = None;
            self.resubscribe(turn);
            return;
        }
        if planted!(HoleBehindHeartbeatIgnored) {
            return;
        }
        if self.state == ChannelState::Live && head.order() > self.head.order() {
            self.head = head;
        }
        if self.state == ChannelState::Live && !self.is_at_head() && self.progress_by.is_none() {
            // A patch may still be in the server's queue; if none comes soon it never will.
            self.progress_by = Some(turn.now + GAP_TIMEOUT);
        }
    }

    /// The server says that the stream has a hole. While the subscribe waits for its answer this is
    /// about an older stream.
    pub(super) fn handle_lagged(&mut self, turn: &mut Turn<'_>) {
        if self.state == ChannelState::Subscribing {
            self.ignore();
        } else {
            self.resubscribe(turn);
        }
    }

    /// The server does not serve ranges.
    pub(crate) fn handle_fetch_refused(&mut self, turn: &mut Turn<'_>) {
        if self.state == ChannelState::Gap {
            self.resubscribe(turn);
        }
    }

    /// Nothing has moved for too long in a state that expects it.
    pub(super) fn handle_stall(&mut self, turn: &mut Turn<'_>) {
        self.counts.stalls += 1;
        if planted!(ResyncAskedOnce) && self.counts.stalls > 1 {
            self.progress_by = None;
            return;
        }
        if self.state == ChannelState::Live && self.head.epoch == self.max_epoch {
            self.enter_gap(turn);
        } else {
            self.stalled = self.stalled.saturating_add(1);
            self.resubscribe(turn);
        }
    }

    /// Something is missing: it gets [`GAP_TIMEOUT`] to come, by itself or as the answer to a fetch.
    fn enter_gap(&mut self, turn: &mut Turn<'_>) {
        if self.state != ChannelState::Gap {
            self.state = ChannelState::Gap;
            self.progress_by = Some(turn.now + GAP_TIMEOUT);
            self.refresh_status(turn);
        }
        self.send_fetch(turn);
    }

    /// The hole that a gap is about: (from, end].
    pub(super) fn hole(&self) -> Option<(u64, u64)> {
        let applied = self.applied.filter(|_| self.state == ChannelState::Gap)?;
        let end = self.reorder.first_from().unwrap_or(self.head.seq);
        Some((applied.seq, end))
    }

    pub(super) fn send_fetch(&mut self, turn: &mut Turn<'_>) {
        if let Some((after, through)) = self.hole()
            && self.gap.poll(turn.now, after, through)
        {
            self.counts.fetches += 1;
            turn.out.frame(ClientKind::Fetch(Fetch {
                channel: self.name.to_string(),
                epoch: self.max_epoch,
                after,
                through,
            }));
        }
    }

    /// A stream of this epoch runs from here on; the server has decided own mutations up to `last`.
    fn open_stream(&mut self, epoch: u64, last: u64) {
        if !planted!(OldEpochKeptWaiting) {
            self.reorder.forget_below(epoch);
        }
        self.gap.restart();
        self.known_last = last;
        self.pusher.open(last);
        self.presence.on_subscribed();
    }

    fn is_at_head(&self) -> bool {
        self.applied
            .is_some_and(|applied| applied.order() >= self.head.order())
    }

    fn reach_head(&mut self, turn: &mut Turn<'_>) {
        self.head = self.applied.unwrap_or_default();
        self.progress_by = None;
        self.stalled = 0;
        if self.state == ChannelState::Live {
            return;
        }
        self.state = ChannelState::Live;
        self.snapshots = 0;
        self.refresh_status(turn);
        if let Some(recovery) = self.recovery.take() {
            turn.out.event(Event::Recovered {
                channel: self.id,
                recovery,
            });
        }
    }
}
