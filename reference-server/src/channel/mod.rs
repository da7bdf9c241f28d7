//! The server's side of one channel, sans-IO: time, frames and broker replies in; broker requests out.
//!
//! A channel folds its log and appends to it by compare-and-append. One request is under way at a
//! time; whatever is pushed meanwhile is evaluated together, appended at once and told to every
//! subscriber in one patch.
//!
//! Invariant: nothing is applied, patched or acked before the broker said that it is durable.

mod broker_clock;
mod changes;
mod claims;
mod condition;
mod config;
mod encode;
mod epoch;
mod evaluate;
mod fetch;
mod fold;
mod held;
mod input;
mod lifetime;
mod loading;
mod message;
mod policy;
mod presence;
mod proof;
mod push;
mod records;
mod replays;
mod reply;
mod retry;
mod ring;
mod saving;
mod seat;
mod snapshot;
mod subscribe;
mod table;
#[cfg(test)]
mod tests;
mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tidewire_core::ChannelName;
use tidewire_core::planted;
use tidewire_core::time::{MonoTime, Now};
use tidewire_core::wire::{Cursor, ErrorCode, Push};

pub use crate::log::Author;
pub use config::{ChannelConfig, Lag};
pub use held::Held;
pub use input::{ChannelInput, ChannelOutput, Outlet, OutletFull, PeerId, Rights, Subscriber};
pub use message::Message;
pub use policy::{Policy, View};
pub use proof::prove;

use crate::log::{Entry, RunId};
use broker_clock::BrokerClock;
use claims::{Cause, Claims};
use fold::{Fold, Misfit};
use lifetime::Lifetime;
use loading::Loading;
use presence::Presence;
use push::{PushQueue, WaitingPush};
use replays::Replays;
use reply::Request;
use retry::Retry;
use saving::Saving;
use seat::{Seat, SeatLost, Source};
use snapshot::SnapshotMessages;
use subscribe::Ask;

/// One channel on one node.
pub struct Channel {
    name: ChannelName,
    config: ChannelConfig,
    policy: Arc<dyn Policy>,
    rng: fastrand::Rng,
    now: Now,
    fold: Option<Fold>,
    /// What will become the fold while the log still comes, and the arrivals that its load was asked after.
    loading: Option<(Loading, u64)>,
    broker_clock: BrokerClock,
    /// The broker's run id, as it said last.
    run: RunId,
    /// The fold cannot be caught up: load everything again.
    reload: bool,
    /// Entries may have come that were not ours.
    behind: bool,
    /// The last of what was written and has to be read back, and why it was.
    written: Option<(Cursor, Cause)>,
    delete: bool,
    seats: BTreeMap<PeerId, Seat>,
    asks: BTreeMap<PeerId, Ask>,
    pushes: PushQueue,
    presence: Presence,
    /// Counts what arrives, so that "read after it arrived" can be told.
    arrivals: u64,
    /// Everything up to this arrival was answered by the broker's head after it.
    fresh: u64,
    request: Option<Request>,
    /// When that was.
    asked_at: MonoTime,
    retry: Retry,
    claims: Claims,
    /// The log's epoch when this node found that its own fold is off the line: the log has lost a tail.
    off_line: Option<u64>,
    /// What proves an epoch, made once for all that ask.
    proof: (u64, Bytes),
    snapshot_not_before: Option<MonoTime>,
    saving: Option<Saving>,
    encoded: Option<Arc<SnapshotMessages>>,
    replays: Replays,
    /// All channels together hold as much as they may.
    is_overloaded: bool,
    /// What an operator should know and nobody has been told.
    trouble: Option<String>,
    outputs: VecDeque<ChannelOutput>,
}

impl Channel {
    /// Nothing is read before the first input that needs it. `seed` gives new epochs their random bits.
    #[must_use]
    pub fn new(
        name: ChannelName,
        config: ChannelConfig,
        policy: Arc<dyn Policy>,
        seed: u64,
    ) -> Self {
        let presence = Presence::new(presence::Settings {
            peers_max: config.peers_max,
            data_bytes_max: config.limits.presence_bytes as usize,
            bytes_max: config.peers_bytes_max,
            interval: config.presence_interval,
            grace: config.presence_grace,
            node: config.node,
        });
        let pushes = PushQueue::new(config.pushes_max, config.pushes_bytes_max);
        Self {
            name,
            config,
            policy,
            rng: fastrand::Rng::with_seed(seed),
            now: Now::default(),
            fold: None,
            loading: None,
            broker_clock: BrokerClock::default(),
            run: RunId::default(),
            reload: false,
            behind: false,
            written: None,
            delete: false,
            seats: BTreeMap::new(),
            asks: BTreeMap::new(),
            pushes,
            presence,
            arrivals: 0,
            fresh: 0,
            request: None,
            asked_at: MonoTime::default(),
            retry: Retry::default(),
            claims: Claims::default(),
            off_line: None,
            proof: (0, Bytes::new()),
            snapshot_not_before: None,
            saving: None,
            encoded: None,
            replays: Replays::default(),
            is_overloaded: false,
            trouble: None,
            outputs: VecDeque::new(),
        }
    }

    /// Takes one fact. Infallible: a misbehaving client is answered with an error frame.
    pub fn handle_input(&mut self, now: Now, input: ChannelInput) {
        self.now = now;
        match input {
            ChannelInput::Subscribe {
                subscriber,
                have,
                max_epoch,
                proof,
            } => self.handle_subscribe(subscriber, have, max_epoch, &proof),
            ChannelInput::Unsubscribe { conn, cleanly } => {
                self.seats.remove(&conn);
                self.asks.remove(&conn);
                self.presence.leave(conn, cleanly, self.now.mono);
            }
            ChannelInput::Push { subscriber, push } => self.handle_push(subscriber, push),
            ChannelInput::Fetch {
                conn,
                epoch,
                after,
                through,
            } => self.handle_fetch(conn, epoch, after, through),
            ChannelInput::SetPresence { conn, data } => self.handle_presence(conn, data),
            ChannelInput::Drained { conn } => self.handle_drained(conn),
            ChannelInput::Published(message) => self.presence.hear(&message, self.now.mono),
            ChannelInput::Delete => self.delete = true,
            ChannelInput::Broker(reply) => self.handle_reply(reply),
            ChannelInput::Woken => self.behind = true,
            ChannelInput::Timeout => {}
        }
        self.hold_overdue();
        self.put_off_overdue();
    }

    /// The next thing to do. Poll until `Wait`. A driver may feed all inputs that are ready before it
    /// polls: everything pushed meanwhile becomes one append and one patch.
    pub fn poll_output(&mut self) -> ChannelOutput {
        loop {
            self.flush_presence();
            if let Some(output) = self.outputs.pop_front() {
                return output;
            }
            if let Some(request) = self.next_request() {
                self.asked_at = self.now.mono;
                return ChannelOutput::Broker(request);
            }
            if self.outputs.is_empty() {
                return ChannelOutput::Wait(self.next_deadline());
            }
        }
    }

    /// The head of the log that this node has folded; what heartbeats carry. Zero before the first
    /// load and while the log is empty.
    #[must_use]
    pub fn head(&self) -> Cursor {
        self.fold
            .as_ref()
            .map_or_else(Cursor::default, |fold| fold.head)
    }

    /// Whether, by the log that this node has folded, the channel was opened and not deleted since.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.fold
            .as_ref()
            .is_some_and(|fold| fold.head.seq > 0 && !fold.deleted)
    }

    /// Whether anyone is subscribed or anything is under way; if not, a driver may drop the channel.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.seats.is_empty()
            && self.pushes.is_empty()
            && self.request.is_none()
            && self.outputs.is_empty()
            && !self.delete
            && !self.presence.is_needed()
    }

    /// Takes what an operator should know: the channel tries again by itself, but perhaps in vain.
    pub fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    fn lifetime(&self) -> Lifetime {
        Lifetime::new(self.config.ttl_max, self.config.retention)
    }

    fn arrive(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    fn handle_push(&mut self, subscriber: Subscriber, mut push: Push) {
        if let Err(detail) = push::check_contract(&push, &self.config.limits) {
            self.refuse(&subscriber, detail);
            return;
        }
        push::compact(&mut push);
        let waiting = WaitingPush {
            bytes: push::push_bytes(&push),
            arrival: self.arrive(),
            since: self.now.mono,
            subscriber: subscriber.clone(),
            right_at_arrival: planted!(RightReadEarly)
                .then(|| subscriber.rights.may_write(&self.name)),
            push,
            tried_at: None,
        };
        if self.is_overloaded || self.pushes.push(waiting).is_err() {
            self.hold(&subscriber);
        }
    }

    fn handle_presence(&mut self, conn: PeerId, data: Option<Bytes>) {
        // Without a seat nobody could be told why it is refused; there is nothing to keep either.
        let Some(seat) = self.seats.get(&conn) else {
            return;
        };
        let Some(data) = data else {
            self.presence.clear(conn);
            return;
        };
        let subscriber = seat.subscriber.clone();
        if let Err((code, detail)) = self.presence.set(&subscriber, &data) {
            let error = encode::error(self.name.as_str(), code, false, None, detail);
            self.answer(&subscriber, error.into());
        }
    }

    fn handle_drained(&mut self, conn: PeerId) {
        let Some(seat) = self.seats.get_mut(&conn) else {
            return;
        };
        let pumped = match &self.fold {
            Some(fold) => seat.pump(&mut source(
                &self.name,
                &self.config,
                fold,
                &mut self.replays,
            )),
            None => {
                seat.flush_answers();
                Ok(())
            }
        };
        match pumped {
            Ok(()) => self.pay_presence(conn),
            Err(lost) => self.close(conn, lost),
        }
    }

    /// Folds entries, as `fold` does, and tells every live subscriber.
    fn apply(
        &mut self,
        entries: Vec<Arc<Entry>>,
        patch_bytes_max: usize,
        apply: impl FnOnce(&mut Fold, Vec<Arc<Entry>>) -> Result<(), Misfit>,
    ) -> Result<(), Misfit> {
        // Every subscribe reads the head, and mostly finds nothing: that must not cost a look at every seat.
        if entries.is_empty() {
            return Ok(());
        }
        let Some(fold) = &mut self.fold else {
            return Ok(());
        };
        let old_head = fold.head;
        let patches = encode::patches(self.name.as_str(), old_head, &entries, patch_bytes_max);
        apply(fold, entries)?;
        match patches {
            Some(patches) => self.for_every_seat(|seat, source| seat.patches(&patches, source)),
            None => self.realign(old_head),
        }
        Ok(())
    }

    /// Every seat goes on from where it stands, if the present line leads on from there.
    fn realign(&mut self, old_head: Cursor) {
        self.for_every_seat(|seat, source| seat.realign(source, old_head));
    }

    fn for_every_seat(&mut self, act: impl Fn(&mut Seat, &mut Source<'_>) -> Result<(), SeatLost>) {
        let Some(fold) = &self.fold else { return };
        let mut source = source(&self.name, &self.config, fold, &mut self.replays);
        let mut lost = Vec::new();
        for (conn, seat) in &mut self.seats {
            if let Err(why) = act(seat, &mut source) {
                lost.push((*conn, why));
            }
        }
        for (conn, why) in lost {
            self.close(conn, why);
        }
    }

    /// Tells changes of presence to the others: the same bytes to all who did not change themselves, and what
    /// changed on this node to other nodes.
    fn flush_presence(&mut self) {
        let changed = self.presence.take_changed(self.now.mono);
        if let Some(message) = self.presence.take_published(self.now.mono) {
            self.outputs.push_back(ChannelOutput::Publish(message));
        }
        if changed.is_empty() {
            return;
        }
        let channel = self.name.as_str();
        let frame = |peers| Message::from(encode::presence(channel, false, peers));
        let shared = frame(self.presence.changes(&changed, None));
        for seat in self.seats.values_mut() {
            if !seat.hears_presence() {
                continue;
            }
            let own;
            let peer = seat.subscriber.peer;
            let message = if changed.contains(&peer) {
                let peers = self.presence.changes(&changed, Some(peer));
                if peers.is_empty() {
                    continue;
                }
                own = frame(peers);
                &own
            } else {
                &shared
            };
            if seat.send(message).is_err() {
                seat.owe_presence();
            }
        }
    }

    /// Sends the whole list to a seat that missed changes.
    fn pay_presence(&mut self, conn: PeerId) {
        let Some(seat) = self.seats.get_mut(&conn) else {
            return;
        };
        if seat.take_presence_due() {
            let peers = self.presence.others(seat.subscriber.peer);
            let list = encode::presence(self.name.as_str(), true, peers);
            if seat.send(&list.into()).is_err() {
                seat.owe_presence();
            }
        }
    }

    /// Sends an answer to whoever asked, subscribed or not.
    fn answer(&mut self, subscriber: &Subscriber, message: Message) {
        let sent = match self.seats.get_mut(&subscriber.conn) {
            Some(seat) => seat.answer(message),
            // No seat, no queue: whoever pushes without reading is let go.
            None => subscriber
                .outlet
                .try_send(&message)
                .map_err(|_| SeatLost::AnswersFull),
        };
        if let Err(lost) = sent {
            self.close(subscriber.conn, lost);
        }
    }

    /// A frame broke its contract: the connection ends, with the reason.
    fn refuse(&mut self, subscriber: &Subscriber, detail: String) {
        let code = ErrorCode::UnexpectedFrame;
        let error = encode::error(self.name.as_str(), code, true, None, detail);
        // If there is no room for the reason, the close code has to do.
        let _ = subscriber.outlet.try_send(&error.into());
        self.outputs.push_back(ChannelOutput::Close {
            conn: subscriber.conn,
            code,
        });
    }

    fn close(&mut self, conn: PeerId, why: SeatLost) {
        if let Some(seat) = self.seats.get_mut(&conn) {
            seat.silence();
        }
        let code = match why {
            SeatLost::SlowConsumer => ErrorCode::SlowConsumer,
            SeatLost::AnswersFull => ErrorCode::BackpressureOverflow,
        };
        self.outputs.push_back(ChannelOutput::Close { conn, code });
    }
}

/// What seats see of the channel; a function of fields, so that seats can be borrowed beside it.
fn source<'a>(
    name: &'a ChannelName,
    config: &ChannelConfig,
    fold: &'a Fold,
    replays: &'a mut Replays,
) -> Source<'a> {
    Source {
        channel: name.as_str(),
        ring: &fold.ring,
        head: fold.head,
        lag: config.lag,
        replays,
    }
}
