//! Mutations that end before they are sent: taken back, superfluous, too late, without what they come
//! after, or too large for the server.
//!
//! Invariant: only a row of which the store knows no send ends here, and the store decides: it may know of
//! another session that was about to send it. It becomes a no-op that keeps its number and is pushed
//! without changes, so what ended here never stands in the log with ops. The outcome is stored first and
//! told once.

use std::time::Duration;

use super::{Channel, Turn};
use crate::io::Output;
use crate::mutation::queue::Stage;
use crate::mutation::{CancelError, MutationHandle, MutationStatus, OutboxRequest, Settlement};
use crate::planted;
use crate::time::{MonoTime, UnixTime};
use crate::wire::{ErrorCode, Limits};

/// What a push says besides its items, at most: the channel's name and four numbers.
const PUSH_HEADER_BYTES: usize = 512;

impl Channel {
    /// The application takes a mutation back.
    pub(crate) fn cancel(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
    ) -> Result<(), CancelError> {
        match self.queue.row(handle) {
            None => return Err(CancelError::NoSuchMutation),
            Some(row) if row.status.is_terminal() => return Err(CancelError::Ended),
            Some(row) if !row.is_unsent() && !planted!(SentRowTakenBack) => {
                return Err(CancelError::Sent);
            }
            Some(_) => {}
        }
        self.neutralise(turn, handle, MutationStatus::Cancelled);
        Ok(())
    }

    /// Makes an unsent row a no-op, unless the store knows better. Those that come after it follow once
    /// the store has said so.
    pub(crate) fn neutralise(
        &mut self,
        turn: &mut Turn<'_>,
        handle: MutationHandle,
        status: MutationStatus,
    ) {
        if self.queue.neutralise(handle, status) {
            self.view
                .drop_mutations(&[handle], &turn.limits, &mut self.dirty);
            self.store_noops(turn, &[handle]);
        }
    }

    /// What comes after a mutation that was not committed, and was not sent yet, fails with it.
    pub(super) fn fail_dependents(
        &mut self,
        turn: &mut Turn<'_>,
        cause: MutationHandle,
        status: &MutationStatus,
    ) {
        if *status != MutationStatus::Committed && !planted!(DependentsOutliveTheirCause) {
            for handle in self.queue.unsent_after(cause) {
                self.neutralise(turn, handle, MutationStatus::dep_failed());
            }
        }
    }

    /// Asks the store to keep outcomes of no-ops. One without a number waits for it.
    pub(super) fn store_noops(&self, turn: &mut Turn<'_>, handles: &[MutationHandle]) {
        let rows = handles.iter().filter_map(|&handle| self.queue.row(handle));
        let rows: Vec<Settlement> = rows
            .filter_map(|row| Some(Settlement::of(row.n?, row.status.clone())))
            .collect();
        if !rows.is_empty() {
            turn.out.push(Output::Outbox(OutboxRequest::Neutralise {
                channel: self.name.clone(),
                rows,
            }));
        }
    }

    /// The store has said which rows are no-ops: tell, and let their numbers go on. What another session
    /// was sending is shown again; only the server decides it.
    pub(crate) fn handle_neutralised(
        &mut self,
        turn: &mut Turn<'_>,
        done: Vec<Settlement>,
        too_late: Vec<u64>,
    ) -> Vec<(MutationHandle, MutationStatus)> {
        let mut settled = Vec::new();
        let mut ended = Vec::new();
        for Settlement { n, status, .. } in done {
            let Some(row) = self.queue.by_number(n).filter(|row| row.ending) else {
                continue;
            };
            let (handle, decided) = (row.handle, row.follows.take());
            row.ending = false;
            row.stage = Stage::Unsent;
            row.status = status.clone();
            self.queue.empty(handle);
            self.tell(turn, handle, n, status.clone());
            self.fail_dependents(turn, handle, &status);
            if let Some(decided) = decided {
                self.settle_as(Settlement::as_known(n, decided), &mut settled);
            }
            ended.push((handle, status));
        }
        for n in too_late {
            let Some(row) = self.queue.by_number(n).filter(|row| row.ending) else {
                continue;
            };
            let (handle, decided) = (row.handle, row.follows.take());
            row.ending = false;
            row.noop = false;
            row.marked = true;
            row.stage = Stage::Unsent;
            row.status = MutationStatus::Attempted;
            let item = row.item.clone();
            self.tell(turn, handle, n, MutationStatus::Attempted);
            match decided {
                Some(decided) => self.settle_as(Settlement::as_known(n, decided), &mut settled),
                None if self.is_decided(n) => self.ask_how_decided(turn),
                None => self.show_stored(turn, handle, n, &item),
            }
        }
        self.drop_decided(turn, settled);
        ended
    }

    /// Ends unsent rows whose time is over.
    pub(super) fn expire_unsent(&mut self, turn: &mut Turn<'_>) {
        while let Some(handle) = self.queue.take_expired(turn.server_now_min) {
            self.neutralise(turn, handle, MutationStatus::Expired);
        }
    }

    /// When the next unsent row is too late.
    pub(super) fn expiry(&self, now: MonoTime, server_now: UnixTime) -> Option<MonoTime> {
        let at = self.queue.next_expiry()?;
        let ms = at.0.saturating_add(1).saturating_sub(server_now.0);
        Some(now + Duration::from_millis(ms))
    }

    /// Ends the rows that the server said it takes no more, since they were made.
    pub(super) fn drop_oversized(&mut self, turn: &mut Turn<'_>) {
        let oversized: Vec<_> = self
            .queue
            .from(0)
            .filter(|(_, row)| is_oversized(row.bytes, &turn.limits))
            .map(|(n, row)| (n, row.handle, row.is_unsent()))
            .collect();
        let mut settled = Vec::new();
        for (n, handle, is_unsent) in oversized {
            if is_unsent {
                let detail = "the server takes only smaller messages now".to_owned();
                let status = MutationStatus::rejected(ErrorCode::TooLarge, detail);
                self.neutralise(turn, handle, status);
            } else {
                // Perhaps it was applied when it was sent; it cannot be asked for any more.
                self.settle_as(Settlement::unknown(n), &mut settled);
            }
        }
        self.drop_settled(turn, settled);
    }
}

/// Whether a mutation of so many encoded bytes fits into no message: queued, it would end every link
/// that it is sent on.
pub(crate) const fn is_oversized(encoded: usize, limits: &Limits) -> bool {
    encoded + PUSH_HEADER_BYTES > limits.frame_up_bytes as usize
}
