//! One subscription's life on the client: which frames move it, and what it asks for in turn.
//!
//! The files beside this one hold one mechanism each: `subscribe.rs` when to ask for the stream,
//! `stream.rs` what its frames do, `decide.rs` how mutations end.

mod decide;
mod gap;
pub(crate) mod load;
mod moving;
pub(crate) mod name;
mod presence;
mod push;
mod refusal;
mod reorder;
mod send;
mod snapshot;
mod state;
pub(crate) mod status;
mod stored;
mod stream;
mod subscribe;
pub(crate) mod unsent;

use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;

pub(crate) use moving::Role;
pub use state::{ChannelState, StreamCounts};
pub use status::{ChannelDelay, ChannelId, ChannelStatus};

use self::gap::GapFill;
use self::load::Load;
use self::moving::Ask;
use self::name::ChannelName;
use self::presence::Presence;
use self::push::Pusher;
use self::reorder::ReorderBuffer;
use self::snapshot::IncomingSnapshot;
use self::subscribe::{RESUBSCRIBE_BASE, RESUBSCRIBE_MAX};
use crate::config::Config;
use crate::connect::Backoff;
use crate::io::{ConnId, Event, Recovery};
use crate::link::outbound::Outbound;
use crate::mutation::dirty::Dirty;
use crate::mutation::marks::Marks;
use crate::mutation::optimistic::OptimisticView;
use crate::mutation::queue::MutationQueue;
use crate::mutation::{Low, MutationHandle};
use crate::planted;
use crate::time::{MonoTime, UnixTime};
use crate::wire::{
    ClientKind, Cursor, ErrorCode, Limits, PartInPlace, PatchInPlace, PresenceSet, ServerKind,
};

/// What a channel works with during one turn.
pub(crate) struct Turn<'a> {
    pub(crate) now: MonoTime,
    /// What time the server has, as far as we know: deadlines are in its time.
    pub(crate) server_now: UnixTime,
    /// What time it has at least: what is over for good is judged by this.
    pub(crate) server_now_min: UnixTime,
    pub(crate) config: &'a Config,
    pub(crate) limits: Limits,
    /// Whose mutations are one's own, once welcomed.
    pub(crate) author: &'a [u8],
    /// Whether frames can be sent: the channel is on a welcomed link.
    pub(crate) linked: bool,
    pub(crate) rng: &'a mut Rng,
    pub(crate) last_handle: &'a mut u64,
    pub(crate) out: &'a mut Outbound,
}

impl Turn<'_> {
    /// A name inside the session for a row that a store had.
    pub(crate) const fn new_handle(&mut self) -> MutationHandle {
        *self.last_handle += 1;
        MutationHandle(*self.last_handle)
    }
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
    /// Committed and gone from the outbox.
    marks: Marks,
    /// The highest epoch that the store was asked to judge them by.
    judged: u64,
    /// It has not answered yet.
    is_judging: bool,
    /// The store has said what it has: before that nothing else is asked of it, nor of a server.
    loaded: bool,
    /// What the store says of the lowest number.
    low: Low,
    pub(crate) status: ChannelStatus,
    presence: Presence,
    /// The link that carries the stream and its pushes, once it is welcomed.
    link: Option<ConnId>,
    /// The session moves, and no answer on the next link has counted yet.
    ask: Option<Box<Ask>>,
    state: ChannelState,
    /// The base has been at the head once: from then on there is a view to show.
    was_live: bool,
    counts: StreamCounts,
    /// Where the base stands; `None` before the first snapshot.
    applied: Option<Cursor>,
    /// The highest head heard of in the present epoch.
    head: Cursor,
    /// The highest epoch that a subscribe's answer named, and what proves to any node that one did.
    max_epoch: u64,
    proof: Bytes,
    /// The highest epoch that the store was asked to keep.
    kept_epoch: u64,
    /// Why the server gives no answer for now.
    delay: Option<ChannelDelay>,
    /// Since when the server has not known our epoch.
    foreign_since: Option<MonoTime>,
    /// The base that was given up, until another one is there.
    given_up: Option<Cursor>,
    /// The highest own number that the log is known to have decided.
    known_last: u64,
    /// The highest one whose decision the base holds.
    base_last: u64,
    /// The epoch of what decided own mutations last: a late patch may be of an older one than announced.
    base_epoch: u64,
    pusher: Pusher,
    incoming: Option<IncomingSnapshot>,
    /// Patches before their turn.
    reorder: ReorderBuffer,
    gap: GapFill,
    /// How the present subscribe will have come to the head.
    recovery: Option<Recovery>,
    /// Snapshots begun since the channel was live.
    snapshots: u32,
    /// A heartbeat's head that was below the base, and the base.
    head_below: Option<(Cursor, Cursor)>,
    /// When something must have moved, in states that expect it.
    progress_by: Option<MonoTime>,
    /// Times in a row that nothing moved for too long, since the head was reached.
    stalled: u32,
    subscribe_at: Option<MonoTime>,
    subscribed_at: Option<MonoTime>,
    pacing: Backoff,
    pub(crate) dirty: Dirty,
    /// Something happened to it since the session waited last.
    pub(crate) is_touched: bool,
    /// When the session will look at it by itself.
    pub(crate) wakes_at: Option<MonoTime>,
}

impl Channel {
    pub(crate) fn new(id: ChannelId, name: ChannelName, dirty: Dirty) -> Self {
        Self {
            id,
            name,
            released: false,
            view: OptimisticView::default(),
            queue: MutationQueue::default(),
            judged: 0,
            is_judging: false,
            loaded: false,
            low: Low::default(),
            marks: Marks::default(),
            status: ChannelStatus::Loading,
            presence: Presence::default(),
            link: None,
            ask: None,
            state: ChannelState::Idle,
            was_live: false,
            counts: StreamCounts::default(),
            applied: None,
            head: Cursor::default(),
            max_epoch: 0,
            proof: Bytes::new(),
            delay: None,
            foreign_since: None,
            given_up: None,
            kept_epoch: 0,
            known_last: 0,
            base_last: 0,
            base_epoch: 0,
            pusher: Pusher::default(),
            incoming: None,
            reorder: ReorderBuffer::default(),
            gap: GapFill::default(),
            recovery: None,
            snapshots: 0,
            head_below: None,
            progress_by: None,
            stalled: 0,
            subscribe_at: None,
            subscribed_at: None,
            pacing: Backoff::new(RESUBSCRIBE_BASE, RESUBSCRIBE_MAX),
            dirty,
            is_touched: false,
            wakes_at: None,
        }
    }

    /// What it adds to the sums over all channels.
    pub(crate) fn load(&self) -> Load {
        Load {
            rows: self.queue.len(),
            bytes: self.queue.bytes(),
            unmoved: usize::from(!self.has_moved()),
        }
    }

    pub(crate) const fn state(&self) -> ChannelState {
        self.state
    }

    pub(crate) const fn decided_through(&self) -> u64 {
        self.base_last
    }

    pub(crate) const fn counts(&self) -> StreamCounts {
        self.counts
    }

    pub(crate) const fn delay(&self) -> Option<&ChannelDelay> {
        self.delay.as_ref()
    }

    pub(crate) const fn applied(&self) -> Option<Cursor> {
        self.applied
    }

    pub(crate) const fn is_loaded(&self) -> bool {
        self.loaded
    }

    pub(crate) fn presence_mut(&mut self) -> &mut Presence {
        &mut self.presence
    }

    pub(crate) fn peers(&self) -> impl Iterator<Item = &crate::wire::Peer> {
        self.presence.peers()
    }

    /// Whether the application let go and there is nothing left to tell it.
    pub(crate) fn is_done(&self) -> bool {
        self.released && self.queue.len() == 0 && !self.is_judging
    }

    /// Whether a push has waited too long for its answer.
    pub(crate) fn is_push_overdue(&self, turn: &Turn<'_>) -> bool {
        self.pusher
            .is_overdue(turn.now, turn.config.progress_timeout)
    }

    // --------------------------------------------------------------------- time

    pub(crate) fn deadline(
        &self,
        config: &Config,
        now: MonoTime,
        server_now: UnixTime,
    ) -> Option<MonoTime> {
        let expiry = self.expiry(now, server_now);
        if self.link.is_none() {
            return expiry;
        }
        let presence = self
            .state
            .is_streaming()
            .then(|| self.presence.deadline(config.presence_interval))
            .flatten();
        [
            self.start_over_at(config),
            self.subscribe_at,
            self.ask_deadline(),
            self.progress_by,
            self.pusher.deadline(config.progress_timeout),
            presence,
            self.hole()
                .and_then(|(applied, end)| self.gap.deadline(applied, end)),
            expiry,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(crate) fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        self.expire_unsent(turn);
        if !turn.linked {
            return;
        }
        self.pusher.handle_timeout(turn.now);
        if self
            .start_over_at(turn.config)
            .is_some_and(|at| turn.now >= at)
        {
            self.start_over(turn);
        }
        if self.subscribe_at.is_some_and(|at| turn.now >= at) {
            self.subscribe(turn);
        }
        if self.progress_by.is_some_and(|by| turn.now >= by) {
            self.handle_stall(turn);
        }
        self.ask_if_due(turn);
        self.send_fetch(turn);
        // A push that nobody answers: the answer to a subscribe says what to push.
        if self.is_push_overdue(turn) {
            self.resubscribe(turn);
        }
        self.send_ready(turn);
    }

    /// Sends what may go at once. Pushes go at the end of the turn.
    pub(crate) fn send_ready(&mut self, turn: &mut Turn<'_>) {
        if !turn.linked || !self.state.is_streaming() {
            return;
        }
        if let Some(data) = self.presence.poll(turn.now, turn.config.presence_interval) {
            turn.out.frame(ClientKind::PresenceSet(PresenceSet {
                channel: self.name.to_string(),
                data,
            }));
        }
    }

    // ------------------------------------------------------------------- frames

    /// Takes a patch of this channel.
    pub(crate) fn handle_patch(
        &mut self,
        turn: &mut Turn<'_>,
        patch: &PatchInPlace<'_>,
    ) -> Result<(), Violation> {
        if !self.has_use_for_frames() {
            return Ok(());
        }
        self.take_patch(turn, patch)?;
        self.send_ready(turn);
        Ok(())
    }

    /// Takes a part of a snapshot.
    pub(crate) fn handle_part(
        &mut self,
        turn: &mut Turn<'_>,
        part: &PartInPlace<'_>,
    ) -> Result<(), Violation> {
        if !self.has_use_for_frames() {
            return Ok(());
        }
        self.take_snapshot_part(turn, part)?;
        self.send_ready(turn);
        Ok(())
    }

    /// Takes any other frame that names this channel.
    pub(crate) fn handle_frame(
        &mut self,
        turn: &mut Turn<'_>,
        frame: ServerKind,
    ) -> Result<(), Violation> {
        if !self.has_use_for_frames() {
            return Ok(());
        }
        match frame {
            ServerKind::Resume(resume) => self.handle_resume(turn, resume)?,
            ServerKind::SnapshotBegin(begin) => self.handle_snapshot_begin(turn, begin)?,
            ServerKind::SnapshotEnd(end) => self.handle_snapshot_end(turn, end)?,
            ServerKind::Ack(ack) => self.handle_ack(turn, &ack),
            ServerKind::Need(need) => self.pusher.on_need(need.n, self.low, self.known_last),
            ServerKind::Hold(hold) => {
                let pause = Duration::from_millis(u64::from(hold.retry_ms.clamp(50, 60_000)));
                self.pusher.on_hold(turn.now + pause, self.known_last);
            }
            ServerKind::StaleEpoch(_) if self.state.is_streaming() => self.resubscribe(turn),
            ServerKind::Lagged(_) => self.handle_lagged(turn),
            ServerKind::Presence(presence) => {
                self.presence.on_frame(presence);
                turn.out.event(Event::Presence { channel: self.id });
            }
            // A message of a kind that this channel is not, or about a stream that is being replaced.
            _ => self.ignore(),
        }
        self.send_ready(turn);
        Ok(())
    }

    const fn has_use_for_frames(&mut self) -> bool {
        let has = self.state.is_asking() || self.state.is_streaming();
        if !has {
            self.ignore();
        }
        has
    }

    /// A frame that the present state has no use for.
    const fn ignore(&mut self) {
        self.counts.ignored += 1;
    }

    /// On a slow link one large message takes long, and asking again only adds to what is under way:
    /// each time in a row is twice as patient, up to four times.
    fn expect_progress(&mut self, turn: &Turn<'_>) {
        let patience = turn.config.progress_timeout * (1 << self.stalled.min(2));
        self.progress_by = Some(turn.now + patience);
    }

    fn refresh_status(&mut self, turn: &mut Turn<'_>) {
        let status = match self.state {
            ChannelState::Failed => return,
            ChannelState::Live => ChannelStatus::Live,
            // A base that has not reached the head yet is no view: half of a board would look like all of it.
            _ if self.was_live => ChannelStatus::Stale,
            _ if planted!(ReadyBeforeHead) && self.applied.is_some() => ChannelStatus::Stale,
            _ => ChannelStatus::Loading,
        };
        self.was_live |= status == ChannelStatus::Live;
        if status != self.status {
            self.status = status;
            if planted!(StaleUntold) && self.status == ChannelStatus::Stale {
                return;
            }
            self.tell_status(turn);
        }
    }

    fn tell_status(&self, turn: &mut Turn<'_>) {
        turn.out.event(Event::Channel {
            channel: self.id,
            status: self.status.clone(),
            delay: self.delay.clone(),
        });
    }

    /// Tells which records look different, once the view may be shown.
    pub(crate) fn report_dirty(&mut self, out: &mut Outbound) {
        let records = self.dirty.take();
        if !records.is_empty() {
            out.event(Event::Changed {
                channel: self.id,
                records,
            });
        }
    }
}
