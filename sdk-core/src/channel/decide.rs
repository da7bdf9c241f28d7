//! How mutations leave: contained in the base, refused by the log, lost by it, or given up.
//!
//! Invariant: an overlay leaves in the same step in which the base contains its entry or its
//! rejection is known, never on an `ack`. The application is told once the store has the outcome.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Channel, ChannelStatus, Turn};
use crate::document::Document;
use crate::mutation::{MutateOptions, MutationHandle, MutationStatus, OutboxRequest, Settlement};
use crate::session::{Event, Output};
use crate::wire::{self, Ack, Change, ClientKind, ErrorCode, Patch, Rejected};

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
        self.view
            .push(handle, Arc::clone(&changes), &turn.limits, &mut self.dirty);
        let bytes = turn
            .config
            .codec
            .item_bytes(&changes, &options.preconditions);
        self.queue
            .push(handle, Arc::clone(&changes), options.preconditions, bytes);
        turn.out.push(Output::Outbox(OutboxRequest::Append {
            channel: self.name.clone(),
            handle,
            changes,
        }));
    }

    /// The store has the row.
    pub(crate) fn handle_appended(&mut self, turn: &mut Turn<'_>, handle: MutationHandle, n: u64) {
        self.queue.number(handle, n);
        self.tell(turn, handle, n, MutationStatus::Queued);
        if let ChannelStatus::Failed { code, detail } = self.status.clone() {
            // It failed while the store was writing.
            self.give_up_all(turn, code, &detail);
        }
        self.send_ready(turn);
    }

    /// The store could not take the row: it was never sent and never will be.
    pub(crate) fn handle_append_failed(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
        detail: String,
    ) {
        let rejected = MutationStatus::Rejected {
            code: ErrorCode::Internal,
            detail,
        };
        if self.queue.remove(handle).is_some() {
            self.view
                .apply(&[], &[handle], &turn.limits, &mut self.dirty);
            turn.out.event(Event::Mutation {
                channel: self.id,
                handle,
                n: None,
                status: rejected,
            });
        }
    }

    /// The store has the outcomes: rows leave, and the application is told.
    pub(crate) fn handle_settled(&mut self, turn: &mut Turn<'_>, rows: Vec<Settlement>) {
        let mut lost = Vec::new();
        for row in rows {
            let removed = self.queue.remove(row.handle);
            self.tell(turn, row.handle, row.n, row.status);
            if removed.is_some_and(|row| row.lost) {
                lost.push(Settlement {
                    handle: row.handle,
                    n: row.n,
                    status: MutationStatus::Lost,
                });
            }
        }
        self.store_outcomes(turn, lost);
        self.send_ready(turn);
    }

    pub(super) fn send_pushes(&mut self, turn: &mut Turn<'_>) {
        while let Some(plan) = self.pusher.poll(turn.now, &self.queue, &turn.limits) {
            for n in plan.numbers() {
                let Some(row) = self.queue.by_number(n) else {
                    continue;
                };
                row.copies = row.copies.saturating_add(1);
                if row.status == MutationStatus::Queued {
                    row.status = MutationStatus::Attempted;
                    let handle = row.handle;
                    self.tell(turn, handle, n, MutationStatus::Attempted);
                }
            }
            let frame = plan.into_frame(self.name.to_string(), self.max_epoch);
            turn.out.frame(ClientKind::Push(frame));
        }
    }

    /// `ack` only saves latency: it opens the window and is shown as a hint.
    pub(super) fn handle_ack(&mut self, turn: &mut Turn<'_>, ack: &Ack) {
        self.pusher.on_decided(ack.through, turn.now);
        let mut told = Vec::new();
        for (n, row) in self.queue.from(0) {
            if n > ack.through {
                break;
            }
            if row.status == MutationStatus::Attempted {
                told.push((n, row.handle));
            }
        }
        for (n, handle) in told {
            let status = MutationStatus::Accepted { seq: ack.seq };
            if let Some(row) = self.queue.by_handle(handle) {
                row.status = status.clone();
            }
            self.tell(turn, handle, n, status);
        }
    }

    /// Moves the base by a patch and drops what it decides. `false`: it holds an unknown op.
    pub(super) fn settle_patch(&mut self, turn: &mut Turn<'_>, patch: &Patch) -> bool {
        let mut settled = Vec::new();
        for mid in patch.mids.iter().filter(|mid| mid.author == turn.author) {
            self.known_last = self.known_last.max(mid.n);
            self.settle_row(mid.n, mid.code, &mid.detail, &mut settled);
        }
        if !settled.is_empty() || patch.mids.iter().any(|mid| mid.author == turn.author) {
            self.pusher.on_decided(self.known_last, turn.now);
        }
        let gone: Vec<_> = settled.iter().map(|row| row.handle).collect();
        let known = self
            .view
            .apply(&patch.ops, &gone, &turn.limits, &mut self.dirty);
        self.store_outcomes(turn, settled);
        known
    }

    /// Swaps the base and drops what the table row that came with it decides.
    pub(super) fn settle_known(
        &mut self,
        turn: &mut Turn<'_>,
        last: u64,
        rejected: &[Rejected],
        document: Document,
    ) {
        let mut settled = Vec::new();
        let refusals: BTreeMap<u64, &Rejected> = rejected.iter().map(|r| (r.n, r)).collect();
        let decided: Vec<u64> = self
            .queue
            .from(0)
            .map(|(n, _)| n)
            .take_while(|&n| n <= last)
            .collect();
        for n in decided {
            let refusal = refusals.get(&n);
            let (code, detail) = refusal.map_or((0, ""), |r| (r.code, r.detail.as_str()));
            self.settle_row(n, code, detail, &mut settled);
        }
        let gone: Vec<_> = settled.iter().map(|row| row.handle).collect();
        self.view
            .replace(document, &gone, &turn.limits, &mut self.dirty);
        self.store_outcomes(turn, settled);
    }

    /// A snapshot of a higher epoch takes the place of the base: what was committed above its table's
    /// `last` is lost. Not when `max_epoch` rises: a `resume` has raised it perhaps, and after it a patch
    /// of a lost log arrived late.
    pub(super) fn judge_loss(&mut self, turn: &mut Turn<'_>, last: u64) {
        let lost = self
            .queue
            .take_lost(last)
            .into_iter()
            .map(|(n, handle)| Settlement {
                handle,
                n,
                status: MutationStatus::Lost,
            })
            .collect();
        self.store_outcomes(turn, lost);
    }

    /// The server answers about one row outside the log: the copy that it answers will never be decided
    /// there. Of a row that was sent more than once nobody can say that: another copy may arrive at a
    /// moment at which the grant is there.
    pub(crate) fn handle_row_error(
        &mut self,
        turn: &mut Turn<'_>,
        n: u64,
        code: ErrorCode,
        detail: &str,
    ) {
        let mut settled = Vec::new();
        self.settle_row(n, code as u32, detail, &mut settled);
        if let Some(row) = self.queue.by_number(n).filter(|row| row.copies > 1) {
            for settlement in &mut settled {
                row.status = MutationStatus::Indeterminate;
                settlement.status = MutationStatus::Indeterminate;
            }
        }
        self.pusher.forget(n);
        let gone: Vec<_> = settled.iter().map(|row| row.handle).collect();
        self.view.apply(&[], &gone, &turn.limits, &mut self.dirty);
        self.store_outcomes(turn, settled);
    }

    /// The channel has failed: nothing will be decided any more. What was never sent is refused; of the
    /// rest nobody here can know.
    pub(super) fn give_up_all(&mut self, turn: &mut Turn<'_>, code: ErrorCode, detail: &str) {
        let numbered: Vec<u64> = self.queue.from(0).map(|(n, _)| n).collect();
        let mut settled = Vec::new();
        for n in numbered {
            self.give_up(n, code, detail, &mut settled);
        }
        let gone: Vec<_> = settled.iter().map(|row| row.handle).collect();
        self.view.apply(&[], &gone, &turn.limits, &mut self.dirty);
        self.store_outcomes(turn, settled);
    }

    fn give_up(&mut self, n: u64, code: ErrorCode, detail: &str, settled: &mut Vec<Settlement>) {
        let sent = self
            .queue
            .by_number(n)
            .is_some_and(|row| row.status != MutationStatus::Queued);
        self.settle_row(n, code as u32, detail, settled);
        if sent && let (Some(row), Some(last)) = (self.queue.by_number(n), settled.last_mut()) {
            row.status = MutationStatus::Indeterminate;
            last.status = MutationStatus::Indeterminate;
        }
    }

    fn settle_row(&mut self, n: u64, code: u32, detail: &str, settled: &mut Vec<Settlement>) {
        let Some(row) = self.queue.by_number(n).filter(|row| !row.settling) else {
            return;
        };
        row.settling = true;
        row.status = if code == 0 {
            MutationStatus::Committed
        } else {
            MutationStatus::Rejected {
                // A code from a later version is still a refusal.
                code: ErrorCode::from_number(code).unwrap_or(ErrorCode::Refused),
                detail: wire::cut_detail(detail.to_owned()),
            }
        };
        settled.push(Settlement {
            handle: row.handle,
            n,
            status: row.status.clone(),
        });
    }

    fn store_outcomes(&self, turn: &mut Turn<'_>, rows: Vec<Settlement>) {
        if !rows.is_empty() {
            turn.out.push(Output::Outbox(OutboxRequest::Settle {
                channel: self.name.clone(),
                rows,
            }));
        }
    }

    fn tell(&self, turn: &mut Turn<'_>, handle: MutationHandle, n: u64, status: MutationStatus) {
        turn.out.event(Event::Mutation {
            channel: self.id,
            handle,
            n: Some(n),
            status,
        });
    }
}
