//! One subscriber's seat: where it stands in the log, and how it gets on from there.
//!
//! Invariant: a seat that still has something to get was refused by its outlet, so a `Drained` will
//! come; nothing here waits or retries by itself.

use std::collections::VecDeque;
use std::sync::Arc;

use tidewire_core::wire::{Cursor, ServerKind};

use super::config::Lag;
use super::encode::{self, PatchMessage};
use super::input::{OutletFull, Subscriber};
use super::message::Message;
use super::replays::Replays;
use super::ring::Ring;
use super::snapshot::SnapshotMessages;

/// Bytes of answers (never patches) that may wait for room in the outlet. Above it the connection is
/// closed with `backpressure_overflow`.
const ANSWERS_BYTES_MAX: usize = 64 * 1024;

/// Where a subscriber stands.
enum Stream {
    /// It gets no patches: not answered yet, or told `lagged`.
    Silent,
    /// It was handed everything up to the head.
    Live,
    /// It was handed everything up to this cursor.
    Replay(Cursor),
    /// It is getting a snapshot; the next message has this index.
    Snapshot(Arc<SnapshotMessages>, usize),
    /// It lost its place and will be told once there is room.
    Lagged,
}

/// The connection has to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SeatLost {
    /// The lag policy says so.
    SlowConsumer,
    /// Answers pile up unread.
    AnswersFull,
}

/// What is still to be handed over of a range that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetching {
    /// Everything up to here was.
    pub(super) at: Cursor,
    /// Inclusive.
    pub(super) through: u64,
    pub(super) bytes_left: usize,
}

/// One subscriber.
pub(super) struct Seat {
    pub(super) subscriber: Subscriber,
    stream: Stream,
    /// A range that it asked for beside its stream.
    fetching: Option<Box<Fetching>>,
    answers: VecDeque<Message>,
    answers_bytes: usize,
    /// Presence changes were lost: the whole list is due once there is room.
    presence_due: bool,
}

/// What a seat needs to know of the channel to go on.
pub(super) struct Source<'a> {
    pub(super) channel: &'a str,
    pub(super) ring: &'a Ring,
    pub(super) head: Cursor,
    pub(super) lag: Lag,
    pub(super) replays: &'a mut Replays,
}

impl Source<'_> {
    /// The next patch for a reader at a cursor, as the lag policy wants it. `None` when the ring does not
    /// hold the cursor or there is nothing after it.
    fn replay(&mut self, from: Cursor) -> Option<PatchMessage> {
        let (channel, ring, lag) = (self.channel, self.ring, self.lag);
        self.replays.get_or_encode(self.head, from, || {
            let squashed = (lag == Lag::Conflate)
                .then(|| encode::replay_squashed(channel, ring, from))
                .flatten();
            squashed.or_else(|| encode::replay(channel, ring, from))
        })
    }
}

impl Seat {
    pub(super) const fn new(subscriber: Subscriber) -> Self {
        Self {
            subscriber,
            stream: Stream::Silent,
            fetching: None,
            answers: VecDeque::new(),
            answers_bytes: 0,
            presence_due: false,
        }
    }

    /// Stops patches until the next answer to a `subscribe`.
    pub(super) fn silence(&mut self) {
        self.stream = Stream::Silent;
        self.fetching = None;
    }

    /// Starts to hand over a range beside the stream; `None`: memory does not have it.
    pub(super) fn fetch(
        &mut self,
        fetching: Option<Fetching>,
        source: &mut Source<'_>,
    ) -> Result<(), SeatLost> {
        match self.stream {
            // An answer that starts the stream anew is on its way, or `lagged` is: each says more.
            Stream::Silent | Stream::Lagged | Stream::Snapshot(..) => return Ok(()),
            Stream::Live | Stream::Replay(_) => {}
        }
        self.fetching = fetching.map(Box::new);
        if self.fetching.is_none() {
            self.lag();
        }
        self.pump(source)
    }

    /// Hands over the range that was asked for, as there is room; tells whether that is done.
    fn pump_fetch(&mut self, source: &mut Source<'_>) -> bool {
        while let Some(fetching) = &mut self.fetching {
            if fetching.at.seq >= fetching.through
                || fetching.at == source.head
                || fetching.bytes_left == 0
            {
                break;
            }
            let through = fetching.through;
            let Some(patch) =
                encode::replay_through(source.channel, source.ring, fetching.at, through)
            else {
                // Memory has moved on past it.
                self.lag();
                break;
            };
            if self.subscriber.outlet.try_send(&patch.message).is_err() {
                return false;
            }
            fetching.at = patch.to;
            let bytes = patch.message.proto().len();
            fetching.bytes_left = fetching.bytes_left.saturating_sub(bytes);
        }
        self.fetching = None;
        true
    }

    /// Starts the stream at a cursor that the ring holds.
    pub(super) fn replay_from(&mut self, cursor: Cursor) {
        self.stream = Stream::Replay(cursor);
    }

    /// Starts the stream with a snapshot, whose `begin` was sent.
    pub(super) fn send_snapshot(&mut self, snapshot: Arc<SnapshotMessages>) {
        self.stream = Stream::Snapshot(snapshot, 0);
    }

    /// Sends an answer, or keeps it until there is room.
    pub(super) fn answer(&mut self, message: Message) -> Result<(), SeatLost> {
        if self.answers.is_empty() && self.subscriber.outlet.try_send(&message).is_ok() {
            return Ok(());
        }
        let bytes = message.proto().len();
        if self.answers_bytes + bytes > ANSWERS_BYTES_MAX {
            return Err(SeatLost::AnswersFull);
        }
        self.answers_bytes += bytes;
        self.answers.push_back(message);
        Ok(())
    }

    /// Hands over the patches that lead from the old head to the new one. The fast path of fan-out:
    /// every live seat gets the same bytes.
    pub(super) fn patches(
        &mut self,
        patches: &[PatchMessage],
        source: &mut Source<'_>,
    ) -> Result<(), SeatLost> {
        if matches!(self.stream, Stream::Live)
            && let Some(refused) = patches
                .iter()
                .find(|patch| self.send(&patch.message).is_err())
        {
            self.stream = Stream::Replay(refused.from);
        }
        match self.stream {
            Stream::Replay(at) if !source.ring.holds(&at) => self.lose_place(source.lag),
            _ => Ok(()),
        }
    }

    /// The log's line changed, or the ring no longer reaches from the old head to the new one:
    /// go on from one's own cursor if that is possible.
    pub(super) fn realign(
        &mut self,
        source: &mut Source<'_>,
        old_head: Cursor,
    ) -> Result<(), SeatLost> {
        let at = match &self.stream {
            Stream::Silent | Stream::Lagged => return Ok(()),
            Stream::Live => old_head,
            Stream::Replay(cursor) => *cursor,
            Stream::Snapshot(snapshot, _) => snapshot.cursor,
        };
        if !source.ring.holds(&at) {
            self.lag();
        } else if matches!(self.stream, Stream::Live) {
            self.stream = Stream::Replay(at);
        }
        self.pump(source)
    }

    /// Marks that presence changes were not handed over.
    pub(super) fn owe_presence(&mut self) {
        self.presence_due = true;
    }

    /// Takes the mark, if there is room to pay.
    pub(super) fn take_presence_due(&mut self) -> bool {
        self.answers.is_empty() && std::mem::take(&mut self.presence_due)
    }

    /// Whether it gets presence changes now: those who lost their place get the list when they subscribe again.
    pub(super) fn hears_presence(&self) -> bool {
        !matches!(self.stream, Stream::Silent | Stream::Lagged)
    }

    /// Sends one message past the answers' queue, if nothing waits there.
    pub(super) fn send(&self, message: &Message) -> Result<(), OutletFull> {
        if self.answers.is_empty() {
            self.subscriber.outlet.try_send(message)
        } else {
            Err(OutletFull)
        }
    }

    /// Sends waiting answers as there is room.
    pub(super) fn flush_answers(&mut self) {
        while let Some(message) = self.answers.front() {
            if self.subscriber.outlet.try_send(message).is_err() {
                return;
            }
            self.answers_bytes -= message.proto().len();
            self.answers.pop_front();
        }
    }

    /// Goes on until the seat is live or the outlet refuses.
    ///
    /// Ends: every round sends a message into a bounded queue, or leaves.
    pub(super) fn pump(&mut self, source: &mut Source<'_>) -> Result<(), SeatLost> {
        self.flush_answers();
        if !self.answers.is_empty() || !self.pump_fetch(source) {
            return Ok(());
        }
        loop {
            match &mut self.stream {
                Stream::Silent | Stream::Live => return Ok(()),
                Stream::Lagged => {
                    if self.send(&encode::lagged(source.channel).into()).is_ok() {
                        self.stream = Stream::Silent;
                    }
                    return Ok(());
                }
                Stream::Snapshot(snapshot, next) => {
                    let Some(message) = snapshot.message(*next) else {
                        self.stream = Stream::Replay(snapshot.cursor);
                        continue;
                    };
                    if self.subscriber.outlet.try_send(&message).is_err() {
                        return Ok(());
                    }
                    *next += 1;
                }
                Stream::Replay(cursor) if *cursor == source.head => self.stream = Stream::Live,
                Stream::Replay(cursor) => {
                    let Some(patch) = source.replay(*cursor) else {
                        self.lose_place(source.lag)?;
                        continue;
                    };
                    if self.subscriber.outlet.try_send(&patch.message).is_err() {
                        return Ok(());
                    }
                    self.stream = Stream::Replay(patch.to);
                }
            }
        }
    }

    /// The next thing it hears is that it has to subscribe again; what it fetched may be of another line.
    fn lag(&mut self) {
        self.stream = Stream::Lagged;
        self.fetching = None;
    }

    /// The entries in memory have moved on past it.
    fn lose_place(&mut self, lag: Lag) -> Result<(), SeatLost> {
        match lag {
            Lag::Resync | Lag::Conflate => {
                self.lag();
                Ok(())
            }
            Lag::Close => {
                self.stream = Stream::Silent;
                Err(SeatLost::SlowConsumer)
            }
        }
    }
}

/// Joins answers into one message.
pub(super) fn joined(answers: Vec<ServerKind>) -> Option<Message> {
    (!answers.is_empty()).then(|| Message::new(answers))
}
