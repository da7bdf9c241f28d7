//! How mutations enter and how they leave: contained in the base, refused by the log, lost by it, or
//! given up.
//!
//! Invariant: an overlay leaves in the same step in which the base contains its entry or its
//! rejection is known, never on an `ack`. The application is told once the store has the outcome.

use std::sync::Arc;
use std::time::Duration;

use super::{Channel, ChannelStatus, Turn};
use crate::document::precondition::subject;
use crate::document::{Document, Record};
use crate::mutation::marks::Judgement;
use crate::mutation::queue::Stage;
use crate::mutation::{MutateOptions, MutationHandle, MutationStatus, OutboxRequest, Settlement};
use crate::planted;
use crate::session::{Event, Output};
use crate::time::UnixTime;
use crate::wire::{self, Change, ErrorCode, Known, PatchInPlace, PreconditionKind};

/// Log time may be so much ahead of what we take for the server's time: clocks of two nodes that are still
/// trusted, and what was under way.
const LOG_TIME_AHEAD: Duration = Duration::from_secs(15);

impl Channel {
    /// Shows a mutation, queues it, and asks the store for its number.
    pub(crate) fn mutate(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
        changes: Vec<Change>,
        options: MutateOptions,
    ) {
        let changes: Arc<[Change]> = changes.into();
        let options = Arc::new(options);
        let ttl = options.ttl.map(|ttl| ttl.min(turn.config.ttl_max));
        let deadline = ttl.map(|ttl| turn.server_now + ttl);
        self.view
            .push(handle, Arc::clone(&changes), &turn.limits, &mut self.dirty);
        let bytes = turn
            .config
            .codec
            .item_bytes(&changes, &options.preconditions);
        let superfluous = self.queue.push(
            handle,
            Arc::clone(&changes),
            Arc::clone(&options),
            deadline,
            bytes,
        );
        turn.out.push(Output::Outbox(OutboxRequest::Append {
            channel: self.name.clone(),
            handle,
            changes,
            options,
            deadline,
        }));
        if let Some(older) = superfluous {
            self.neutralise(turn, older, MutationStatus::Cancelled);
        }
    }

    /// The store has the row.
    pub(crate) fn handle_appended(&mut self, turn: &mut Turn<'_>, handle: MutationHandle, n: u64) {
        self.queue.number(handle, n);
        if self.queue.row(handle).is_some_and(|row| row.noop) {
            self.store_noops(turn, &[handle]);
        } else {
            self.tell(turn, handle, n, MutationStatus::Queued);
        }
        if let ChannelStatus::Failed { code, detail } = self.status.clone() {
            // It failed while the store was writing.
            self.give_up_all(turn, code, &detail);
        }
    }

    /// The store could not take the row: it was never sent and never will be.
    pub(crate) fn handle_append_failed(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
        detail: String,
    ) -> Option<MutationStatus> {
        let row = self.queue.remove(handle)?;
        let status = if row.noop {
            row.status
        } else {
            MutationStatus::rejected(ErrorCode::Internal, detail)
        };
        self.view
            .drop_mutations(&[handle], &turn.limits, &mut self.dirty);
        turn.out.event(Event::Mutation {
            channel: self.id,
            handle,
            n: None,
            status: status.clone(),
        });
        self.fail_dependents(
            turn,
            &[Settlement {
                handle,
                n: 0,
                status: status.clone(),
            }],
        );
        Some(status)
    }

    /// The store has the outcomes: rows leave, and the application is told.
    pub(crate) fn handle_settled(&mut self, turn: &mut Turn<'_>, rows: Vec<Settlement>) {
        self.outcomes_unstored = self.outcomes_unstored.saturating_sub(rows.len());
        let mut following = Vec::new();
        for Settlement { handle, n, status } in rows {
            if let Some(at) = self.losing.iter().position(|losing| *losing == handle) {
                self.losing.remove(at);
            }
            let removed = self.queue.remove(handle);
            // A no-op's outcome was told before.
            if removed.as_ref().is_none_or(|row| !row.noop) {
                self.tell(turn, handle, n, status);
            }
            let Some(row) = removed else { continue };
            match row.follows.filter(|_| !planted!(LossForgottenWhileStoring)) {
                Some(status) => following.push(Settlement { handle, n, status }),
                None if row.status == MutationStatus::Committed && !planted!(MarksForgotten) => {
                    let deadline = row.deadline.unwrap_or_default();
                    self.marks.insert(n, handle, deadline);
                }
                None => {}
            }
        }
        self.losing.extend(following.iter().map(|row| row.handle));
        self.store_outcomes(turn, following);
    }

    /// Moves the base by a patch and drops what it decides. `false`: it holds an unknown op.
    pub(super) fn settle_patch(&mut self, turn: &mut Turn<'_>, patch: &PatchInPlace<'_>) -> bool {
        let mut settled = Vec::new();
        let mut own = false;
        for mid in patch.mids().filter(|mid| mid.author == turn.author) {
            own = true;
            self.known_last = self.known_last.max(mid.n);
            self.settle_row(mid.n, mid.code, mid.detail, &mut settled);
        }
        if own {
            self.pusher.on_decided(self.known_last, turn.now);
        }
        let mut gone: Vec<_> = settled.iter().map(|row| row.handle).collect();
        if planted!(RejectedStaysVisible) {
            let is_kept = |row: &Settlement| row.status == MutationStatus::Committed;
            gone = settled
                .iter()
                .filter(|row| is_kept(row))
                .map(|row| row.handle)
                .collect();
        }
        let known = self
            .view
            .apply(patch.ops(), &gone, &turn.limits, &mut self.dirty);
        self.finish_settled(turn, settled);
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
                    self.settle_as(n, MutationStatus::Indeterminate, &mut settled);
                }
                None => self.settle_row(n, 0, "", &mut settled),
            }
        }
        let gone: Vec<_> = settled.iter().map(|row| row.handle).collect();
        self.view
            .replace(document, &gone, &turn.limits, &mut self.dirty);
        self.finish_settled(turn, settled);
    }

    /// A snapshot of a higher epoch takes the place of the base: what was committed and is not in its log
    /// is lost. Not when `max_epoch` rises: a `resume` has raised it perhaps, which says that all the base
    /// holds is in the log, and after it a patch of a lost log arrived late.
    pub(super) fn judge_loss(&mut self, turn: &mut Turn<'_>, last: u64) {
        if planted!(LossNotJudged) {
            return;
        }
        let judgement = Judgement {
            last,
            // The latest that log time can be: an evicted row must not be taken for a lost log.
            server_now: turn.server_now.max(turn.server_now_min) + LOG_TIME_AHEAD,
            retention: turn.config.retention,
        };
        // What the store is about to take out is judged as well, and told once it has.
        for row in self.queue.rows_mut() {
            if row.stage == Stage::Settling
                && row.status == MutationStatus::Committed
                && row.follows.is_none()
                && let Some(n) = row.n
            {
                row.follows = judgement.fate(n, row.deadline.unwrap_or_default());
            }
        }
        let changed = self.marks.judge(&judgement);
        self.losing.extend(changed.iter().map(|row| row.handle));
        self.store_outcomes(turn, changed);
    }

    /// A `resume` says what is decided at the log's head: rows that the server can take no more, by their
    /// age, end here. By their age when the question was asked: the answer may have been under way for
    /// long. A snapshot does not say it, entries after it may hold them: then they are pushed, and the
    /// server judges.
    pub(super) fn end_outdated(&mut self, turn: &mut Turn<'_>) {
        let retention = turn.config.retention;
        let asked_at = self.asked_at;
        let outdated = |deadline: UnixTime| deadline + retention < asked_at;
        let rows = self.queue.from(self.known_last + 1);
        let rows: Vec<u64> = rows
            .filter(|(_, row)| row.stage == Stage::Attempted && row.deadline.is_some_and(outdated))
            .map(|(n, _)| n)
            .collect();
        let mut settled = Vec::new();
        for n in rows {
            self.settle_as(n, self.outdated(), &mut settled);
        }
        self.drop_settled(turn, settled);
    }

    /// How an outdated row ends: where the server still has the table row, it says that it was not
    /// applied; an evicted one could have said anything.
    const fn outdated(&self) -> MutationStatus {
        if self.known_last > 0 {
            MutationStatus::Expired
        } else {
            MutationStatus::Indeterminate
        }
    }

    /// The server answers about one row outside the log: the copy that it answers will never be decided
    /// there. Of a row that was sent more than once nobody can say that: another copy may arrive at a
    /// moment at which the grant is there. One that is outdated stays so.
    pub(crate) fn handle_row_error(
        &mut self,
        turn: &mut Turn<'_>,
        n: u64,
        code: ErrorCode,
        detail: &str,
    ) {
        let copies = self.queue.by_number(n).map_or(0, |row| row.copies);
        let status = match code {
            ErrorCode::Expired => self.outdated(),
            _ if copies > 1 => MutationStatus::Indeterminate,
            _ => MutationStatus::rejected(code, wire::cut_detail(detail.to_owned())),
        };
        let mut settled = Vec::new();
        self.settle_as(n, status, &mut settled);
        self.pusher.forget(n);
        self.drop_settled(turn, settled);
    }

    /// The channel has failed: nothing will be decided any more. What was never sent is refused; of the
    /// rest nobody here can know.
    pub(super) fn give_up_all(&mut self, turn: &mut Turn<'_>, code: ErrorCode, detail: &str) {
        let rows = self.queue.from(0);
        let rows: Vec<_> = rows.map(|(n, row)| (n, row.status.clone())).collect();
        let mut settled = Vec::new();
        for (n, status) in rows {
            let status = match status {
                MutationStatus::Queued => MutationStatus::rejected(code, detail.to_owned()),
                _ => MutationStatus::Indeterminate,
            };
            self.settle_as(n, status, &mut settled);
        }
        self.drop_settled(turn, settled);
    }

    /// The log has decided a row; `code` 0: committed.
    fn settle_row(&mut self, n: u64, code: u32, detail: &str, settled: &mut Vec<Settlement>) {
        // A code from a later version is still a refusal.
        let status = match ErrorCode::from_number(code) {
            _ if code == 0 => MutationStatus::Committed,
            Some(ErrorCode::Expired) if !planted!(ExpiryToldAsRejection) => MutationStatus::Expired,
            code => MutationStatus::rejected(
                code.unwrap_or(ErrorCode::Refused),
                wire::cut_detail(detail.to_owned()),
            ),
        };
        self.settle_as(n, status, settled);
    }

    /// A row has ended, a no-op as it was neutralised: its outcome goes to the store.
    pub(super) fn settle_as(
        &mut self,
        n: u64,
        status: MutationStatus,
        settled: &mut Vec<Settlement>,
    ) {
        let row = self.queue.by_number(n);
        let Some(row) = row.filter(|row| row.stage != Stage::Settling) else {
            return;
        };
        row.stage = Stage::Settling;
        if !row.noop {
            row.status = status;
        }
        settled.push(Settlement {
            handle: row.handle,
            n,
            status: row.status.clone(),
        });
    }

    /// Drops the overlays of rows that have ended without a change of the base.
    pub(super) fn drop_settled(&mut self, turn: &mut Turn<'_>, settled: Vec<Settlement>) {
        let gone: Vec<_> = settled.iter().map(|row| row.handle).collect();
        self.view
            .drop_mutations(&gone, &turn.limits, &mut self.dirty);
        self.fail_dependents(turn, &settled);
        self.store_outcomes(turn, settled);
    }

    /// The base stands at or after what decided these rows: whoever was refused reads there what is.
    fn finish_settled(&mut self, turn: &mut Turn<'_>, mut settled: Vec<Settlement>) {
        for settlement in &mut settled {
            if let MutationStatus::Rejected { current, .. } = &mut settlement.status {
                *current = self.current(settlement.handle);
            }
        }
        self.fail_dependents(turn, &settled);
        self.store_outcomes(turn, settled);
    }

    /// The record that a refusal is about: of the first precondition that does not hold, else of the first.
    fn current(&self, handle: MutationHandle) -> Option<Record> {
        // A no-op was refused here, not by the log, and ends as the store has it.
        let options = &self.queue.row(handle).filter(|row| !row.noop)?.options;
        let base = self.view.base();
        let mut first = None;
        for kind in options
            .preconditions
            .iter()
            .filter_map(|pre| pre.kind.as_ref())
        {
            let (collection, id) = subject(kind);
            let record = base.record(collection, id);
            if !seems_to_hold(kind, record) {
                return record.cloned();
            }
            first.get_or_insert(record);
        }
        first.flatten().cloned()
    }

    fn store_outcomes(&mut self, turn: &mut Turn<'_>, rows: Vec<Settlement>) {
        if planted!(ToldBeforeStored) {
            for row in &rows {
                self.tell(turn, row.handle, row.n, row.status.clone());
            }
        }
        if !rows.is_empty() {
            self.outcomes_unstored += rows.len();
            turn.out.push(Output::Outbox(OutboxRequest::Settle {
                channel: self.name.clone(),
                rows,
            }));
        }
    }

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
