//! How mutations enter and how they leave: contained in the base, refused by the log, lost by it, or
//! given up.
//!
//! Invariant: an overlay leaves in the same step in which the base contains its entry or its
//! rejection is known, never on an `ack`. The application is told once the store has the outcome.

use std::time::Duration;

use bytes::Bytes;

use super::{Channel, ChannelStatus, Turn};
use crate::document::precondition::subject;
use crate::document::{Document, Record};
use crate::io::{Event, Output};
use crate::mutation::queue::{Row, Stage, fresh_place};
use crate::mutation::{
    Judgement, MutateOptions, MutationHandle, MutationStatus, OutboxRequest, Settlement,
};
use crate::planted;
use crate::time::UnixTime;
use crate::wire::{self, Change, ErrorCode, Known, PatchInPlace, PreconditionKind};

/// Rows that end, and how.
pub(super) type Settled = Vec<(MutationHandle, Settlement)>;

/// Log time may be so much ahead of what we take for the server's time: clocks of two nodes that are still
/// trusted, and what was under way.
const LOG_TIME_AHEAD: Duration = Duration::from_secs(15);

impl Channel {
    /// Shows a mutation and queues it. `item`: the same, encoded, `bytes` of it in a push.
    pub(crate) fn mutate(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
        changes: Vec<Change>,
        options: &MutateOptions,
        (item, bytes): (Bytes, usize),
    ) {
        let ttl = options.ttl.map(|ttl| ttl.min(turn.config.ttl_max));
        let deadline = ttl.map(|ttl| turn.server_now + ttl);
        let place = fresh_place(handle);
        self.view
            .push(handle, place, changes.into(), &turn.limits, &mut self.dirty);
        let superfluous = self.queue.push(handle, item, options, deadline, bytes);
        if let Some(older) = superfluous {
            self.neutralise(turn, older, MutationStatus::Cancelled);
        }
    }

    /// The store has the rows.
    pub(crate) fn handle_appended(
        &mut self,
        turn: &mut Turn<'_>,
        numbers: Vec<(MutationHandle, u64)>,
    ) -> Vec<(MutationHandle, MutationStatus)> {
        let mut ended = Vec::new();
        for (handle, n) in numbers {
            let moved = self.queue.number(handle, n);
            self.view
                .place(handle, n, moved, &turn.limits, &mut self.dirty);
            let Some(row) = self.queue.by_handle(handle) else {
                continue;
            };
            if row.ending {
                self.store_noops(turn, &[handle]);
            } else if row.noop {
                // It was written as one.
                row.stage = Stage::Unsent;
                let status = row.status.clone();
                ended.push((handle, status.clone()));
                self.queue.empty(handle);
                self.tell(turn, handle, n, status.clone());
                self.fail_dependents(turn, handle, &status);
            } else {
                self.tell(turn, handle, n, MutationStatus::Queued);
                if self.is_decided(n) {
                    // Another session was faster than this answer.
                    self.view
                        .drop_mutations(&[handle], &turn.limits, &mut self.dirty);
                    self.ask_how_decided(turn);
                }
            }
        }
        if let ChannelStatus::Failed { code, detail } = self.status.clone() {
            // It failed while the store was writing.
            self.give_up_all(turn, code, &detail);
        }
        ended
    }

    /// The store could not take a row: it was never sent and never will be.
    pub(crate) fn handle_append_failed(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
        detail: &str,
    ) -> Option<MutationStatus> {
        let row = self.queue.remove(handle)?;
        let status = if row.noop {
            row.status
        } else {
            MutationStatus::rejected(ErrorCode::Internal, detail.to_owned())
        };
        self.view
            .drop_mutations(&[handle], &turn.limits, &mut self.dirty);
        turn.out.event(Event::Mutation {
            channel: self.id,
            handle,
            n: None,
            status: status.clone(),
        });
        self.fail_dependents(turn, handle, &status);
        Some(status)
    }

    /// The store has the outcomes: rows leave, and the application is told.
    pub(crate) fn handle_settled(
        &mut self,
        turn: &mut Turn<'_>,
        rows: Vec<Settlement>,
    ) -> Vec<(MutationHandle, MutationStatus)> {
        self.pusher.on_settled();
        let mut ended = Vec::new();
        for Settlement { n, status, .. } in rows {
            let row = self.queue.by_number(n).map(|row| row.handle);
            let Some(row) = row.and_then(|handle| self.queue.remove(handle)) else {
                continue;
            };
            let handle = row.handle;
            // A no-op's outcome was told before.
            if !row.noop {
                self.tell(turn, handle, n, status.clone());
            }
            // Only now: perhaps another session knew better.
            self.queue.release(n, &status);
            self.fail_dependents(turn, handle, &status);
            if status == MutationStatus::Committed && !planted!(MarksForgotten) {
                self.marks.insert(n, handle);
            }
            ended.push((handle, status));
        }
        ended
    }

    /// The base stands in an epoch by which the store has not judged yet what was committed before.
    fn judge(&mut self, turn: &mut Turn<'_>) {
        if self.base_epoch <= self.judged || planted!(LossNotJudged) {
            return;
        }
        self.judged = self.base_epoch;
        self.is_judging = true;
        turn.out.push(Output::Outbox(OutboxRequest::Judge {
            channel: self.name.clone(),
            judgement: Judgement {
                epoch: self.base_epoch,
                last: self.base_last,
                evicted_before: evicted_before(turn),
            },
            proof: self.proof_of(self.base_epoch),
        }));
    }

    /// The store has found rows that another session saw committed in a lower epoch, and late.
    pub(crate) fn judge_again(&mut self, turn: &mut Turn<'_>) {
        if self.base_epoch == self.max_epoch && !self.is_judging {
            self.judged = 0;
            self.judge(turn);
        }
    }

    /// The store has judged: what was committed, told or not, is lost or unsure.
    pub(crate) fn handle_judged(
        &mut self,
        turn: &mut Turn<'_>,
        ended: Vec<Settlement>,
    ) -> Vec<(MutationHandle, MutationStatus)> {
        self.is_judging = false;
        let mut told = Vec::new();
        let mut settled = Vec::new();
        for end in ended {
            if let Some(handle) = self.marks.take(end.n) {
                self.tell(turn, handle, end.n, end.status.clone());
                told.push((handle, end.status));
            } else {
                self.settle_as(end, &mut settled);
            }
        }
        self.drop_settled(turn, settled);
        told
    }

    /// Moves the base by a patch and drops what it decides. `false`: it holds an unknown op.
    pub(super) fn settle_patch(&mut self, turn: &mut Turn<'_>, patch: &PatchInPlace<'_>) -> bool {
        self.base_epoch = patch.epoch;
        let mut settled = Vec::new();
        let mut own = false;
        for mid in patch.mids().filter(|mid| mid.author == turn.author) {
            own = true;
            self.base_last = self.base_last.max(mid.n);
            self.known_last = self.known_last.max(mid.n);
            self.settle_row(mid.n, mid.code, mid.detail, &mut settled);
        }
        if own {
            self.pusher.on_decided(self.known_last, turn.now);
            // What the log has passed over it never decides: another session has brought it to its end.
            let passed = self.queue.from(0).map(|(n, _)| n);
            let passed: Vec<u64> = passed.take_while(|&n| n <= self.base_last).collect();
            for n in passed {
                self.settle_as(Settlement::unknown(n), &mut settled);
            }
        }
        let mut gone: Vec<_> = settled.iter().map(|(handle, _)| *handle).collect();
        if planted!(RejectedStaysVisible) {
            let is_kept = |(_, row): &&(_, Settlement)| row.status == MutationStatus::Committed;
            gone = settled.iter().filter(is_kept).map(|row| row.0).collect();
        }
        let known = self
            .view
            .apply(patch.ops(), &gone, &turn.limits, &mut self.dirty);
        self.finish_settled(turn, settled);
        self.judge(turn);
        known
    }

    /// Swaps the base and drops what the table row that came with it decides. Below its `low` the server
    /// has forgotten which ones were rejected: who was not told before will not hear it any more.
    pub(super) fn settle_known(&mut self, turn: &mut Turn<'_>, known: &Known, document: Document) {
        let mut settled = Vec::new();
        let last = if planted!(TableRowOfSnapshotIgnored) {
            0
        } else {
            known.last
        };
        let rejected = if planted!(RejectionsOfSnapshotIgnored) {
            &[]
        } else {
            &known.rejected[..]
        };
        let decided: Vec<u64> = self
            .queue
            .from(0)
            .map(|(n, _)| n)
            .take_while(|&n| n <= last)
            .collect();
        let mut refusals = vec![None; decided.len()];
        for refusal in rejected {
            if let Ok(at) = decided.binary_search(&refusal.n) {
                refusals[at] = Some(refusal);
            }
        }
        for (n, refusal) in decided.into_iter().zip(refusals) {
            match refusal {
                Some(refusal) => self.settle_row(n, refusal.code, &refusal.detail, &mut settled),
                None if n < known.low && !planted!(KnownLowIgnored) => {
                    self.settle_as(Settlement::unknown(n), &mut settled);
                }
                None => self.settle_row(n, 0, "", &mut settled),
            }
        }
        self.base_last = last;
        self.base_epoch = self.max_epoch;
        let gone: Vec<_> = settled.iter().map(|(handle, _)| *handle).collect();
        self.view
            .replace(document, &gone, &turn.limits, &mut self.dirty);
        self.finish_settled(turn, settled);
        self.judge(turn);
    }

    /// What another session has seen committed, our stream tells: unless that is so long ago that the server
    /// has forgotten it. Then the store's word is the last one.
    pub(super) fn end_untold(&mut self, turn: &mut Turn<'_>) {
        if !self.state.is_streaming() || self.known_last > 0 {
            return;
        }
        let forgotten = evicted_before(turn);
        let is_untold =
            |row: &Row| row.seen_committed && row.deadline.unwrap_or_default() < forgotten;
        let untold = self.queue.from(0).filter(|(_, row)| is_untold(row));
        let untold: Vec<u64> = untold.map(|(n, _)| n).collect();
        let mut settled = Vec::new();
        for n in untold {
            self.settle_as(Settlement::unknown(n), &mut settled);
        }
        self.drop_settled(turn, settled);
    }

    /// A `resume` says how rows were decided that the base holds already: other sessions' rows that
    /// became known here only after that.
    pub(super) fn settle_late(&mut self, turn: &mut Turn<'_>, known: &Known) {
        let late = self.queue.from(0).map(|(n, _)| n);
        let late: Vec<u64> = late.take_while(|&n| n <= self.base_last).collect();
        let mut settled = Vec::new();
        for n in late {
            match known.rejected.iter().find(|refusal| refusal.n == n) {
                Some(refusal) => self.settle_row(n, refusal.code, &refusal.detail, &mut settled),
                None if n < known.low && !planted!(KnownLowIgnored) || n > known.last => {
                    // Forgotten, and be it that the whole row of the table is gone.
                    self.settle_as(Settlement::unknown(n), &mut settled);
                }
                None => self.settle_row(n, 0, "", &mut settled),
            }
        }
        self.drop_decided(turn, settled);
    }

    /// The log has passed this deadline and its retention: what was sent, is undecided and has no later one ends.
    /// Only the server can say so. Our reckoning of its time may be that of a node whose clock is wrong.
    fn end_older(&mut self, turn: &mut Turn<'_>, through: UnixTime, in_order: bool) {
        let outdated = |deadline: UnixTime| deadline <= through;
        let rows = self.queue.from(self.known_last + 1);
        let rows: Vec<u64> = rows
            .filter(|(_, row)| row.marked && row.deadline.is_some_and(outdated))
            .map(|(n, _)| n)
            .collect();
        let mut settled = Vec::new();
        for n in rows {
            let outdated = self.outdated(n, in_order);
            self.settle_as(outdated, &mut settled);
        }
        self.drop_settled(turn, settled);
    }

    /// How an outdated row ends: where the server still has the table row, it says that it was not
    /// applied; an evicted one could have said anything. So could what is still to come of a stream that its
    /// answer did not come behind.
    fn outdated(&self, n: u64, in_order: bool) -> Settlement {
        if self.known_last > 0 && in_order {
            Settlement::of(n, MutationStatus::Expired)
        } else {
            Settlement::unknown(n)
        }
    }

    /// The server answers about one row outside the log: the copy that it answers will never be decided
    /// there. Of a row that was sent more than once nobody can say that: another copy may arrive at a
    /// moment at which the grant is there. One that is outdated stays so, and with it are those above it
    /// whose deadlines are no later: each would take a round trip of its own to be told so.
    pub(crate) fn handle_row_error(
        &mut self,
        turn: &mut Turn<'_>,
        n: u64,
        code: ErrorCode,
        detail: &str,
        in_order: bool,
    ) {
        self.pusher.forget(n);
        let Some(row) = self.queue.by_number(n) else {
            return;
        };
        let (copies, attempts, deadline) = (row.copies, row.attempts, row.deadline);
        let refused = || MutationStatus::rejected(code, wire::cut_detail(detail.to_owned()));
        let settlement = match code {
            ErrorCode::Expired => self.outdated(n, in_order),
            _ if copies > 1 => Settlement::unknown(n),
            _ => Settlement {
                n,
                status: refused(),
                attempts_max: attempts,
            },
        };
        let mut settled = Vec::new();
        self.settle_as(settlement, &mut settled);
        self.drop_settled(turn, settled);
        if code == ErrorCode::Expired {
            let through = deadline.unwrap_or_default();
            self.end_older(turn, through, in_order);
        }
    }

    /// The channel has failed: nothing will be decided any more. What was never sent is refused; of the
    /// rest nobody here can know. The store says whether others have sent it.
    pub(super) fn give_up_all(&mut self, turn: &mut Turn<'_>, code: ErrorCode, detail: &str) {
        let rows = self.queue.from(0);
        let rows = rows.map(|(n, row)| match row.copies {
            0 => Settlement {
                n,
                status: MutationStatus::rejected(code, detail.to_owned()),
                attempts_max: row.attempts,
            },
            _ => Settlement::unknown(n),
        });
        let rows: Vec<_> = rows.collect();
        let mut settled = Vec::new();
        for row in rows {
            self.settle_as(row, &mut settled);
        }
        self.drop_settled(turn, settled);
    }

    /// The log has decided a row; `code` 0: committed.
    fn settle_row(&mut self, n: u64, code: u32, detail: &str, settled: &mut Settled) {
        // A code from a later version is still a refusal.
        let status = match ErrorCode::from_number(code) {
            _ if code == 0 => MutationStatus::Committed,
            Some(ErrorCode::Expired) if !planted!(ExpiryToldAsRejection) => MutationStatus::Expired,
            code => MutationStatus::rejected(
                code.unwrap_or(ErrorCode::Refused),
                wire::cut_detail(detail.to_owned()),
            ),
        };
        self.settle_as(Settlement::of(n, status), settled);
    }

    /// A row has ended, a no-op as it was neutralised: its outcome goes to the store. While the store has
    /// not said whether it is a no-op, that waits.
    pub(super) fn settle_as(&mut self, mut settlement: Settlement, settled: &mut Settled) {
        let row = self.queue.by_number(settlement.n);
        let Some(row) = row.filter(|row| row.stage != Stage::Settling) else {
            return;
        };
        if row.ending {
            // What the log says of it comes before what it passes over.
            row.follows.get_or_insert(settlement.status);
            return;
        }
        row.stage = Stage::Settling;
        if row.noop {
            settlement.status = row.status.clone();
        } else {
            row.status = settlement.status.clone();
        }
        settled.push((row.handle, settlement));
    }

    /// Drops the overlays of rows that have ended without a change of the base.
    pub(super) fn drop_settled(&mut self, turn: &mut Turn<'_>, settled: Settled) {
        let gone: Vec<_> = settled.iter().map(|(handle, _)| *handle).collect();
        self.view
            .drop_mutations(&gone, &turn.limits, &mut self.dirty);
        self.store_outcomes(turn, settled, self.max_epoch);
    }

    /// Drops the overlays of rows that the base has decided already.
    pub(super) fn drop_decided(&mut self, turn: &mut Turn<'_>, settled: Settled) {
        let gone: Vec<_> = settled.iter().map(|(handle, _)| *handle).collect();
        self.view
            .drop_mutations(&gone, &turn.limits, &mut self.dirty);
        self.finish_settled(turn, settled);
    }

    /// The base stands at or after what decided these rows: whoever was refused reads there what is.
    fn finish_settled(&mut self, turn: &mut Turn<'_>, mut settled: Settled) {
        for (handle, settlement) in &mut settled {
            if let MutationStatus::Rejected { current, .. } = &mut settlement.status {
                *current = self.current(*handle);
            }
        }
        self.store_outcomes(turn, settled, self.base_epoch);
    }

    /// The record that a refusal is about: of the first precondition that does not hold, else of the first.
    fn current(&self, handle: MutationHandle) -> Option<Record> {
        // A no-op was refused here, not by the log, and ends as the store has it.
        let row = self.queue.row(handle).filter(|row| !row.noop)?;
        let item = wire::decode_item(&row.item)?;
        let base = self.view.base();
        let mut first = None;
        for kind in item.pre.iter().filter_map(|pre| pre.kind.as_ref()) {
            let (collection, id) = subject(kind);
            let record = base.record(collection, id);
            if !seems_to_hold(kind, record) {
                return record.cloned();
            }
            first.get_or_insert(record);
        }
        first.flatten().cloned()
    }

    /// `epoch`: of the log that says so, or of the server that does.
    /// What proves an epoch, if it is the one that we claim.
    fn proof_of(&self, epoch: u64) -> Bytes {
        match epoch == self.max_epoch {
            true => self.proof.clone(),
            false => Bytes::new(),
        }
    }

    fn store_outcomes(&self, turn: &mut Turn<'_>, rows: Settled, epoch: u64) {
        if planted!(ToldBeforeStored) {
            for (handle, row) in &rows {
                self.tell(turn, *handle, row.n, row.status.clone());
            }
        }
        if !rows.is_empty() {
            turn.out.push(Output::Outbox(OutboxRequest::Settle {
                channel: self.name.clone(),
                epoch,
                proof: self.proof_of(epoch),
                rows: rows.into_iter().map(|(_, row)| row).collect(),
            }));
        }
    }

    #[inline(never)]
    pub(super) fn tell(
        &self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
        n: u64,
        status: MutationStatus,
    ) {
        turn.out.event(Event::Mutation {
            channel: self.id,
            handle,
            n: Some(n),
            status,
        });
    }
}

/// What has an earlier deadline, the server may have evicted. By the latest that log time can be: an evicted row
/// must not be taken for a lost log.
fn evicted_before(turn: &Turn<'_>) -> UnixTime {
    turn.server_now.max(turn.server_now_min) + LOG_TIME_AHEAD - turn.config.retention
}

/// Whether nothing speaks against a precondition, as far as is seen here. The server has judged: this only
/// finds which record to show, so texts are compared and not what they mean.
fn seems_to_hold(kind: &PreconditionKind, record: Option<&Record>) -> bool {
    match kind {
        PreconditionKind::Exists(_) => record.is_some(),
        PreconditionKind::Absent(_) => record.is_none(),
        PreconditionKind::Eq(eq) => {
            record.and_then(|record| record.field(&eq.field)) == Some(&*eq.value)
        }
        PreconditionKind::Unchanged(_) => true,
    }
}
