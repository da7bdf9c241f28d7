//! Over which transport a session reaches its server (docs/protocol/connection.md, "Choosing").
//!
//! Only usefulness counts: a transport is good once the server has welcomed us over it. A round of attempts begins
//! with the best one that is not known to be of no use here; what shows nothing for a moment is joined by the next.

use std::time::Duration;

use fastrand::Rng;

use crate::config::Config;
use crate::io::{Probed, TransportKind};
use crate::planted;
use crate::time::{MonoTime, Now, UnixTime};

/// Between probes of a network that lets somebody else answer.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// For so long; after that with each attempt to connect.
const PROBES_LAST: Duration = Duration::from_secs(5 * 60);

/// A probe that was not answered for so long has found nobody.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Between two tries of a better transport, whatever hints come.
const CLIMB_MIN: Duration = Duration::from_secs(2);

/// So many transports there are.
const KINDS: usize = 3;

/// A transport that was of no use to a server, known by its URL, from a network. Plain data: a store may keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransportVerdict {
    /// Which.
    pub kind: TransportKind,
    /// From then on it is tried in its turn again.
    pub until: UnixTime,
}

/// What is known of transports, and how far the present round of attempts has come.
#[derive(Debug)]
pub(crate) struct Chain {
    /// The best first; never empty.
    kinds: Vec<TransportKind>,
    /// By rank: until when each is known to be of no use.
    until: [UnixTime; KINDS],
    /// What the round has still to try: a bit for each rank.
    left: u8,
    /// What was of no use in this round.
    useless: u8,
    /// What was answered that the server cannot just now: no fault of the transport.
    excused: u8,
    /// What was shown by then decides whether the next one joins.
    join_at: Option<MonoTime>,
    join_after: Duration,
    verdict_ttl: Duration,
    /// The newest token, for those that join.
    pub(crate) token: String,
    probe: Probe,
    climb: Climb,
}

/// Who answers in this network.
#[derive(Debug, Default)]
struct Probe {
    last: u64,
    /// One is under way: how long it may take.
    asked_until: Option<MonoTime>,
    /// One is to be sent; and whether the round has wanted one before.
    is_wanted: bool,
    was_wanted: bool,
    /// Somebody else answers, since then.
    strange_since: Option<MonoTime>,
    again_at: Option<MonoTime>,
}

/// Tries of better transports.
#[derive(Debug)]
struct Climb {
    base: Duration,
    max: Duration,
    delay: Duration,
    tries: usize,
    tried_at: MonoTime,
    /// The rank of the transport that was left for a try.
    from: usize,
}

impl Chain {
    pub(crate) fn new(config: &Config) -> Self {
        let mut kinds: Vec<TransportKind> = Vec::new();
        for &kind in &config.transports {
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if kinds.is_empty() {
            kinds.push(TransportKind::WebSocket);
        }
        let mut until = [UnixTime(0); KINDS];
        for verdict in &config.verdicts {
            if let Some(at) = kinds.iter().position(|kind| *kind == verdict.kind) {
                until[at] = verdict.until;
            }
        }
        Self {
            kinds,
            until,
            left: 0,
            useless: 0,
            excused: 0,
            join_at: None,
            join_after: config.join_after,
            verdict_ttl: config.verdict_ttl,
            token: String::new(),
            probe: Probe::default(),
            climb: Climb {
                base: config.climb_delay_base,
                max: config.climb_delay_max,
                delay: config.climb_delay_base,
                tries: 0,
                tried_at: MonoTime(0),
                from: 0,
            },
        }
    }

    pub(crate) fn verdicts(&self) -> Vec<TransportVerdict> {
        let verdicts = self.kinds.iter().zip(self.until);
        let verdicts = verdicts.filter(|(_, until)| until.0 > 0);
        let verdicts = verdicts.map(|(&kind, until)| TransportVerdict { kind, until });
        verdicts.collect()
    }

    /// How good a transport is: 0 is the best.
    pub(crate) fn rank(&self, kind: TransportKind) -> usize {
        let at = self.kinds.iter().position(|known| *known == kind);
        at.unwrap_or(0)
    }

    fn is_useless(&self, rank: usize, now: UnixTime) -> bool {
        // Somebody may have set the calendar back.
        self.until[rank] > now && self.until[rank] <= now + self.verdict_ttl
    }

    // ------------------------------------------------------------------- a round

    /// The best of these ranks that is not known to be of no use; else the best.
    fn best_of(&self, ranks: u8, now: UnixTime) -> Option<usize> {
        let mut known = None;
        for rank in 0..self.kinds.len() {
            if ranks & 1 << rank != 0 {
                if !self.is_useless(rank, now) {
                    return Some(rank);
                }
                known = known.or(Some(rank));
            }
        }
        known
    }

    /// What a round would begin with.
    pub(crate) fn best(&self, now: UnixTime) -> TransportKind {
        self.kinds[self.best_of(u8::MAX, now).unwrap_or(0)]
    }

    /// Begins a round of attempts. `first`: one that is under way already.
    pub(crate) fn begin(&mut self, first: Option<TransportKind>, now: Now) -> TransportKind {
        let first = first.unwrap_or_else(|| self.best(now.unix));
        self.left = !self.bit(first);
        self.useless = 0;
        self.excused = 0;
        self.probe.was_wanted = false;
        self.tries(now.mono);
        first
    }

    fn bit(&self, kind: TransportKind) -> u8 {
        1 << self.rank(kind)
    }

    fn tries(&mut self, now: MonoTime) {
        let is_chain = self.kinds.len() > 1;
        self.join_at = is_chain.then(|| now + self.join_after);
    }

    /// The next transport of this round, if there is one.
    pub(crate) fn next(&mut self, now: Now) -> Option<TransportKind> {
        let rank = self.best_of(self.left, now.unix)?;
        self.left &= !(1 << rank);
        self.excused &= !(1 << rank);
        self.tries(now.mono);
        Some(self.kinds[rank])
    }

    /// Whether it is time for the next one to join, or for the round to end.
    pub(crate) fn is_join_due(&mut self, now: MonoTime) -> bool {
        let is_due = self.join_at.is_some_and(|at| now >= at);
        if is_due {
            self.join_at = None;
        }
        is_due
    }

    /// All attempts are over, and none was of use: that says nothing of any of them.
    pub(crate) fn end_round(&mut self) {
        self.join_at = None;
        self.left = 0;
        self.useless = 0;
        self.excused = 0;
    }

    /// What the round has tried was of no use.
    pub(crate) fn failed(&mut self, kind: TransportKind) {
        self.doubt();
        self.useless |= self.bit(kind) & !self.excused;
    }

    /// An attempt was answered with this status of HTTP: some say that it cannot be just now, whoever asks.
    pub(crate) fn answered(&mut self, kind: TransportKind, status: u16) {
        if matches!(status, 429 | 502..=504) && !planted!(BusyTakenForBlocked) {
            self.excused |= self.bit(kind);
        }
    }

    /// The server has welcomed us over this one: so what failed beside it was not the network's whole fault.
    pub(crate) fn proved(&mut self, kind: TransportKind, now: UnixTime) {
        self.useless &= !self.bit(kind);
        for rank in 0..self.kinds.len() {
            if self.useless & 1 << rank != 0 {
                self.until[rank] = now + self.verdict_ttl;
            }
        }
        self.useless = 0;
        let rank = self.rank(kind);
        self.until[rank] = UnixTime(0);
        if (0..rank).any(|better| !self.is_useless(better, now)) {
            // Nothing is known against it: it was busy, or slower.
            self.climbed();
        }
        self.join_at = None;
        self.probe = Probe {
            last: self.probe.last,
            ..Probe::default()
        };
    }

    /// The network may be another one: what was learnt of the one before says nothing about it.
    pub(crate) fn forget_all(&mut self) {
        self.until = [UnixTime(0); KINDS];
        self.climb.delay = self.climb.base;
    }

    // -------------------------------------------------------------------- probes

    /// An attempt makes one doubt the network: a round asks once who answers there.
    pub(crate) const fn doubt(&mut self) {
        self.probe.is_wanted |= !self.probe.was_wanted && self.kinds.len() > 1;
        self.probe.was_wanted = true;
    }

    /// The number of a probe that is to be sent now, if one is.
    pub(crate) fn probe_if_due(&mut self, now: MonoTime) -> Option<u64> {
        if self.probe.asked_until.is_some_and(|until| now >= until) {
            self.found(self.probe.last, Probed::Nobody, now);
        }
        let probe = &mut self.probe;
        let is_again = probe.again_at.is_some_and(|at| now >= at);
        if !std::mem::take(&mut probe.is_wanted) && !is_again || probe.asked_until.is_some() {
            return None;
        }
        probe.again_at = None;
        probe.asked_until = Some(now + PROBE_TIMEOUT);
        probe.last += 1;
        Some(probe.last)
    }

    /// A probe was answered. Says whether the server answers where somebody else did.
    pub(crate) fn found(&mut self, number: u64, found: Probed, now: MonoTime) -> bool {
        let probe = &mut self.probe;
        if number != probe.last || probe.asked_until.take().is_none() {
            return false;
        }
        match found {
            Probed::Live => return probe.strange_since.take().is_some(),
            Probed::Stranger => {
                probe.strange_since.get_or_insert(now);
            }
            Probed::Nobody => {}
        }
        let since = probe.strange_since;
        let goes_on = since.is_some_and(|since| now.since(since) < PROBES_LAST);
        probe.again_at = goes_on.then(|| now + PROBE_INTERVAL);
        false
    }

    /// Somebody else answers in the server's place.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.probe.strange_since.is_some()
    }

    // -------------------------------------------------------------------- climbing

    /// When to try a better transport than this one, and which; `None`: there is none.
    pub(crate) fn plan_climb(
        &mut self,
        from: TransportKind,
        now: MonoTime,
        rng: &mut Rng,
    ) -> Option<MonoTime> {
        if self.rank(from) == 0 || planted!(FallbackForEver) {
            return None;
        }
        if self.rank(from) < self.climb.from {
            // One step was made: the next one may be as near.
            self.climbed();
        }
        let delay = self.climb.delay;
        self.climb.delay = (delay * 2).min(self.climb.max);
        let jitter_ms = u64::try_from(delay.as_millis() / 4).unwrap_or(0);
        Some(now + delay + Duration::from_millis(rng.u64(0..=jitter_ms)))
    }

    /// Which transport is tried now: those that are better than the present one, in turn.
    pub(crate) fn climb_to(&mut self, from: TransportKind, now: MonoTime) -> TransportKind {
        let better = self.rank(from).clamp(1, self.kinds.len());
        let kind = self.kinds[self.climb.tries % better];
        self.climb.tries += 1;
        self.climb.from = self.rank(from);
        self.climb.tried_at = now;
        kind
    }

    /// The earliest moment for a try that a hint wants at once.
    pub(crate) fn climb_at(&self, now: MonoTime) -> MonoTime {
        now.max(self.climb.tried_at + CLIMB_MIN)
    }

    /// A better transport was tried beside one that works.
    pub(crate) fn climb_failed(&mut self, kind: TransportKind, now: UnixTime) {
        let bit = self.bit(kind);
        if self.excused & bit == 0 {
            let rank = self.rank(kind);
            self.until[rank] = now + self.verdict_ttl;
        }
        self.excused &= !bit;
    }

    /// The session is where it wants to be.
    pub(crate) const fn climbed(&mut self) {
        self.climb.delay = self.climb.base;
        self.climb.tries = 0;
        self.climb.from = 0;
    }

    /// The next moment at which something is due.
    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        let probe = self.probe.asked_until.or(self.probe.again_at);
        self.join_at.into_iter().chain(probe).min()
    }
}
