//! What to ask the broker next: catch up, open an epoch, delete, save, or append a turn of pushes.
//!
//! Invariant: one request at a time, and every push is answered within `broker_timeout`, if only
//! with `hold`.

use std::sync::Arc;

use tidewire_core::document::put_op;
use tidewire_core::planted;
use tidewire_core::time::MonoTime;
use tidewire_core::wire::{ErrorCode, Op, Ops};

use super::claims::Cause;
use super::evaluate::{Context, Evaluation};
use super::fold::{Fold, Results};
use super::input::Subscriber;
use super::reply::{Decided, Request};
use super::saving::Saving;
use super::seat::joined;
use super::subscribe::Ask;
use super::{Channel, encode, epoch};
use crate::log::{BrokerRequest, Entry, EntryBody, tag};

/// A turn ends after this many entries or bytes, so that its patch fits a frame; the rest of the
/// pushes becomes the next turn. One push may exceed it by what one frame holds.
const TURN_ENTRIES_MAX: usize = 1024;
const TURN_BYTES_MAX: usize = 256 * 1024;

/// The initial records of a channel are one entry, which every broker must be able to take in one message
/// of 1 MiB.
const INITIAL_BYTES_MAX: usize = 960 * 1024;

/// A snapshot is cut once the entries since the last one weigh this part of the state.
const SAVED_SHARE: usize = 32;

/// `hold` names a random delay in this range, so that held clients do not come back together.
const HOLD_MS: std::ops::RangeInclusive<u32> = 500..=1500;

impl Channel {
    pub(super) fn next_request(&mut self) -> Option<BrokerRequest> {
        if self.request.is_some() || self.retry.wait_until(self.now.mono).is_some() {
            return None;
        }
        if !self.is_wanted() {
            self.behind = false;
            return None;
        }
        if self.fold.is_none() || self.reload {
            return Some(self.load_request());
        }
        let unread = |ask: &Ask| ask.arrival > self.fresh && !planted!(HeadNotRead);
        if self.behind || self.asks.values().any(unread) {
            return self.read_request();
        }
        if !self.needs_opening() {
            self.put_off_asks();
            if !self.has_loss() {
                self.answer_asks();
            }
        }
        if let Some(request) = self.opening_for_asks() {
            return Some(request);
        }
        if let Some(request) = self.deletion() {
            return Some(request);
        }
        if let Some(request) = self.snapshot_request() {
            return Some(request);
        }
        self.turn().or_else(|| self.snapshot_request())
    }

    /// The earliest moment at which something happens by itself.
    pub(super) fn next_deadline(&self) -> Option<MonoTime> {
        let pushes = self
            .oldest_push()
            .map(|since| since + self.config.broker_timeout);
        let overdue = pushes.into_iter().chain(self.asks_due()).min();
        let presence = self.presence.due_at(!self.seats.is_empty());
        if self.request.is_some() {
            return [overdue, presence].into_iter().flatten().min();
        }
        let retry = self
            .retry
            .wait_until(self.now.mono)
            .filter(|_| self.is_wanted());
        let claim = self
            .claims
            .proven_wait(self.now.mono)
            .filter(|_| !self.asks.is_empty());
        [overdue, presence, retry, claim]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether anybody waits for anything from the broker.
    fn is_wanted(&self) -> bool {
        let catch_up =
            (self.behind || self.reload || self.loading.is_some()) && !self.seats.is_empty();
        let save = self.saving.is_some()
            || self
                .fold
                .as_ref()
                .is_some_and(|fold| self.is_save_due(fold));
        catch_up || save || self.delete || !self.asks.is_empty() || !self.pushes.is_empty()
    }

    fn load_request(&mut self) -> BrokerRequest {
        self.behind = false;
        match self.loading.take() {
            Some((loading, asked)) => {
                let after = loading.last_seq();
                let loading = Box::new(loading);
                self.request = Some(Request::LoadOn { asked, loading });
                BrokerRequest::Read { after }
            }
            None => {
                self.request = Some(Request::Load {
                    asked: self.arrivals,
                });
                BrokerRequest::Load
            }
        }
    }

    fn read_request(&mut self) -> Option<BrokerRequest> {
        self.behind = false;
        self.request = Some(Request::Read {
            asked: self.arrivals,
        });
        Some(BrokerRequest::Read {
            after: self.head().seq,
        })
    }

    /// Whether the log takes nothing but an opening.
    fn needs_opening(&self) -> bool {
        self.fold.as_ref().is_some_and(|fold| {
            let is_off_line = self.off_line == Some(fold.head.epoch);
            fold.head.seq == 0 || fold.deleted || fold.run != self.run || is_off_line
        })
    }

    fn opening_for_asks(&mut self) -> Option<BrokerRequest> {
        if self.asks.is_empty() {
            return None;
        }
        if self.needs_opening() {
            return self.opening(Cause::Log);
        }
        self.opening(self.cause_of_asks()?)
    }

    /// Opens an epoch above everything known and claimed.
    fn opening(&mut self, cause: Cause) -> Option<BrokerRequest> {
        let fold = self.fold.as_ref()?;
        let ops = if fold.head.seq == 0 || fold.deleted || planted!(OpeningRepeatsInitial) {
            let initial = self.policy.initial(&self.name);
            let initial = initial
                .records()
                .map(|(collection, id, record)| put_op(record.to_wire(collection, id)))
                .collect::<Vec<Op>>();
            Ops::new(&initial)
        } else {
            Ops::default()
        };
        if ops.bytes().len() > INITIAL_BYTES_MAX {
            let bytes = ops.bytes().len();
            let over = INITIAL_BYTES_MAX;
            let detail = format!("the channel's initial records are {bytes} bytes, over {over}");
            self.refuse_everybody(ErrorCode::TooLarge, detail);
            return None;
        }
        let fold = self.fold.as_ref()?;
        let unix = self.broker_clock.trusted(self.now);
        let epoch = epoch::next(fold.head.epoch, self.claim(), unix, &mut self.rng);
        let entry = self.entry(fold, epoch, EntryBody::opening(ops));
        self.append(vec![entry], Vec::new(), None, cause)
    }

    /// Nobody can use this channel until the application or its settings are mended.
    pub(super) fn refuse_everybody(&mut self, code: ErrorCode, detail: String) {
        for conn in std::mem::take(&mut self.asks).into_keys() {
            if let Some(seat) = self.seats.remove(&conn) {
                let error = encode::error(self.name.as_str(), code, false, None, detail.as_str());
                self.answer(&seat.subscriber, error.into());
            }
        }
        while let Some(waiting) = self.pushes.pop() {
            self.hold(&waiting.subscriber);
        }
        self.delete = false;
        self.trouble = Some(detail);
    }

    fn deletion(&mut self) -> Option<BrokerRequest> {
        if !self.delete {
            return None;
        }
        let fold = self.fold.as_ref()?;
        if fold.head.seq == 0 || fold.deleted {
            self.delete = false;
            return None;
        }
        if self.needs_opening() {
            return self.opening(Cause::Log);
        }
        let entry = self.entry(fold, fold.head.epoch, EntryBody::Deletion);
        self.append(vec![entry], Vec::new(), None, Cause::Log)
    }

    fn is_save_due(&self, fold: &Fold) -> bool {
        let unsaved = fold.unsaved;
        // A large state is not written for a few entries each time: what is read again after a restart stays
        // small beside it.
        let is_worth_it = unsaved.bytes >= fold.bytes() / SAVED_SHARE
            && (unsaved.entries >= self.config.snapshot_entries
                || unsaved.bytes >= self.config.snapshot_bytes);
        // What was deleted goes from the broker with the next snapshot, which is small.
        let is_gone = fold.deleted && unsaved.entries > 0;
        (is_worth_it || is_gone)
            && self
                .snapshot_not_before
                .is_none_or(|at| at <= self.now.mono)
    }

    /// Retries: at most one in `SNAPSHOT_RETRY`.
    fn snapshot_request(&mut self) -> Option<BrokerRequest> {
        if self.saving.is_none() {
            if !self.fold.as_ref().is_some_and(|f| self.is_save_due(f)) {
                return None;
            }
            let fold = self.fold.as_mut()?;
            // The head's entry always stays: it names the run id. Nobody resumes across a deletion.
            let history = match fold.deleted {
                true => 1,
                false => self.config.history.max(1) as u64,
            };
            self.saving = Some(Saving::new(
                fold.snapshot(),
                self.config.snapshot_part_bytes,
                fold.unsaved,
                fold.head.seq.saturating_sub(history),
            ));
        }
        let saving = self.saving.as_mut()?;
        if saving.yields() && !self.pushes.is_empty() {
            return None;
        }
        let request = saving.next_request();
        self.request = Some(match &request {
            BrokerRequest::PutPart { .. } => Request::PutPart,
            _ => Request::PutSnapshot,
        });
        Some(request)
    }

    /// Evaluates the waiting pushes into one append. Pushes that append nothing are answered at once.
    fn turn(&mut self) -> Option<BrokerRequest> {
        if !self.pushes.is_empty() && !self.may_evaluate() {
            return match self.pushes.is_empty() {
                true => None,
                false => self.read_request(),
            };
        }
        let needs_opening = self.needs_opening();
        let fold = self.fold.as_ref()?;
        let context = Context {
            channel: &self.name,
            config: &self.config,
            policy: &*self.policy,
            run: self.run,
            lifetime: self.lifetime(),
            ms: match planted!(LogTimeFalls) {
                true => self.now.unix.0,
                false => fold.ms.max(self.now.unix.0),
            },
        };
        let mut evaluation = Evaluation::new(context, fold);
        let mut turn = Vec::new();
        let mut open = false;
        while let Some(waiting) = self.pushes.front() {
            if evaluation.len() >= TURN_ENTRIES_MAX || evaluation.bytes() >= TURN_BYTES_MAX {
                break;
            }
            let stale = waiting.push.epoch != fold.head.epoch && !planted!(PushEpochNotCompared);
            if stale && waiting.arrival > self.fresh {
                // Perhaps this node is the one that is behind.
                self.behind = true;
                break;
            }
            if !stale && needs_opening && waiting.may_write(&self.name) {
                open = true;
                break;
            }
            let answers = if stale {
                vec![encode::stale_epoch(self.name.as_str(), fold.head.epoch)]
            } else {
                evaluation.push(waiting)
            };
            if planted!(AckedBeforeDurable) {
                for answer in answers.iter().cloned() {
                    let _ = waiting.subscriber.outlet.try_send(&answer.into());
                }
            }
            let Some(push) = self.pushes.pop() else { break };
            turn.push(Decided {
                push,
                answer: joined(answers),
                held: false,
            });
        }
        let (entries, results) = evaluation.into_parts();
        if !entries.is_empty() {
            let entries = entries.into_iter().map(Arc::new).collect();
            return self.append(entries, turn, Some(results), Cause::Log);
        }
        for decided in turn {
            if let Some(answer) = decided.answer {
                self.answer(&decided.push.subscriber, answer);
            }
        }
        if open {
            self.opening(Cause::Log)
        } else if self.behind {
            self.read_request()
        } else {
            None
        }
    }

    /// Whether this node's clock may decide. If it is off, every push that came before the broker's clock
    /// was read last is told `hold`; for later ones it has to be read again.
    fn may_evaluate(&mut self) -> bool {
        if self.broker_clock.is_old(self.now) {
            return false;
        }
        if !self.broker_clock.is_off(self.now) {
            return true;
        }
        while self
            .pushes
            .front()
            .is_some_and(|waiting| waiting.arrival <= self.fresh)
        {
            if let Some(waiting) = self.pushes.pop() {
                self.hold(&waiting.subscriber);
            }
        }
        self.trouble = Some(
            "this node's clock is more than 5 s from the broker's: mutations wait until it is set right"
                .into(),
        );
        false
    }

    fn entry(&self, fold: &Fold, epoch: u64, body: EntryBody) -> Arc<Entry> {
        // Openings and deletions do not wait for a clock that is off: they take the broker's.
        let ms = fold.ms.max(self.broker_clock.trusted(self.now).0);
        Arc::new(tag::entry(&fold.head, epoch, ms, self.run, body))
    }

    fn append(
        &mut self,
        entries: Vec<Arc<Entry>>,
        turn: Vec<Decided>,
        results: Option<Results>,
        cause: Cause,
    ) -> Option<BrokerRequest> {
        let request = BrokerRequest::Append {
            expected: self.head(),
            entries: entries.clone(),
        };
        self.request = Some(Request::Append {
            entries,
            turn,
            held: 0,
            results,
            cause,
        });
        Some(request)
    }

    /// A turn that was not appended: its pushes are evaluated again.
    pub(super) fn discard(&mut self, turn: Vec<Decided>) {
        let again = turn.into_iter().filter(|decided| !decided.held);
        self.pushes
            .restore(again.map(|decided| decided.push).collect());
    }

    /// A turn that may have been appended, or may be yet: its pushes are evaluated again, and found as duplicates
    /// if they are in the log then.
    pub(super) fn discard_undecided(&mut self, mut turn: Vec<Decided>) {
        let tried_at = Some(self.head()).filter(|_| !planted!(LateAppendForgotten));
        for decided in &mut turn {
            decided.push.tried_at = tried_at;
        }
        self.discard(turn);
    }

    /// Tells every waiting push to come back later, once the broker failed or refused too often.
    pub(super) fn hold_exhausted(&mut self) {
        if self.retry.is_exhausted() {
            while let Some(waiting) = self.pushes.pop() {
                self.hold(&waiting.subscriber);
            }
        }
    }

    /// Tells pushes that the broker kept waiting too long. Those under way may still be acked.
    pub(super) fn hold_overdue(&mut self) {
        let now = self.now.mono;
        let timeout = self.config.broker_timeout;
        let overdue = |since: MonoTime| since + timeout <= now;
        let mut told = Vec::new();
        if let Some(Request::Append { turn, held, .. }) = &mut self.request {
            // Oldest first, and this is asked with every input: what is not overdue ends the walk, and
            // those that were told are not walked over again.
            while let Some(decided) = turn.get_mut(*held)
                && overdue(decided.push.since)
            {
                decided.held = true;
                told.push(decided.push.subscriber.clone());
                *held += 1;
            }
        }
        while self
            .pushes
            .front()
            .is_some_and(|waiting| overdue(waiting.since))
        {
            told.extend(self.pushes.pop().map(|waiting| waiting.subscriber));
        }
        for subscriber in told {
            self.hold(&subscriber);
        }
    }

    fn oldest_push(&self) -> Option<MonoTime> {
        let under_way = match &self.request {
            Some(Request::Append { turn, held, .. }) => {
                turn.get(*held).map(|decided| decided.push.since)
            }
            _ => None,
        };
        under_way.or_else(|| self.pushes.front().map(|waiting| waiting.since))
    }

    /// `hold`, with a delay that spreads.
    pub(super) fn hold(&mut self, subscriber: &Subscriber) {
        let retry_ms = self.rng.u32(HOLD_MS);
        let hold = encode::hold(self.name.as_str(), ErrorCode::Overloaded, retry_ms);
        self.answer(subscriber, hold.into());
    }
}
