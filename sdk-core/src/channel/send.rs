//! How mutations are sent: marked in the store, pushed, acknowledged.
//!
//! Invariant: nothing is sent before the store has the mark and the frozen deadline.

use super::{Channel, Turn};
use crate::mutation::queue::Stage;
use crate::mutation::{Attempt, MutationStatus, OutboxRequest};
use crate::planted;
use crate::session::Output;
use crate::wire::{Ack, ClientKind};

impl Channel {
    /// Pushes what may go, and has the store mark what comes next. Once at the end of a turn, so that
    /// one push carries all that the turn brought.
    pub(crate) fn send_pushes(&mut self, turn: &mut Turn<'_>) {
        if !turn.linked || !self.state.is_streaming() {
            return;
        }
        self.expire_unsent(turn);
        let plan = self
            .pusher
            .plan(turn.now, &self.queue, self.known_last, &turn.limits);
        // By what the server's clock shows at least: a later deadline the server would cut, and evict our
        // row of its table by the one that it cut, while we still took the mutation for young.
        let latest = turn.server_now_min + turn.config.ttl_max;
        let mut rows = Vec::new();
        for &(n, handle) in &plan.unmarked {
            if let Some(deadline) = self.queue.freeze(handle, latest) {
                rows.push(Attempt {
                    handle,
                    n,
                    deadline,
                });
            }
        }
        if !rows.is_empty() {
            turn.out.push(Output::Outbox(OutboxRequest::Attempt {
                channel: self.name.clone(),
                rows,
            }));
        }
        let numbers = plan.numbers();
        if numbers.is_empty() {
            return;
        }
        for n in numbers {
            if let Some(row) = self.queue.by_number(n) {
                row.copies = row.copies.saturating_add(1);
            }
        }
        let frame = plan.into_frame(self.name.to_string(), self.max_epoch);
        turn.out.frame(ClientKind::Push(frame));
    }

    /// The store has the marks: from now on only the server decides these rows.
    pub(crate) fn handle_attempted(&mut self, turn: &mut Turn<'_>, rows: &[Attempt]) {
        for &Attempt { handle, n, .. } in rows {
            let Some(row) = self.queue.by_handle(handle) else {
                continue;
            };
            if row.stage != Stage::Storing {
                continue;
            }
            row.stage = Stage::Attempted;
            if row.status == MutationStatus::Queued {
                row.status = MutationStatus::Attempted;
                self.tell(turn, handle, n, MutationStatus::Attempted);
            }
        }
    }

    /// `ack` only saves latency: it opens the window and is shown as a hint.
    pub(super) fn handle_ack(&mut self, turn: &mut Turn<'_>, ack: &Ack) {
        let through = self.pusher.on_ack(ack.through, turn.now);
        if planted!(OverlayDroppedOnAck) {
            let mut settled = Vec::new();
            let rows: Vec<u64> = self.queue.from(0).map(|(n, _)| n).collect();
            for n in rows.into_iter().take_while(|&n| n <= through) {
                self.settle_as(n, MutationStatus::Committed, &mut settled);
            }
            self.drop_settled(turn, settled);
        }
        let mut told = Vec::new();
        for (n, row) in self.queue.from(0) {
            if n > through {
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
}
