//! What subscribers say of epochs and of places that the log does not have: what opens an epoch, and when.
//!
//! A claim with a proof opens a higher epoch soon: some node of ours announced the epoch that it names. One
//! without may be a reader's invention, and so may a place (`have`) that the log does not have, since a
//! proof covers the epoch alone. Both are believed, and paced.
//!
//! Invariant: whoever lies for a day makes a log grow by 24 entries at most, whatever nodes it asks.

use std::time::Duration;

use tidewire_core::planted;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{Cursor, ErrorCode};

use super::input::PeerId;
use super::subscribe::Ask;
use super::{Channel, encode, epoch};

/// Proven claims open at most one epoch per channel in this time: each makes every other subscriber
/// subscribe again.
const PROVEN_PERIOD: Duration = Duration::from_secs(10);

/// A claim without a proof is believed if a clock that is ahead by this could have made it.
const AHEAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// An opening may seem to lie so far ahead: clocks of two nodes that are trusted, and the time that the
/// broker took to tell its own.
const CLOCKS_APART: Duration = Duration::from_secs(15);

/// Claims that are not believed are reported at most once in this time.
const REPORT_PERIOD: Duration = Duration::from_secs(60);

/// What was opened for claims, and what still waits.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// When this node opened an epoch for a proven claim.
    proven_at: Option<MonoTime>,
    /// When this node opened one for something that was not proven.
    paced_at: Option<MonoTime>,
    /// The highest claim that was believed and told to wait: whatever opens next opens above it.
    waiting: u64,
    reported_at: Option<MonoTime>,
}

/// What an ask says of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// Nothing that the log does not know.
    Nothing,
    /// A node announced an epoch that the log does not know.
    Proven,
    /// Perhaps a node announced such an epoch.
    Believed,
    /// An epoch that no clock can have made.
    Absurd,
    /// The log has lost a tail.
    Loss,
}

/// Why an epoch is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The log takes nothing else, or this node knows by itself that it lost entries.
    Log,
    /// A proven claim.
    Proven,
    /// A claim without a proof, or a loss that a place shows.
    Paced,
}

impl Claims {
    pub(super) fn on_opened(&mut self, cause: Cause, now: MonoTime) {
        match cause {
            Cause::Log => {}
            Cause::Proven => self.proven_at = Some(now),
            Cause::Paced => self.paced_at = Some(now),
        }
    }

    /// When the next epoch may be opened for a proven claim: `None` = now.
    pub(super) fn proven_wait(&self, now: MonoTime) -> Option<MonoTime> {
        self.proven_at
            .map(|opened| opened + PROVEN_PERIOD)
            .filter(|at| *at > now)
    }
}

impl Channel {
    pub(super) fn says(&self, ask: &Ask) -> Says {
        let head = self.head();
        if ask.max_epoch <= head.epoch {
            let is_lost = |have: &Cursor| {
                let ring = self.fold.as_ref().map(|fold| &fold.ring);
                have.epoch == head.epoch && ring.is_some_and(|ring| ring.contradicts(have))
            };
            let is_own = ask.is_proven && ask.max_epoch == head.epoch;
            return match is_own && ask.have.as_ref().is_some_and(is_lost) {
                true => Says::Loss,
                false => Says::Nothing,
            };
        }
        let is_proven = ask.is_proven || planted!(UnprovenBelieved);
        if is_proven && epoch::is_followed(ask.max_epoch) {
            return Says::Proven;
        }
        let ahead = u64::try_from(AHEAD_MAX.as_millis()).unwrap_or(u64::MAX);
        let clock = self.broker_clock.unix(self.now).0.saturating_add(ahead);
        if ask.max_epoch <= epoch::of_clock(clock) {
            Says::Believed
        } else {
            Says::Absurd
        }
    }

    /// The highest epoch that a claim names and that the next opening has to be above.
    pub(super) fn claim(&self) -> u64 {
        let asks = self.asks.values();
        let believed = asks.filter(|ask| matches!(self.says(ask), Says::Proven | Says::Believed));
        let waiting = if planted!(WaitingClaimForgotten) {
            0
        } else {
            self.claims.waiting
        };
        believed
            .map(|ask| ask.max_epoch)
            .max()
            .unwrap_or(0)
            .max(waiting)
    }

    /// How long until an epoch may be opened for what is not proven; zero = now. By the log, whoever opened
    /// last, and by what this node did.
    fn paced_wait(&self) -> Duration {
        let period = self.config.claim_period;
        let now = self.now.mono;
        let by_node = self.claims.paced_at.map_or(Duration::ZERO, |at| {
            Duration::from_millis((at + period).0.saturating_sub(now.0))
        });
        let clock = self.broker_clock.unix(self.now).0;
        let opened = self.fold.as_ref().map_or(0, |fold| fold.opened_ms);
        let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        let ahead = u64::try_from(CLOCKS_APART.as_millis()).unwrap_or(u64::MAX);
        // One that lies further in the future was opened by a clock that was off.
        let is_off = opened > clock.saturating_add(ahead);
        let by_log = if is_off || planted!(HourKeptByNode) {
            0
        } else {
            opened.saturating_add(period_ms).saturating_sub(clock)
        };
        by_node.max(Duration::from_millis(by_log))
    }

    /// Sends those away whose word is not good for an opening now, each with what it may do.
    pub(super) fn put_off_asks(&mut self) {
        if self
            .asks
            .values()
            .all(|ask| self.says(ask) == Says::Nothing)
        {
            return;
        }
        let wait = self.paced_wait();
        let pace = |ask: &Ask| match self.says(ask) {
            Says::Absurd => Some(None),
            Says::Loss if planted!(HaveOpensAtOnce) => None,
            Says::Believed | Says::Loss if !wait.is_zero() => Some(Some(wait)),
            _ => None,
        };
        let away: Vec<(PeerId, Option<Duration>)> = self
            .asks
            .iter()
            .filter_map(|(conn, ask)| Some((*conn, pace(ask)?)))
            .collect();
        for (conn, wait) in away {
            let Some(ask) = self.asks.remove(&conn) else {
                continue;
            };
            match wait {
                Some(wait) => {
                    self.claims.waiting = self.claims.waiting.max(ask.max_epoch);
                    let why = "this channel's log may have lost entries that you have; wait, or start over";
                    self.put_off(conn, ErrorCode::Overloaded, Some(wait), why);
                }
                None => {
                    self.report_claim(ask.max_epoch);
                    let why = "the epoch that you have seen is not of this server; start over";
                    self.put_off(conn, ErrorCode::RecoveryRequired, None, why);
                }
            }
        }
    }

    /// Ends a subscribe without an answer, for that subscription alone: it may ask again.
    pub(super) fn put_off(
        &mut self,
        conn: PeerId,
        code: ErrorCode,
        wait: Option<Duration>,
        detail: &str,
    ) {
        if let Some(seat) = self.seats.get(&conn) {
            let subscriber = seat.subscriber.clone();
            let retry_ms = wait.map(|wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
            let error = encode::put_off(self.name.as_str(), code, retry_ms, detail);
            self.answer(&subscriber, error.into());
        }
    }

    fn report_claim(&mut self, epoch: u64) {
        let now = self.now.mono;
        let is_due = self
            .claims
            .reported_at
            .is_none_or(|at| at + REPORT_PERIOD <= now);
        if is_due {
            self.claims.reported_at = Some(now);
            self.trouble = Some(format!(
                "a client claims epoch {epoch}, which no clock can have made and no key of ours proves: if \
                 clients come from another server, or epoch_keys or the clock changed, they have to start over"
            ));
        }
    }

    /// Why an epoch has to be opened before these asks are answered.
    pub(super) fn cause_of_asks(&self) -> Option<Cause> {
        let says = |what: Says| self.asks.values().any(|ask| self.says(ask) == what);
        if says(Says::Loss) || says(Says::Believed) {
            Some(Cause::Paced)
        } else if says(Says::Proven) && self.claims.proven_wait(self.now.mono).is_none() {
            Some(Cause::Proven)
        } else {
            None
        }
    }

    /// Whether a subscriber's place shows a loss: nobody is served before an epoch was opened.
    pub(super) fn has_loss(&self) -> bool {
        self.asks.values().any(|ask| self.says(ask) == Says::Loss)
    }
}
