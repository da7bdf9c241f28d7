//! Answers to `subscribe`: resume where the log still has the place, else a snapshot.
//!
//! Invariant: nothing is answered before the broker's head was read after the question came, and
//! never with an epoch below the one that the store claims.

use std::sync::Arc;

use tidewire_core::planted;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{Cursor, ServerKind};

use super::encode;
use super::epoch;
use super::fold::Fold;
use super::input::{PeerId, Subscriber};
use super::seat::Seat;
use super::snapshot::SnapshotMessages;
use super::table::known;
use super::{Channel, source};

/// An encoded snapshot is handed out until this many entries came after it; the rest is replayed.
const ENCODED_AGE_MAX: u64 = 256;

/// A `subscribe` that was not answered yet. At most one per connection: a later one replaces it.
pub(super) struct Ask {
    have: Option<Cursor>,
    pub(super) max_epoch: u64,
    pub(super) arrival: u64,
}

impl Channel {
    pub(super) fn handle_subscribe(
        &mut self,
        subscriber: Subscriber,
        have: Option<Cursor>,
        max_epoch: u64,
    ) {
        let arrival = self.arrive();
        let conn = subscriber.conn;
        self.seats
            .entry(conn)
            .or_insert_with(|| Seat::new(subscriber))
            .silence();
        self.asks.insert(
            conn,
            Ask {
                // Seq 0 is before the first entry: nothing.
                have: have.filter(|have| have.seq > 0),
                max_epoch,
                arrival,
            },
        );
    }

    /// The highest epoch that waiting subscribers claim, and that is believed of a store.
    pub(super) fn claim(&self) -> u64 {
        self.asks
            .values()
            .map(|ask| ask.max_epoch)
            .filter(|epoch| epoch::is_credible(*epoch))
            .max()
            .unwrap_or(0)
    }

    /// When an epoch may be opened for a claim: `None` = now.
    pub(super) fn claim_wait(&self) -> Option<MonoTime> {
        self.claim_opened
            .map(|opened| opened + epoch::CLAIM_PERIOD)
            .filter(|at| *at > self.now.mono)
    }

    /// Refuses claims above the log that are not believed. What the log itself has reached is no claim,
    /// however high.
    pub(super) fn refuse_absurd_asks(&mut self) {
        let (epoch, fresh) = (self.head().epoch, self.fresh);
        let absurd = |ask: &Ask| {
            ask.max_epoch > epoch && !epoch::is_credible(ask.max_epoch) && ask.arrival <= fresh
        };
        let refused: Vec<(PeerId, Ask)> = self.asks.extract_if(.., |_, ask| absurd(ask)).collect();
        for (conn, ask) in refused {
            if let Some(seat) = self.seats.get(&conn) {
                let subscriber = seat.subscriber.clone();
                let detail = format!("max_epoch {} is too near to 2^53", ask.max_epoch);
                self.refuse(&subscriber, detail);
            }
        }
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
        let channel = self.name.as_str();
        let (Some(fold), Some(seat)) = (&mut self.fold, self.seats.get_mut(&conn)) else {
            return;
        };
        let author = seat.subscriber.author;
        let first: ServerKind = match ask.have.filter(|have| fold.ring.holds(have)) {
            Some(have) => {
                seat.replay_from(have);
                encode::resume(channel, have, fold.head, known(fold.table.get(&author)))
            }
            None => {
                let snapshot = encoded(&mut self.encoded, channel, fold, ask.have);
                let begin = snapshot.begin(channel, &author, fold.head);
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
