//! One subscription's life on the client: which frames move it, and what it asks for in turn.
//!
//! Invariant: the base moves only along the log. A patch applies iff it starts where the base stands;
//! anything else makes the channel subscribe again from what it has.
//!
//! The files beside this one hold one mechanism each; `decide.rs` how mutations end.

mod decide;
pub(crate) mod name;
mod presence;
mod push;
mod snapshot;
mod status;

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;

pub use status::{ChannelId, ChannelStatus};

use self::name::ChannelName;
use self::presence::Presence;
use self::push::Pusher;
use self::snapshot::IncomingSnapshot;
use crate::config::Config;
use crate::connect::Backoff;
use crate::document::RecordKey;
use crate::mutation::optimistic::OptimisticView;
use crate::mutation::queue::MutationQueue;
use crate::session::outbound::Outbound;
use crate::session::{Event, Recovery};
use crate::time::{MonoTime, UnixTime};
use crate::wire::{
    ClientKind, Cursor, ErrorCode, Known, Limits, Patch, PresenceSet, Resume, ServerKind,
    SnapshotBegin, SnapshotEnd, Subscribe,
};

/// First and longest delay between subscribes that follow each other closely.
const RESUBSCRIBE_BASE: Duration = Duration::from_millis(200);
const RESUBSCRIBE_MAX: Duration = Duration::from_secs(10);
/// A subscribe this long after the last one is free of delay.
const RESUBSCRIBE_CALM: Duration = Duration::from_secs(5);
/// How long a heartbeat's head may be ahead of a live channel before that is a hole.
const HOLE_PATIENCE: Duration = Duration::from_secs(2);

/// Where a subscription stands (docs/protocol.md §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No link, or waiting for the time of the next subscribe on a living one.
    Backoff,
    /// `subscribe` was sent.
    Subscribing,
    /// Resumed, and behind the head.
    CatchingUp,
    /// A snapshot is arriving.
    Snapshotting,
    /// At the head.
    Live,
    /// Refused for good.
    Failed,
}

/// What a channel works with during one turn.
pub(crate) struct Turn<'a> {
    pub(crate) now: MonoTime,
    /// What time the server has, as far as we know: deadlines are in its time.
    pub(crate) server_now: UnixTime,
    pub(crate) config: &'a Config,
    pub(crate) limits: Limits,
    /// Whose mutations are one's own, once welcomed.
    pub(crate) author: &'a [u8],
    /// Whether frames can be sent: a welcomed link.
    pub(crate) linked: bool,
    /// Whether new pushes may start: not while draining.
    pub(crate) pushing: bool,
    pub(crate) rng: &'a mut Rng,
    pub(crate) out: &'a mut Outbound,
}

/// The peer broke the protocol; the link ends with this code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) ErrorCode);

/// One channel of a session.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) name: ChannelName,
    /// The application let go; the channel stays until its mutations are decided.
    pub(crate) released: bool,
    pub(crate) view: OptimisticView,
    pub(crate) queue: MutationQueue,
    pub(crate) status: ChannelStatus,
    presence: Presence,
    state: State,
    /// Where the base stands; `None` before the first snapshot.
    applied: Option<Cursor>,
    /// The highest head heard of in the present epoch.
    head: Cursor,
    /// The highest epoch that a subscribe's answer named.
    max_epoch: u64,
    /// The highest own number that the log is known to have decided.
    known_last: u64,
    pusher: Pusher,
    incoming: Option<IncomingSnapshot>,
    /// How the present subscribe will have come to the head.
    recovery: Option<Recovery>,
    /// Snapshots begun since the channel was live.
    snapshots: u32,
    /// When something must have moved, in states that expect it.
    progress_by: Option<MonoTime>,
    subscribe_at: Option<MonoTime>,
    subscribed_at: Option<MonoTime>,
    pacing: Backoff,
    dirty: BTreeSet<RecordKey>,
}

impl Channel {
    pub(crate) fn new(id: ChannelId, name: ChannelName) -> Self {
        Self {
            id,
            name,
            released: false,
            view: OptimisticView::default(),
            queue: MutationQueue::default(),
            status: ChannelStatus::Loading,
            presence: Presence::default(),
            state: State::Backoff,
            applied: None,
            head: Cursor::default(),
            max_epoch: 0,
            known_last: 0,
            pusher: Pusher::default(),
            incoming: None,
            recovery: None,
            snapshots: 0,
            progress_by: None,
            subscribe_at: None,
            subscribed_at: None,
            pacing: Backoff::new(RESUBSCRIBE_BASE, RESUBSCRIBE_MAX),
            dirty: BTreeSet::new(),
        }
    }

    pub(crate) const fn applied(&self) -> Option<Cursor> {
        self.applied
    }

    pub(crate) fn presence_mut(&mut self) -> &mut Presence {
        &mut self.presence
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &crate::wire::Peer> {
        self.presence.peers()
    }

    /// Whether pushes are on their way.
    pub(crate) fn is_pushing(&self) -> bool {
        self.pusher.is_waiting()
    }

    /// Whether a push has waited too long for its answer.
    pub(crate) fn is_push_overdue(&self, turn: &Turn<'_>) -> bool {
        self.pusher
            .is_overdue(turn.now, turn.config.progress_timeout)
    }

    // ------------------------------------------------------------------ the link

    /// A welcomed link is there: subscribe at once.
    pub(crate) fn handle_connected(&mut self, turn: &mut Turn<'_>) {
        if self.state != State::Failed {
            self.pacing.reset();
            self.subscribe(turn);
        }
    }

    /// The link is gone, and with it the stream, its parts and its pushes.
    pub(crate) fn handle_disconnected(&mut self, turn: &mut Turn<'_>) {
        if self.state == State::Failed {
            return;
        }
        self.pusher.close();
        self.incoming = None;
        self.subscribe_at = None;
        self.progress_by = None;
        self.state = State::Backoff;
        if self.presence.on_disconnected() {
            turn.out.event(Event::Presence { channel: self.id });
        }
        self.refresh_status(turn);
    }

    /// Ends the subscription: the server refuses it for good.
    pub(crate) fn fail(&mut self, turn: &mut Turn<'_>, code: ErrorCode, detail: String) {
        self.handle_disconnected(turn);
        self.state = State::Failed;
        self.status = ChannelStatus::Failed {
            code,
            detail: detail.clone(),
        };
        turn.out.event(Event::Channel {
            channel: self.id,
            status: self.status.clone(),
        });
        self.give_up_all(turn, code, &detail);
    }

    /// The application subscribes to a failed channel once more.
    pub(crate) fn revive(&mut self, turn: &mut Turn<'_>) {
        self.released = false;
        if self.state == State::Failed {
            self.state = State::Backoff;
            self.status = ChannelStatus::Loading;
            self.refresh_status(turn);
            if turn.linked {
                self.subscribe(turn);
            }
        }
    }

    fn subscribe(&mut self, turn: &mut Turn<'_>) {
        self.pusher.close();
        self.incoming = None;
        self.recovery = None;
        self.subscribe_at = None;
        self.subscribed_at = Some(turn.now);
        self.state = State::Subscribing;
        self.expect_progress(turn);
        turn.out.frame(ClientKind::Subscribe(Subscribe {
            channel: self.name.to_string(),
            have: self.applied,
            max_epoch: self.max_epoch,
        }));
        self.refresh_status(turn);
    }

    /// Subscribes again: at once if the last time is long ago, else after a growing delay. No fault of
    /// the server can make a channel spin.
    fn resubscribe(&mut self, turn: &mut Turn<'_>) {
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
        self.pusher.close();
        self.incoming = None;
        self.progress_by = None;
        self.state = State::Backoff;
        self.subscribe_at = Some(turn.now + delay);
        self.refresh_status(turn);
    }

    // --------------------------------------------------------------------- time

    pub(crate) fn deadline(&self, config: &Config) -> Option<MonoTime> {
        let presence = self
            .is_streaming()
            .then(|| self.presence.deadline(config.presence_interval))
            .flatten();
        [
            self.subscribe_at,
            self.progress_by,
            self.pusher.deadline(config.progress_timeout),
            presence,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(crate) fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        if !turn.linked {
            return;
        }
        self.pusher.handle_timeout(turn.now);
        if self.subscribe_at.is_some_and(|at| turn.now >= at) {
            self.subscribe(turn);
        }
        // No progress, a hole that stays, or a push that nobody answers: only a fresh answer helps.
        if self.progress_by.is_some_and(|by| turn.now >= by) || self.is_push_overdue(turn) {
            self.resubscribe(turn);
        }
        self.send_ready(turn);
    }

    /// Sends what may go: presence, then pushes.
    pub(crate) fn send_ready(&mut self, turn: &mut Turn<'_>) {
        if !turn.linked || !self.is_streaming() {
            return;
        }
        if let Some(data) = self.presence.poll(turn.now, turn.config.presence_interval) {
            turn.out.frame(ClientKind::PresenceSet(PresenceSet {
                channel: self.name.to_string(),
                data,
            }));
        }
        if turn.pushing {
            self.send_pushes(turn);
        }
    }

    // ------------------------------------------------------------------- frames

    /// Takes a frame that names this channel.
    pub(crate) fn handle_frame(
        &mut self,
        turn: &mut Turn<'_>,
        frame: ServerKind,
    ) -> Result<(), Violation> {
        if self.state == State::Failed {
            return Ok(());
        }
        if self.progress_by.is_some() && self.state != State::Live {
            self.expect_progress(turn);
        }
        match frame {
            ServerKind::Patch(patch) => self.handle_patch(turn, &patch)?,
            ServerKind::Resume(resume) => self.handle_resume(turn, resume)?,
            ServerKind::SnapshotBegin(begin) => self.handle_snapshot_begin(turn, begin)?,
            ServerKind::SnapshotPart(part) => {
                if let Some(incoming) = &mut self.incoming
                    && !incoming.add(&part, turn.config.snapshot_bytes_max)
                {
                    let detail = "the snapshot is larger than this client takes".to_owned();
                    self.fail(turn, ErrorCode::TooLarge, detail);
                }
            }
            ServerKind::SnapshotEnd(end) => self.handle_snapshot_end(turn, &end),
            ServerKind::Ack(ack) => self.handle_ack(turn, &ack),
            ServerKind::Need(need) => self.pusher.on_need(need.n),
            ServerKind::Hold(hold) => {
                let pause = Duration::from_millis(u64::from(hold.retry_ms.clamp(50, 60_000)));
                self.pusher.on_hold(turn.now + pause, self.known_last);
            }
            ServerKind::StaleEpoch(_) | ServerKind::Lagged(_) if self.is_streaming() => {
                self.resubscribe(turn);
            }
            ServerKind::Presence(presence) => {
                self.presence.on_frame(presence);
                turn.out.event(Event::Presence { channel: self.id });
            }
            // A stream that is being replaced anyway, or a message of a kind that this channel is not.
            _ => {}
        }
        self.send_ready(turn);
        Ok(())
    }

    /// A heartbeat says how far the log has come.
    pub(crate) fn handle_head(&mut self, turn: &Turn<'_>, head: Cursor) {
        let ahead = self
            .applied
            .is_some_and(|applied| head.order() > applied.order());
        if self.state == State::Live && ahead && self.progress_by.is_none() {
            // A patch may still be in the server's queue; if it does not come soon it never will.
            self.head = head;
            self.progress_by = Some(turn.now + HOLE_PATIENCE);
        }
    }

    fn handle_resume(&mut self, turn: &mut Turn<'_>, resume: Resume) -> Result<(), Violation> {
        let (Some(from), Some(head), Some(known)) = (resume.from, resume.head, resume.known) else {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        };
        if head.epoch < from.epoch || head.seq < from.seq {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        }
        // An answer to an older subscribe of this link: the newer stream runs already.
        if !matches!(self.state, State::Subscribing | State::Snapshotting) {
            return Ok(());
        }
        if head.epoch < self.max_epoch || self.applied != Some(from) {
            self.resubscribe(turn);
            return Ok(());
        }
        self.incoming = None;
        self.head = head;
        self.raise_epoch(turn, head.epoch, known.last);
        self.open_stream(known.last);
        let entries = head.seq - from.seq;
        self.recovery = Some(if entries == 0 {
            Recovery::Resumed
        } else {
            Recovery::Replayed { entries }
        });
        self.state = State::CatchingUp;
        self.expect_progress(turn);
        self.reach_head(turn);
        Ok(())
    }

    fn handle_snapshot_begin(
        &mut self,
        turn: &mut Turn<'_>,
        begin: SnapshotBegin,
    ) -> Result<(), Violation> {
        let (Some(cursor), Some(known)) = (begin.cursor, begin.known) else {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        };
        if self.state == State::Backoff {
            return Ok(());
        }
        let below_own = self
            .applied
            .is_some_and(|applied| cursor.order() < applied.order());
        self.snapshots += 1;
        if cursor.epoch < self.max_epoch || below_own || self.snapshots > 3 {
            if self.snapshots > 3 {
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
        self.incoming = Some(IncomingSnapshot::new(cursor, known));
        self.state = State::Snapshotting;
        self.expect_progress(turn);
        self.refresh_status(turn);
        Ok(())
    }

    fn handle_snapshot_end(&mut self, turn: &mut Turn<'_>, end: &SnapshotEnd) {
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        let Some((cursor, known, document)) = incoming.finish(end) else {
            self.resubscribe(turn);
            return;
        };
        if let Some(from) = self.applied
            && from.epoch < cursor.epoch
        {
            turn.out.event(Event::HistoryLost {
                channel: self.id,
                from,
                to: cursor,
            });
        }
        self.raise_epoch(turn, cursor.epoch, known.last);
        self.applied = Some(cursor);
        self.head = cursor;
        let Known { last, rejected } = known;
        self.settle_known(turn, last, &rejected, document);
        self.open_stream(last);
        self.recovery = Some(Recovery::Snapshot);
        self.state = State::CatchingUp;
        self.reach_head(turn);
    }

    fn handle_patch(&mut self, turn: &mut Turn<'_>, patch: &Patch) -> Result<(), Violation> {
        if patch.from >= patch.to {
            return Err(Violation(ErrorCode::UnexpectedFrame));
        }
        let Some(applied) = self.applied else {
            return Ok(());
        };
        // What was sent before the answer to the present subscribe belongs to an older stream.
        if !matches!(self.state, State::CatchingUp | State::Live) {
            return Ok(());
        }
        if patch.epoch > self.max_epoch {
            self.resubscribe(turn);
            return Ok(());
        }
        if patch.to <= applied.seq {
            if patch.to == applied.seq && patch.to_tag != applied.tag {
                self.resubscribe(turn);
            }
            return Ok(());
        }
        let fits = match patch.from.cmp(&applied.seq) {
            std::cmp::Ordering::Equal => patch.from_tag == applied.tag,
            // Results are absolute: a range that starts earlier applies whole.
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
        };
        if !fits || patch.epoch < applied.epoch {
            self.resubscribe(turn);
            return Ok(());
        }
        self.applied = Some(Cursor::new(patch.epoch, patch.to, patch.to_tag));
        if !self.settle_patch(turn, patch) {
            return Err(Violation(ErrorCode::UnknownFrame));
        }
        self.reach_head(turn);
        Ok(())
    }

    /// A stream runs from here on; the server has decided own mutations up to `last`.
    fn open_stream(&mut self, last: u64) {
        self.known_last = last;
        self.pusher.open(last);
        self.presence.on_subscribed();
    }

    /// Goes live if the base has reached the head.
    fn reach_head(&mut self, turn: &mut Turn<'_>) {
        let Some(applied) = self.applied else {
            return;
        };
        if applied.order() < self.head.order() {
            return;
        }
        self.head = applied;
        if self.state == State::Live {
            self.progress_by = None;
        } else if self.state == State::CatchingUp {
            self.state = State::Live;
            self.progress_by = None;
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

    fn is_streaming(&self) -> bool {
        matches!(self.state, State::CatchingUp | State::Live)
    }

    fn expect_progress(&mut self, turn: &Turn<'_>) {
        self.progress_by = Some(turn.now + turn.config.progress_timeout);
    }

    fn refresh_status(&mut self, turn: &mut Turn<'_>) {
        let status = match (self.state, self.applied) {
            (State::Failed, _) => return,
            (State::Live, _) => ChannelStatus::Live,
            (_, None) => ChannelStatus::Loading,
            (_, Some(_)) => ChannelStatus::Stale,
        };
        if status != self.status {
            self.status = status.clone();
            turn.out.event(Event::Channel {
                channel: self.id,
                status,
            });
        }
    }

    /// Tells which records look different, once the view may be shown.
    pub(crate) fn report_dirty(&mut self, out: &mut Outbound) {
        if !self.dirty.is_empty() {
            out.event(Event::Changed {
                channel: self.id,
                records: std::mem::take(&mut self.dirty).into_iter().collect(),
            });
        }
    }
}
