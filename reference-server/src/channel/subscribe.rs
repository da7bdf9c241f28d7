//! Answers to `subscribe`: resume where the log still has the place, else a snapshot.
//!
//! Invariant: nothing is answered before the broker's head was read after the question came, and
//! never with an epoch below the one that the store claims. Who cannot be answered within the broker's
//! timeout, or whose claim has to wait, is told when to ask again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tidewire_core::planted;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{Cursor, ErrorCode, ServerKind};

use super::encode;
use super::fold::Fold;
use super::input::{PeerId, Subscriber};
use super::seat::Seat;
use super::snapshot::SnapshotMessages;
use super::table::known;
use super::{Channel, proof, source};

/// An encoded snapshot is handed out until this many entries came after it; the rest is replayed.
const ENCODED_AGE_MAX: u64 = 256;

/// Who gets no answer because the broker gives none asks again after a random time in this range.
const RETRY_MS: std::ops::RangeInclusive<u64> = 1_000..=3_000;

/// A `subscribe` that was not answered yet. At most one per connection: a later one replaces it.
pub(super) struct Ask {
    pub(super) have: Option<Cursor>,
    pub(super) max_epoch: u64,
    /// Whether a node with one of our keys announced `max_epoch` to this store.
    pub(super) is_proven: bool,
    pub(super) arrival: u64,
    since: MonoTime,
}

impl Channel {
    pub(super) fn handle_subscribe(
        &mut self,
        subscriber: Subscriber,
        have: Option<Cursor>,
        max_epoch: u64,
        proof: &[u8],
    ) {
        let arrival = self.arrive();
        let conn = subscriber.conn;
        if self.seats.is_empty() {
            self.presence.ask();
        }
        self.seats
            .entry(conn)
            .or_insert_with(|| Seat::new(subscriber))
            .silence();
        let (keys, channel) = (&self.config.epoch_keys, self.name.as_str());
        self.asks.insert(
            conn,
            Ask {
                // Seq 0 is before the first entry: nothing.
                have: have.filter(|have| have.seq > 0),
                max_epoch,
                is_proven: proof::is_proven(keys, channel, max_epoch, proof),
                arrival,
                since: self.now.mono,
            },
        );
    }

    /// When the first subscribe will have waited too long for the broker.
    pub(super) fn asks_due(&self) -> Option<MonoTime> {
        self.asks.values().filter_map(|ask| self.ask_due(ask)).min()
    }

    /// A subscriber that the broker keeps waiting is told so, and asks again.
    pub(super) fn put_off_overdue(&mut self) {
        let now = self.now.mono;
        let is_overdue = |ask: &Ask| self.ask_due(ask).is_some_and(|at| at <= now);
        let late: Vec<PeerId> = self
            .asks
            .iter()
            .filter(|(_, ask)| is_overdue(ask))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in late {
            self.asks.remove(&conn);
            let wait = Duration::from_millis(self.rng.u64(RETRY_MS));
            let why = "the broker does not answer";
            self.put_off(conn, ErrorCode::Overloaded, Some(wait), why);
        }
    }

    /// While the broker owes an answer, or has failed; `None`: it is not what keeps this one waiting.
    fn ask_due(&self, ask: &Ask) -> Option<MonoTime> {
        let since = if self.request.is_some() {
            ask.since.max(self.asked_at)
        } else {
            self.retry.wait_until(self.now.mono)?;
            ask.since
        };
        Some(since + self.config.broker_timeout)
    }

    /// What proves the log's epoch to a node of ours, whatever store brings it.
    fn proof(&mut self) -> Bytes {
        let epoch = self.head().epoch;
        if self.proof.0 != epoch {
            let keys = &self.config.epoch_keys;
            self.proof = (epoch, proof::prove(keys, self.name.as_str(), epoch));
        }
        self.proof.1.clone()
    }

    /// Answers everyone whose claim the epoch covers.
    pub(super) fn answer_asks(&mut self) {
        let epoch = self.head().epoch;
        let read = |ask: &Ask| ask.arrival <= self.fresh || planted!(HeadNotRead);
        let covered = |ask: &Ask| ask.max_epoch <= epoch && read(ask);
        let ready: Vec<(PeerId, Ask)> = self.asks.extract_if(.., |_, ask| covered(ask)).collect();
        for (conn, ask) in ready {
            self.answer_ask(conn, &ask);
        }
    }

    fn answer_ask(&mut self, conn: PeerId, ask: &Ask) {
        let proof = self.proof();
        let channel = self.name.as_str();
        let (Some(fold), Some(seat)) = (&mut self.fold, self.seats.get_mut(&conn)) else {
            return;
        };
        let author = seat.subscriber.author;
        let first: ServerKind = match ask.have.filter(|have| fold.ring.holds(have)) {
            Some(have) => {
                seat.replay_from(have);
                {
                    let known = known(fold.table.get(&author));
                    encode::resume(channel, have, fold.head, known, proof)
                }
            }
            None => {
                let snapshot = encoded(&mut self.encoded, channel, fold, ask.have);
                let begin = snapshot.begin(channel, &author, fold.head, proof);
                seat.send_snapshot(snapshot);
                begin
            }
        };
        seat.owe_presence();
        let mut source = source(&self.name, &self.config, fold, &mut self.replays);
        let sent = seat
            .answer(first.into())
            .and_then(|()| seat.pump(&mut source));
        match sent {
            Ok(()) => self.pay_presence(conn),
            Err(lost) => self.close(conn, lost),
        }
    }
}

/// The shared encoding of a recent state, made anew when it is too old for this subscriber.
fn encoded(
    cache: &mut Option<Arc<SnapshotMessages>>,
    channel: &str,
    fold: &mut Fold,
    have: Option<Cursor>,
) -> Arc<SnapshotMessages> {
    let usable = |snapshot: &&Arc<SnapshotMessages>| {
        let at = snapshot.cursor;
        (at.epoch == fold.head.epoch || planted!(SnapshotOfOlderEpoch))
            && fold.head.seq - at.seq <= ENCODED_AGE_MAX
            && fold.ring.holds(&at)
            // A store refuses a snapshot below its own cursor.
            && have.is_none_or(|have| have.order() <= at.order())
    };
    if let Some(snapshot) = cache.as_ref().filter(usable) {
        return snapshot.clone();
    }
    let snapshot = Arc::new(SnapshotMessages::new(channel, fold));
    *cache = Some(snapshot.clone());
    snapshot
}
